"""What tests of devices share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ringleader.models import build
from ringleader.runtime.autograd.op import AS_WRITTEN, DEVICES, OPS, array_module
from ringleader.runtime.comm import init
from ringleader.runtime.training import TrainConfig, load, run
from ringleader.runtime.training.data import Text

from helpers import strict_cupy
from helpers.op_cases.draw import Case


def label(case: Case) -> str:
    name, options, arrays = case
    return f"{name}-{'-'.join(str(v) for v in options.values())}-{[a.shape for a in arrays]}".replace(" ", "")


def on(device: str, option: Any) -> Any:
    """An option of an op with its arrays on the device."""
    if isinstance(option, tuple):
        return tuple(on(device, part) for part in option)
    return array_module(device).asarray(option) if isinstance(option, np.ndarray) else option


@contextmanager
def strict_cuda() -> Iterator[None]:
    """Device "cuda" with the stand-in for CuPy, and without kernels, which need a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        special = SimpleNamespace(erf=lambda x: strict_cupy.ndarray(_erf(x.inside)))
        patch.setitem(sys.modules, "cupy", strict_cupy.module())
        patch.setitem(sys.modules, "cupyx", SimpleNamespace(scipy=SimpleNamespace(special=special)))
        patch.setitem(sys.modules, "cupyx.scipy", SimpleNamespace(special=special))
        patch.setitem(sys.modules, "cupyx.scipy.special", special)
        patch.setenv("RINGLEADER_KERNELS", "numpy")
        for name, table in OPS.items():
            patch.setitem(OPS, name, {device: op for device, op in table.items() if device != "cuda"})
        DEVICES.pop("cuda", None)
        try:
            yield
        finally:
            DEVICES.pop("cuda", None)
            AS_WRITTEN.discard("cuda")


def _erf(x: Any) -> Any:
    from scipy.special import erf

    return erf(x)


TEXT = "What is done in a ring needs no leader, and what is done by a leader needs no ring. " * 3
SIZES = {
    "rnn": {"width": 6}, "lstm": {"width": 6, "layers": 2}, "gru": {"width": 6}, "seq2seq": {"layers": 1, "heads": 2, "width": 8},
    "transformer": {"layers": 1, "heads": 2, "width": 8},
}  # fmt: skip
Trained = tuple[list[float], dict[str, Any], float]


def trained(model: str, data: str, device: str, dtype: str = "float64", **options: Any) -> Trained:
    """A small model on a small data set: the losses of its steps, its weights after them, its loss on a few tests."""
    given = {
        "batch_size": 4,
        "context": 6,
        "steps": 3,
        "clip": 1.0,
        "dtype": dtype,
        "device": device,
        **options,
    }
    sizes = SIZES.get(model, {}) | given.pop("sizes", {})
    config = TrainConfig(model, data, epochs=1, sizes=sizes, **given)
    source = Text(TEXT, config.context) if data == "text" else load(config)
    source.test_items = source.test_items[:4]
    net = build(model, np.random.default_rng(0), dtype, source.description, **sizes)
    losses: list[float] = []
    result = run(config, net, init(), source, lambda step: losses.append(step.loss))
    return losses, net.state_dict(), result.scores["loss"]


def assert_alike(mine: Trained, wanted: Trained, rtol: float) -> None:
    np.testing.assert_allclose([*mine[0], mine[2]], [*wanted[0], wanted[2]], rtol=rtol)
    for name, array in mine[1].items():
        np.testing.assert_allclose(array, wanted[1][name], rtol=rtol, atol=rtol * abs(array).max())
