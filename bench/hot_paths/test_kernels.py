"""What the native kernels cost, beside the numpy ops of the same; one thread."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from ringleader.runtime.autograd.native import KERNELS as k

pytestmark = pytest.mark.skipif(k is None, reason="the kernels are not built")


def draw(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def products() -> dict[str, Callable[[], Any]]:
    x, weight, bias = draw(1024, 128), draw(512, 128), draw(512)
    return {"linear": lambda: k.matmul(x, weight.T, add=bias)}


def recurrent() -> dict[str, Callable[[], Any]]:
    t, n, hidden = 8, 32, 256
    steps = [(i * n, n) for i in range(t)]
    gates, w, first, out = (
        draw(t * n, 4 * hidden),
        draw(4 * hidden, hidden),
        draw(n, hidden),
        draw(t * n, hidden),
    )
    c, tanh_c, h, dgates, dh, dc = (np.empty_like(a) for a in (out, out, out, gates, first, first))

    def lstm() -> None:
        gates[...] = 0
        k.lstm(gates, c, tanh_c, h, w, first, first, steps)

    def lstm_backward() -> None:
        dh[...] = dc[...] = 0
        k.lstm_backward(dgates, dh, dc, out, w, gates, c, tanh_c, first, steps)

    return {"lstm": lstm, "lstm_backward": lstm_backward}


def rows() -> dict[str, Callable[[], Any]]:
    x, target = draw(1024, 65), np.arange(1024) % 65
    wide, weight = draw(1024, 128), draw(128)
    _, mean, rstd = k.layer_norm(wide, weight, weight)
    return {
        "softmax": lambda: k.softmax(x),
        "cross_entropy": lambda: k.cross_entropy(x, target),
        "layer_norm": lambda: k.layer_norm(wide, weight, weight),
        "layer_norm_backward": lambda: k.layer_norm_backward(wide, wide, mean, rstd, weight),
    }


def attention() -> dict[str, Callable[[], Any]]:
    q, key, v, g = (draw(8, 128, 4, 32).transpose(0, 2, 1, 3) for _ in range(4))
    out, log_sums = k.attention(q, key, v, 0.2, causal=True)
    return {
        "attention": lambda: k.attention(q, key, v, 0.2, causal=True),
        "attention_backward": lambda: k.attention_backward(g, q, key, v, out, log_sums, 0.2, causal=True),
    }


def adam() -> dict[str, Callable[[], Any]]:
    w, m, v, g = draw(10**6), np.zeros(10**6, np.float32), np.zeros(10**6, np.float32), draw(10**6)
    options: dict[str, Any] = {
        "eps": 1e-8,
        "weight_decay": 0.0,
        "bias1": 0.5,
        "bias2": 0.5,
        "decoupled": False,
    }
    return {"adam": lambda: k.adam(w, m, v, g, lr=1e-3, beta1=0.9, beta2=0.999, **options)}


def images() -> dict[str, Callable[[], Any]]:
    x, w, g = draw(64, 6, 14, 14), draw(16, 6, 5, 5), draw(64, 16, 10, 10)
    return {
        "conv2d": lambda: k.conv2d(x, w, None),
        "conv2d_backward_data": lambda: k.conv2d_backward_data(g, w, x.shape),
        "conv2d_backward_weight": lambda: k.conv2d_backward_weight(g, x, w.shape),
        "max_pool2x2": lambda: k.max_pool2x2(x),
    }


def pointwise() -> dict[str, Callable[[], Any]]:
    x = draw(1024, 512)
    return {name: lambda name=name: getattr(k, name)(x) for name in ("exp", "tanh", "sigmoid", "gelu")}  # type: ignore[misc]


CALLS = {} if k is None else pointwise() | products() | recurrent() | rows() | attention() | adam() | images()


@pytest.mark.parametrize("name", CALLS)
def test_kernel(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark(CALLS[name])
