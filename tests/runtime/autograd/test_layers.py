"""Modules, layers and optimisers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ringleader.runtime.autograd import (
    SGD,
    Adam,
    AvgPool2d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    Module,
    Parameter,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
    Tensor,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def network(dtype: Any = np.float64) -> Sequential:
    return Sequential(
        Conv2d(1, 2, 3, padding=1, generator=rng(), dtype=dtype), Tanh(), AvgPool2d(2), Sigmoid(), MaxPool2d(2, 1),
        ReLU(), Flatten(), Linear(2 * 2 * 2, 3, generator=rng(), dtype=dtype),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [0, 1, 4])
def test_forward_and_backward_through_every_layer(n: int, dtype: Any) -> None:
    model = network(dtype)
    out = model(Tensor(np.ones((n, 1, 6, 6), dtype)))
    assert (out.shape, out.dtype) == ((n, 3), dtype)
    out.sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert (parameter.grad.shape, parameter.grad.dtype) == (parameter.shape, dtype)


def test_linear_is_x_times_weight_transposed_plus_bias() -> None:
    layer = Linear(2, 3, generator=rng(), dtype=np.float64)
    x = np.array([[1.0, 2.0]])
    np.testing.assert_allclose(layer(Tensor(x)).data, x @ layer.weight.data.T + layer.bias.data)  # type: ignore[union-attr]
    assert [name for name, _ in Linear(2, 3, bias=False, generator=rng()).named_parameters()] == ["weight"]


def test_initial_weights_come_from_the_generator_alone() -> None:
    first, second = network().state_dict(), network().state_dict()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    bound = 1 / np.sqrt(8)
    assert np.abs(first["7.weight"]).max() <= bound and np.abs(first["7.weight"]).max() > bound / 2
    np.testing.assert_array_equal(
        network(np.float32).state_dict()["0.weight"], first["0.weight"].astype(np.float32)
    )


def test_names_are_dotted_and_a_shared_parameter_comes_once() -> None:
    class Tied(Module):
        def __init__(self) -> None:
            self.scale = Parameter(np.ones(2))
            self.body = network()
            self.again = self.body

    names = [name for name, _ in Tied().named_parameters()]
    assert names == ["scale", "body.0.weight", "body.0.bias", "body.7.weight", "body.7.bias"]


def test_state_dict_round_trip_is_a_copy() -> None:
    model, other = network(), network()
    state = model.state_dict()
    state["7.bias"] += 1
    assert not np.array_equal(model.state_dict()["7.bias"], state["7.bias"])
    other.load_state_dict(state)
    np.testing.assert_array_equal(other.state_dict()["7.bias"], state["7.bias"])


def test_load_state_dict_names_what_is_wrong_and_changes_nothing() -> None:
    model = network()
    before = model.state_dict()
    state = {name: array + 1 for name, array in before.items()}
    with pytest.raises(KeyError, match=r"missing \['7.bias'\], unexpected \['8.bias'\]"):
        model.load_state_dict({("8.bias" if k == "7.bias" else k): v for k, v in state.items()})
    with pytest.raises(ValueError, match=r"7.bias: \(2,\) given, \(3,\) needed"):
        model.load_state_dict({**state, "7.bias": np.zeros(2)})
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_train_eval_and_zero_grad_reach_every_module() -> None:
    model = network()
    assert not model.eval().named_children().__next__()[1].training
    assert model.train().named_children().__next__()[1].training
    model(Tensor(np.ones((1, 1, 6, 6)))).sum().backward()
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def with_gradients(optimizer: Any, parameter: Parameter, gradients: list[float]) -> list[float]:
    """The parameter's value after each step."""
    values = []
    for g in gradients:
        parameter.grad = np.array([g])
        optimizer.step()
        values.append(parameter.data.item())
    return values


def test_sgd_by_hand() -> None:
    p = Parameter(np.array([1.0]))
    assert with_gradients(SGD([p], lr=0.5), p, [1.0, -2.0]) == [0.5, 1.5]
    p = Parameter(np.array([1.0]))  # v: 1, 0.5 + 2, 1.25 + 0
    assert with_gradients(SGD([p], lr=0.5, momentum=0.5), p, [1.0, 2.0, 0.0]) == [0.5, -0.75, -1.375]
    p = Parameter(np.array([1.0]))  # g: 1 + 0.5 * 1, 0 + 0.5 * 0.25
    assert with_gradients(SGD([p], lr=0.5, weight_decay=0.5), p, [1.0, 0.0]) == [0.25, 0.1875]


def test_adam_by_hand() -> None:
    p = Parameter(np.array([1.0]))
    got = with_gradients(Adam([p], lr=0.1, betas=(0.5, 0.75), eps=0.5), p, [2.0, -1.0])
    # t=1: m=1, v=1; both corrected: 2 and 4.   t=2: m=0, so nothing moves.
    assert got == pytest.approx([1 - 0.1 * 2 / 2.5, 1 - 0.1 * 2 / 2.5], rel=1e-15)
    p = Parameter(np.array([1.0]))
    got = with_gradients(Adam([p], lr=0.1, betas=(0.5, 0.75), eps=0.5, weight_decay=1.0), p, [1.0, 1.0])
    w = 1 - 0.1 * 2 / 2.5  # the gradient is 1 + w = 2
    m, v = 0.5 * 1 + 0.5 * (1 + w), 0.75 * 1 + 0.25 * (1 + w) ** 2
    assert got == pytest.approx([w, w - 0.1 * (m / 0.75) / (np.sqrt(v / 0.4375) + 0.5)], rel=1e-15)


def test_optimisers_keep_float32_skip_none_and_refuse_nonsense() -> None:
    for make in (lambda p: SGD(p, 0.1, 0.9, 0.01), lambda p: Adam(p, weight_decay=0.01)):
        used, unused = Parameter(np.ones(2, np.float32)), Parameter(np.ones(2, np.float32))
        optimizer = make([used, unused])
        for _ in range(2):
            optimizer.zero_grad()
            (used * used).sum().backward()
            optimizer.step()
        assert used.dtype == np.float32 and used.data[0] < 1 and unused.data[0] == 1
    with pytest.raises(ValueError, match="SGD: there are no parameters"):
        SGD([], lr=0.1)
    with pytest.raises(ValueError, match="SGD: lr must not be negative, it is -1"):
        SGD([used], lr=-1)
    with pytest.raises(ValueError, match="Adam: betas"):
        Adam([used], betas=(0.9, 1.0))
