"""What tests of devices share."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ringleader.csrc.cuda.versions import Choice, choices
from ringleader.csrc.emulate import EmulatedDevice
from ringleader.models import build
from ringleader.runtime import autograd as ag
from ringleader.runtime.autograd import devices
from ringleader.runtime.autograd.op import AS_WRITTEN, DEVICES, OPS, array_module, register_device
from ringleader.runtime.comm import init, spawn
from ringleader.runtime.parallel import DataParallel
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
    return array_module(device).asarray(option) if isinstance(option, (np.ndarray, np.bool_)) else option


class StrictDevice(EmulatedDevice):
    """A GPU by the stand-in for CuPy: its kernels are the emulator's."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.xp = module

    def launch(self, file: str, expression: str, grid: Any, block: Any, args: Any, shared: int = 0) -> None:
        assert not any(isinstance(a, np.ndarray) for a in args), f"{expression} is given an array of numpy"
        super().launch(file, expression, grid, block, [strict_cupy.inside(a) for a in args], shared)


@contextmanager
def strict_cuda(kernels: bool = False) -> Iterator[None]:
    """Device "cuda" with the stand-in for CuPy, without kernels or with them."""
    module = strict_cupy.module()
    with pytest.MonkeyPatch.context() as patch:
        special = SimpleNamespace(erf=lambda x: strict_cupy.ndarray(_erf(x.inside)))
        patch.setitem(sys.modules, "cupy", module)
        patch.setitem(sys.modules, "cupyx", SimpleNamespace(scipy=SimpleNamespace(special=special)))
        patch.setitem(sys.modules, "cupyx.scipy", SimpleNamespace(special=special))
        patch.setitem(sys.modules, "cupyx.scipy.special", special)
        patch.setattr(devices, "_devices", {0: StrictDevice(module)})
        for name, table in OPS.items():
            kept = {device: op for device, op in table.items() if device != "cuda"}
            patch.setitem(OPS, name, table if kernels else kept)
        DEVICES.pop("cuda", None)
        if kernels:
            register_device("cuda", module, as_written=True)
        else:
            patch.setenv("RINGLEADER_KERNELS", "numpy")
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


def on_two_ranks(device: str) -> tuple[list[float], list[Any]]:
    """The losses and weights of rank 0 after some steps in which both ranks see half of each batch."""

    def rank(world: Any) -> tuple[list[float], list[Any]]:
        net = ag.Sequential(
            ag.Linear(3, 4, generator=np.random.default_rng(world.rank), dtype=np.float64), ag.Tanh(),
            ag.Linear(4, 2, generator=np.random.default_rng(world.rank), dtype=np.float64),
        ).to(device)  # fmt: skip
        parallel, optimizer, losses = (
            DataParallel(net, world, bucket_bytes=0),
            ag.SGD(net.parameters(), lr=0.1),
            [],
        )
        for step in range(3):
            x = ag.Tensor(np.random.default_rng([step, world.rank]).standard_normal((2, 3)), device=device)
            parallel.zero_grad()
            losses.append(
                parallel.backward(ag.cross_entropy(parallel(x), np.array([0, 1]), reduction="sum") / 4)
            )
            optimizer.step()
        return losses, list(net.state_dict().values())

    return spawn(2, rank)[0]


def emulator_missing() -> str:
    """Why the emulator cannot run here; "" if it can."""
    try:
        array_module("emulated")
    except RuntimeError as error:
        return str(error)
    return ""


class Launched:
    """What has run: kernels of which files, how often, and versions of which operators they were."""

    def __init__(self) -> None:
        self.files: Counter[str] = Counter()
        self.choices: list[Choice] = []

    def operators(self) -> set[str]:
        return {choice.version.operator for choice in self.choices}


@contextmanager
def counting_launches() -> Iterator[Launched]:
    seen = Launched()
    launch = EmulatedDevice.launch

    def counting(self: EmulatedDevice, file: str, expression: str, *args: Any, **kwargs: Any) -> None:
        seen.files[file.partition(".")[0]] += 1
        launch(self, file, expression, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, choices() as seen.choices:
        patch.setattr(EmulatedDevice, "launch", counting)
        yield seen
