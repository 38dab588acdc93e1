"""Modules: buffers, tied parameters, containers, states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ringleader.runtime.autograd import (
    Linear,
    Module,
    ModuleDict,
    ModuleList,
    Parameter,
    ReLU,
    Sequential,
    Tensor,
    unused_parameters,
)


def linear(out: int = 3) -> Linear:
    return Linear(2, out, generator=np.random.default_rng(0), dtype=np.float64)


class Tied(Module):
    """One weight under two names, and buffers of both kinds."""

    def __init__(self) -> None:
        self.first, self.last = linear(2), linear(2)
        self.last.weight = self.first.weight
        self.register_buffer("mean", np.zeros(2))
        self.register_buffer("cache", np.ones(3), persistent=False)
        self.register_buffer("absent", None)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x))


def test_call_passes_all_arguments_on() -> None:
    class Scaled(Module):
        def forward(self, x: Tensor, *more: Tensor, by: float) -> Tensor:
            return (x + more[0]) * by

    assert Scaled()(Tensor([1.0]), Tensor([2.0]), by=3).item() == 9


def test_buffers_by_name_and_in_the_state_if_persistent() -> None:
    model = Sequential(Tied())
    assert [name for name, _ in model.named_buffers()] == ["0.mean", "0.cache"]
    assert list(model.state_dict())[-1] == "0.mean" and len(list(model.buffers())) == 2
    model[0].mean = np.full(2, 7.0)  # type: ignore[attr-defined]  # a new array is the buffer then
    state = model.state_dict()
    np.testing.assert_array_equal(state["0.mean"], 7)
    other = Sequential(Tied())
    mean = other[0].mean  # type: ignore[attr-defined]
    other.load_state_dict(state)
    np.testing.assert_array_equal(mean, 7)  # in place
    with pytest.raises(ValueError, match="another attribute 'first'"):
        model[0].register_buffer("first", np.zeros(1))
    with pytest.raises(ValueError, match=r"identifier, not 'a\.b'"):
        model.register_buffer("a.b", np.zeros(1))
    model[0].register_buffer("mean", np.zeros(3))  # again is fine


def test_tied_parameters_are_saved_once_and_stay_tied() -> None:
    model, other = Tied(), Tied()
    state = model.state_dict()
    assert list(state) == ["first.weight", "first.bias", "last.bias", "mean"]
    assert model.num_parameters() == 4 + 2 + 2
    state["first.weight"] += 1
    other.load_state_dict(state)
    assert other.last.weight is other.first.weight
    np.testing.assert_array_equal(other.last.weight.data, state["first.weight"])
    state["last.weight"] = state.pop("first.weight")  # by its other name
    model.load_state_dict(state)
    np.testing.assert_array_equal(model.first.weight.data, state["last.weight"])


def test_load_state_dict_that_is_not_strict_takes_what_fits() -> None:
    model = Tied()
    before = model.state_dict()
    model.load_state_dict({"first.bias": np.ones(2), "more": np.ones(1)}, strict=False)
    np.testing.assert_array_equal(model.first.bias.data, 1)  # type: ignore[union-attr]
    np.testing.assert_array_equal(model.last.bias.data, before["last.bias"])  # type: ignore[union-attr]
    with pytest.raises(KeyError, match=r"unexpected \['more'\]"):
        model.load_state_dict({**before, "more": np.ones(1)})
    with pytest.raises(ValueError, match=r"first.bias: \(3,\) given, \(2,\) needed"):
        model.load_state_dict({"first.weight": np.zeros((2, 2)), "first.bias": np.ones(3)}, strict=False)
    np.testing.assert_array_equal(model.first.weight.data, before["first.weight"])


@pytest.mark.parametrize("bad", [np.array(["a", "b"]), np.ones(2, np.complex128), np.array([None, 1])])
def test_load_state_dict_refuses_what_holds_no_real_numbers(bad: Any) -> None:
    model = Tied()
    before = model.state_dict()
    with pytest.raises(ValueError, match=r"last.bias: .* given, float64 needed"):
        model.load_state_dict({**{name: array + 1 for name, array in before.items()}, "last.bias": bad})
    np.testing.assert_array_equal(model.first.weight.data, before["first.weight"])


def test_load_state_dict_converts_to_the_dtype_that_is_there() -> None:
    model = linear()
    model.load_state_dict({"weight": np.ones((3, 2), np.float32), "bias": [1, 2, 3]})
    assert model.weight.dtype == np.float64
    np.testing.assert_array_equal(model.bias.data, [1, 2, 3])  # type: ignore[union-attr]


def test_modules_come_once_and_apply_goes_from_the_inside_out() -> None:
    shared = ReLU()
    model = Sequential(shared, Sequential(linear(), shared))
    assert [name for name, _ in model.named_modules()] == ["", "0", "1", "1.0"]
    assert [name for name, _ in model.named_modules("net")] == ["net", "net.0", "net.1", "net.1.0"]
    seen: list[Module] = []
    assert model.apply(seen.append) is model
    assert seen[-1] is model and len(seen) == 4
    assert len(list(model.modules())) == 4


def test_module_list_and_dict_register_what_they_hold() -> None:
    layers = ModuleList([linear(), ReLU()])
    layers.append(linear())
    assert len(layers) == 3 and layers[-1] is list(layers)[2]
    assert [name for name, _ in layers.named_parameters()] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    named = ModuleDict({"a": linear(), "b": layers})
    assert list(named) == ["a", "b"] and "a" in named and "forward" not in named and len(named) == 2
    assert named["b"] is layers and dict(named.items())["a"] is named["a"]
    for name in ("forward", "x.y", "training"):
        with pytest.raises(ValueError, match=f"cannot be named '{name}'"):
            named[name] = ReLU()


def test_requires_grad_freezes_and_unused_parameters_are_named() -> None:
    model = Sequential(linear(2), linear())
    model[0].requires_grad_(False)
    x = Tensor(np.ones((1, 2)))
    model(x).sum().backward()
    assert all(p.grad is None for p in model[0].parameters()) and unused_parameters(model) == []
    model.requires_grad_()
    assert unused_parameters(model) == ["0.weight", "0.bias"]


def test_repr_is_a_tree() -> None:
    class Scale(Module):
        def __init__(self) -> None:
            self.by, self.at = Parameter(np.ones((2, 3))), 0.5
            self.inner = ReLU()

    assert repr(Sequential(Scale(), Linear(2, 3, False, generator=np.random.default_rng(0)))) == (
        "Sequential(\n"
        "  (0): Scale(\n"
        "    by=(2, 3), at=0.5\n"
        "    (inner): ReLU()\n"
        "  )\n"
        "  (1): Linear(weight=(3, 2))\n"
        ")"
    )
