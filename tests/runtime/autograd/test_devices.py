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


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often each kernel has run, by its name without template arguments."""
    count: Counter[str] = Counter()
    launch = EmulatedDevice.launch

    def counting(self: EmulatedDevice, file: str, expression: str, *args: Any, **kwargs: Any) -> None:
        count[expression.partition("<")[0]] += 1
        launch(self, file, expression, *args, **kwargs)

    monkeypatch.setattr(EmulatedDevice, "launch", counting)
    return count


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


MODELS: list[tuple[str, str, str, set[str]]] = [  # model, data, optimiser, kernels that must have run
    ("lenet5", "digits", "sgd",
     {"convolution_direct", "convolution_tiled", "convolution_backward_bias", "pooling_average_forward",
      "pooling_average_backward", "cross_entropy_forward", "cross_entropy_backward"}),
    ("lstm", "text", "adam", {"recurrent_forward", "recurrent_backward", "cross_entropy_forward"}),
    ("gru", "copy:3", "adamw", {"recurrent_forward", "recurrent_backward"}),
    ("rnn", "adding:5", "adam", {"recurrent_forward", "recurrent_backward"}),
    ("transformer", "text", "adam", {"cross_entropy_forward"}),
    ("seq2seq", "reverse:4", "adagrad", {"cross_entropy_forward"}),
]  # fmt: skip


@pytest.mark.parametrize(("model", "data", "optimizer", "kernels"), MODELS)
def test_models_train_on_the_kernels_as_on_the_cpu(
    model: str, data: str, optimizer: str, kernels: set[str], launched: Counter[str]
) -> None:
    mine = trained(model, data, "emulated", optimizer=optimizer)
    print(sorted(launched.items()))
    assert kernels <= launched.keys()
    launched.clear()
    wanted = trained(model, data, "cpu", optimizer=optimizer)
    assert not launched
    assert_alike(mine, wanted, 1e-9)
