"""The op table on the CUDA kernels, run by the emulator: every op, and models that train as on the CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers.devices import assert_alike, label, trained
from helpers.op_cases import CASES
from helpers.op_cases.draw import Case
from ringleader.csrc.cuda.versions import Choice, choices
from ringleader.csrc.emulate import EmulatedDevice
from ringleader.runtime import autograd as ag
from ringleader.runtime.autograd.op import WRITTEN, array_module


def missing() -> str:
    """Why the emulator cannot run here."""
    try:
        array_module("emulated")
    except RuntimeError as error:
        return str(error)
    return ""


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
CALLS = [case for case in CASES if case[0] != "checkpoint"]  # whose cases make tensors on the CPU


class Launched:
    """What has run: kernels of which files, how often, and versions of which operators they were."""

    def __init__(self) -> None:
        self.files: Counter[str] = Counter()
        self.choices: list[Choice] = []

    def operators(self) -> set[str]:
        return {choice.version.operator for choice in self.choices}


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Launched]:
    seen = Launched()
    launch = EmulatedDevice.launch

    def counting(self: EmulatedDevice, file: str, expression: str, *args: Any, **kwargs: Any) -> None:
        seen.files[file.partition(".")[0]] += 1
        launch(self, file, expression, *args, **kwargs)

    monkeypatch.setattr(EmulatedDevice, "launch", counting)
    with choices() as seen.choices:
        yield seen


@pytest.mark.parametrize("case", CALLS, ids=label)
def test_an_op_is_on_the_kernels_what_it_is_in_numpy(case: Case) -> None:
    """Values and gradients in float64, to 1e-10 of the largest. (That those of numpy are right is test_ops.py's.)"""
    name, options, arrays = case
    results: list[Any] = []
    for device in ("cpu", "emulated"):
        tensors = [ag.Tensor(a, requires_grad=True, device=device) for a in arrays]
        with pytest.MonkeyPatch.context() as patch:
            if device == "cpu":
                patch.setitem(ag.OPS[name], "cpu", WRITTEN[name])
            out = ag.apply(name, *tensors, **options)
        out.backward(np.random.default_rng(0).standard_normal(out.shape))
        assert out.device == device
        results.append([out.data, *(t.grad for t in tensors)])
    for mine, wanted in zip(*results[::-1]):
        size = np.abs(wanted[np.isfinite(wanted)]).max(initial=1)
        np.testing.assert_allclose(mine, wanted, rtol=1e-10, atol=1e-10 * size)


def both(*operators: str) -> set[str]:
    return {f"{operator}_{way}" for operator in operators for way in ("forward", "backward")}


MODELS: list[tuple[str, str, str, set[str]]] = [  # model, data, optimiser, operators that must have run on kernels
    ("lenet5", "digits", "sgd", {"convolution_forward", "convolution_backward_data", "convolution_backward_weight",
                                 *both("pooling_average", "cross_entropy")}),
    ("lstm", "text", "adam", both("recurrent", "cross_entropy")),
    ("gru", "copy:3", "adamw", both("recurrent", "cross_entropy")),
    ("rnn", "adding:5", "adam", both("recurrent")),
    ("transformer", "text", "adam", both("attention", "cross_entropy")),
    ("seq2seq", "reverse:4", "adagrad", both("attention", "cross_entropy")),
]  # fmt: skip


@pytest.mark.parametrize(("model", "data", "optimizer", "operators"), MODELS, ids=[m for m, *_ in MODELS])
def test_models_train_on_the_kernels_as_on_the_cpu(
    model: str, data: str, optimizer: str, operators: set[str], launched: Launched
) -> None:
    mine = trained(model, data, "emulated", optimizer=optimizer)
    assert operators <= launched.operators()
    count = launched.files.total()
    assert count
    wanted = trained(model, data, "cpu", optimizer=optimizer)
    assert launched.files.total() == count
    assert_alike(mine, wanted, 1e-9)
