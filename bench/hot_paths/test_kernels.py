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


def recurrent() -> dict[str, Callable[[], Any]]:
    n, hidden = 32, 256
    a, b, c, g = draw(n, 4 * hidden), draw(n, 4 * hidden), draw(n, hidden), draw(n, hidden)
    _, _, gates, tanh_c = k.lstm(a, b, c)
    x, y = draw(n, 3 * hidden), draw(n, 3 * hidden)
    return {
        "lstm": lambda: k.lstm(a, b, c),
        "lstm_backward": lambda: k.lstm_backward(g, g, gates, c, tanh_c),
        "gru": lambda: k.gru(x, y, c),
    }


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


CALLS = {} if k is None else pointwise() | recurrent() | rows() | adam() | images()


@pytest.mark.parametrize("name", CALLS)
def test_kernel(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark(CALLS[name])
