"""Training on the CUDA kernels, run by the emulator: models, the optimisers' steps, several ranks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers.devices import (
    Launched,
    assert_alike,
    counting_launches,
    emulator_missing,
    on_two_ranks,
    strict_cuda,
    trained,
)
from ringleader.runtime import autograd as ag

pytestmark = pytest.mark.skipif(bool(emulator_missing()), reason=emulator_missing())


@pytest.fixture
def launched() -> Iterator[Launched]:
    with counting_launches() as seen:
        yield seen


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


def test_a_scrambled_order_of_threads_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are deterministic: a Transformer's training does not depend on which thread runs first."""
    plain = trained("transformer", "text", "emulated", optimizer="sgd", steps=1)
    monkeypatch.setenv("RINGLEADER_EMULATE_MODE", "scrambled")
    scrambled = trained("transformer", "text", "emulated", optimizer="sgd", steps=1)
    assert plain[0] == scrambled[0] and plain[2] == scrambled[2]
    for name, array in plain[1].items():
        np.testing.assert_array_equal(array, scrambled[1][name])


def test_two_ranks_as_threads_share_the_emulator(launched: Launched) -> None:
    (mine, weights), (wanted, others) = on_two_ranks("emulated"), on_two_ranks("cpu")
    assert launched.files["optimizer"] == 2 * 3 * 4  # ranks, steps, buckets of one parameter each
    np.testing.assert_allclose(mine, wanted, rtol=1e-12)
    for one, other in zip(weights, others):
        np.testing.assert_allclose(one, other, rtol=1e-12)


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


@pytest.mark.parametrize(("model", "data", "optimizer"), [(m, d, o) for m, d, o, _ in MODELS])
def test_models_train_through_the_launchers_of_a_gpu(model: str, data: str, optimizer: str) -> None:
    with strict_cuda(kernels=True):
        mine = trained(model, data, "cuda", optimizer=optimizer, steps=2)
    wanted = trained(model, data, "emulated", optimizer=optimizer, steps=2)
    assert_alike(mine, wanted, 1e-13)
