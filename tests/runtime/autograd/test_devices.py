"""The op table on the CUDA kernels, run by the emulator: every op, and models that train as on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers.devices import assert_alike, label, on_two_ranks, trained
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
                                 *both("pooling_average", "cross_entropy"), "sgd"}),
    ("lstm", "text", "adam", {*both("lstm", "cross_entropy"), "embedding_backward", "adam"}),
    ("gru", "copy:3", "adamw", {*both("gru", "cross_entropy"), "adam"}),
    ("rnn", "adding:5", "adam", {*both("rnn_tanh"), "adam"}),
    ("transformer", "text", "sgd", {*both("attention", "norm", "activation", "embedding", "cross_entropy"), "sgd"}),
    ("seq2seq", "reverse:4", "adagrad", {*both("attention", "norm", "activation", "embedding", "cross_entropy"), "adagrad"}),
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


@pytest.mark.parametrize(("model", "data"), [(m, d) for m, d, *_ in MODELS])
def test_single_precision_is_as_near_to_double_as_on_the_cpu(model: str, data: str) -> None:
    """Losses of some steps, the first digits of which are the model's and the last rounding's: at most twice the CPU's
    error, and a few roundings of the loss itself."""
    exact = trained(model, data, "cpu", optimizer="sgd")

    def error(device: str) -> float:
        losses, _, score = trained(model, data, device, "float32", optimizer="sgd")
        return float(np.abs(np.divide([*losses, score], [*exact[0], exact[2]]) - 1).max())

    assert error("emulated") <= 2 * error("cpu") + 4 * np.finfo(np.float32).eps


def test_every_kernel_of_the_table_has_run(launched: Launched) -> None:
    """An op with an implementation of its own here launches something for one of its cases."""
    on_kernels = {name for name, table in ag.OPS.items() if "emulated" in table}
    assert len(on_kernels) > 20
    silent = set()
    for op in on_kernels:
        before = launched.files.total()
        for name, options, arrays in CALLS:
            if name == op and launched.files.total() == before:
                ag.apply(name, *(ag.Tensor(a, device="emulated") for a in arrays), **options)
        if launched.files.total() == before:
            silent.add(op)
    assert not silent


def test_kernels_can_be_turned_off() -> None:
    script = """
from ringleader.csrc.emulate import EmulatedDevice
from ringleader.runtime import autograd as ag
EmulatedDevice.launch = None
x = ag.Tensor([1.0, 2.0], requires_grad=True, device="emulated")
ag.softmax(x, 0).sum().backward()
print(x.grad, "emulated" in ag.OPS["softmax"])
"""
    environment = os.environ | {"RINGLEADER_KERNELS": "numpy"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "[0. 0.] False\n", done.stderr


def test_a_scrambled_order_of_threads_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are deterministic: a Transformer's training does not depend on which thread runs first."""
    plain = trained("transformer", "text", "emulated", optimizer="sgd", steps=1)
    monkeypatch.setenv("RINGLEADER_EMULATE_MODE", "scrambled")
    scrambled = trained("transformer", "text", "emulated", optimizer="sgd", steps=1)
    assert plain[0] == scrambled[0] and plain[2] == scrambled[2]
    for name, array in plain[1].items():
        np.testing.assert_array_equal(array, scrambled[1][name])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits_are_as_near_to_double_as_on_the_cpu(dtype: str) -> None:
    """For the largest cases of each op on kernels, values and gradients: at most twice the error of numpy's op in the
    same 16 bits, and two roundings of the largest number there."""
    eps = float(pytest.importorskip("ml_dtypes").finfo(dtype).eps)
    wrong = []
    for name, options, arrays in largest_cases(2):
        rounded = [a.astype(dtype) for a in arrays]
        exact = values(name, options, [a.astype(np.float64) for a in rounded], "cpu")
        cpu, mine = (values(name, options, rounded, device) for device in ("cpu", "emulated"))
        for which, (wanted, theirs, ours) in enumerate(zip(exact, cpu, mine)):
            assert ours.dtype == dtype
            size = np.abs(wanted[np.isfinite(wanted)]).max(initial=0)
            if not distance(ours, wanted) <= 2 * distance(theirs, wanted) + 2 * eps * size:
                wrong.append(
                    (
                        label((name, options, arrays)),
                        which,
                        distance(ours, wanted),
                        distance(theirs, wanted),
                        size,
                    )
                )
    assert not wrong


def largest_cases(count: int) -> list[Case]:
    """So many of each op that is on kernels."""
    ordered = sorted(CALLS, key=lambda case: sum(a.size for a in case[2]), reverse=True)
    of = {
        name: [case for case in ordered if case[0] == name]
        for name, table in ag.OPS.items()
        if "emulated" in table
    }
    return [case for cases in of.values() for case in cases[:count]]


def values(name: str, options: dict[str, Any], arrays: list[Any], device: str) -> list[Any]:
    """An op's result, and the gradients of its inputs for some gradient of it, by the op that is written for numpy if on
    the CPU."""
    tensors = [ag.Tensor(a, requires_grad=True, device=device) for a in arrays]
    with pytest.MonkeyPatch.context() as patch:
        if device == "cpu":
            patch.setitem(ag.OPS[name], "cpu", WRITTEN[name])
        out = ag.apply(name, *tensors, **options)
    out.backward(np.random.default_rng(0).integers(-4, 5, out.shape).astype(out.dtype) / 4)
    return [out.data, *(t.grad for t in tensors)]


def distance(a: Any, b: Any) -> float:
    """The largest difference; NaN and infinities must be in the same places."""
    a = a.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return float(np.abs(np.where(same, 0, a - np.where(same, 0, b))).max(initial=0))


def test_two_ranks_as_threads_share_the_emulator(launched: Launched) -> None:
    (mine, weights), (wanted, others) = on_two_ranks("emulated"), on_two_ranks("cpu")
    assert launched.files["optimizer"] == 2 * 3 * 4  # ranks, steps, buckets of one parameter each
    np.testing.assert_allclose(mine, wanted, rtol=1e-12)
    for one, other in zip(weights, others):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_central_differences_through_the_kernels() -> None:
    draw = np.random.default_rng(0).standard_normal
    ag.gradcheck(
        lambda x, w, b: ag.conv2d(x, w, b, 2, 1),
        draw((2, 2, 5, 4)),
        draw((3, 2, 3, 2)),
        draw(3),
        device="emulated",
    )
    with pytest.raises(ag.GradientError), pytest.MonkeyPatch.context() as patch:
        patch.setattr(ag.OPS["conv2d"]["emulated"], "to_bias", lambda self, g: g.sum(axis=(0, 2, 3)) * 1.001)
        ag.gradcheck(
            lambda x, w, b: ag.conv2d(x, w, b),
            draw((1, 1, 3, 3)),
            draw((1, 1, 2, 2)),
            draw(1),
            device="emulated",
        )


def test_an_op_of_ones_own_runs_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for table in (ag.OPS, WRITTEN):
        monkeypatch.setitem(table, "double", {})

    @ag.op("double")
    class Double(ag.Function):
        def shape(self, x: Any) -> Any:
            return x

        def forward(self, x: Any) -> Any:
            return self.xp.add(x, x)

        def backward(self, g: Any) -> Any:
            return 2 * g

    x = ag.Tensor([1.0, 2.0], requires_grad=True, device="emulated")
    y = ag.apply("double", x)
    y.sum().backward()
    assert y.device == "emulated" and y.data.tolist() == [2, 4] and x.grad.tolist() == [2, 2]


RULES: list[tuple[Any, dict[str, Any]]] = [
    (ag.SGD, {"lr": 0.1}), (ag.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}),
    (ag.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}), (ag.Adam, {"lr": 0.1, "weight_decay": 0.1}),
    (ag.AdamW, {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.1}), (ag.Adagrad, {"lr": 0.1, "lr_decay": 0.5}),
    (ag.Adagrad, {"lr": 0.1, "initial_accumulator_value": 0.5, "weight_decay": 0.1}),
]  # fmt: skip


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("rule", "options"), RULES)
def test_steps_are_those_of_the_rule_bit_for_bit(
    rule: Any,
    options: dict[str, Any],
    dtype: Any,
    flat: bool,
    launched: Launched,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rule, "kernel", None)  # the CPU's, which has bounds of its own
    weights: list[list[Any]] = []
    for device in ("cpu", "emulated"):
        draw = np.random.default_rng(0)
        parameters = [ag.Parameter(draw.standard_normal(n).astype(dtype), device=device) for n in (3, 1, 40)]
        if flat:
            ag.flatten_parameters(parameters)
        optimizer = rule(parameters, **options)
        for _ in range(3):
            for parameter in parameters:
                gradient = draw.standard_normal(parameter.shape).astype(dtype)
                parameter.grad = gradient if not flat else parameter.grad_storage
                parameter.grad[...] = gradient
            optimizer.step()
        weights.append([parameter.data.copy() for parameter in parameters])
    assert launched.files == {"optimizer": 3 * (1 if flat else 3)}
    for mine, wanted in zip(*weights):
        np.testing.assert_array_equal(mine, wanted)
