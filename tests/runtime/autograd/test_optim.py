"""Optimisers: groups, states, flat updates; clipping; schedules. Formulas are compared with PyTorch in oracle/."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ringleader.runtime.autograd import (
    LAMB,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    ConstantLR,
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    Optimizer,
    Parameter,
    Schedule,
    StepLR,
    Tensor,
    Warmup,
    clip_grad_norm_,
    clip_grad_value_,
    flatten_parameters,
)
from ringleader.runtime.autograd.optim import optimizer as module

MAKE: dict[str, Callable[[Any], Optimizer]] = {
    "sgd": lambda p: SGD(p, 0.1),
    "momentum": lambda p: SGD(p, 0.1, 0.9, 0.01, dampening=0.1),
    "nesterov": lambda p: SGD(p, 0.1, 0.9, 0.01, nesterov=True),
    "adam": lambda p: Adam(p, weight_decay=0.01),
    "adamw": lambda p: AdamW(p),
    "adagrad": lambda p: Adagrad(p, lr_decay=0.1, weight_decay=0.01, initial_accumulator_value=0.5),
    "lamb": lambda p: LAMB(p),
}
SHAPES = [(3, 2), (), (5,), (0,), (1, 1), (4, 3)]
every = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)


@pytest.fixture(autouse=True, params=["update", "kernel"])
def rule(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything here holds for numpy's rules and for native kernels."""
    name: str = request.param
    if name == "update":
        monkeypatch.setattr(module, "KERNELS", None)
    elif module.KERNELS is None:
        pytest.skip("the kernels are not built, or turned off")
    return name


def parameters(shapes: Any = SHAPES, dtype: Any = np.float32) -> list[Parameter]:
    rng = np.random.default_rng(0)
    return [Parameter(rng.standard_normal(shape).astype(dtype)) for shape in shapes]


def give_gradients(params: list[Parameter], seed: int, skip: tuple[int, ...] = ()) -> None:
    """As a backward would: into the storage, where there is one."""
    rng = np.random.default_rng(seed)
    for i, p in enumerate(params):
        g = rng.standard_normal(p.shape).astype(p.dtype)
        p.zero_grad()
        if i not in skip:
            p.accumulate_grad(g)
        elif p.grad_storage is not None:
            p.grad = None


def steps(
    optimizer: Optimizer,
    params: list[Parameter],
    numbers: range,
    skip: dict[int, tuple[int, ...]] | None = None,
) -> None:
    for number in numbers:
        give_gradients(params, number, (skip or {}).get(number, ()))
        optimizer.step()


def equal(one: list[Parameter], two: list[Parameter]) -> None:
    for a, b in zip(one, two):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a.data, b.data)


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_flat_updates_are_those_of_each_tensor_bit_for_bit(
    make: Callable[[Any], Optimizer], dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in blocks that end inside a tensor, and after a step in which some gradients were missing."""
    monkeypatch.setattr(module, "BLOCK", 7)
    skip = {2: (1, 4), 5: (0, 1, 2, 3, 4, 5), 6: (5,)}
    plain, flat = parameters(dtype=dtype), parameters(dtype=dtype)
    [(data, gradients)] = flatten_parameters(flat)
    assert data.size == gradients.size == sum(p.size for p in flat)
    one, two = make(plain), make(flat)
    steps(one, plain, range(10), skip)
    steps(two, flat, range(10), skip)
    equal(plain, flat)
    assert all(np.shares_memory(p.data, data) for p in flat if p.size)
    assert not np.array_equal(plain[0].data, parameters(dtype=dtype)[0].data)


def test_a_flat_group_is_one_call_of_the_rule(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    function = getattr(Adam, rule)

    def counted(w: Any, *args: Any, **options: Any) -> None:
        calls.extend([w.size] * (w.size > 0))  # nothing to do for no elements
        function(w, *args, **options)

    monkeypatch.setattr(Adam, rule, staticmethod(counted))
    params = [*parameters(), *parameters(dtype=np.float64)]
    optimizer = Adam(params)
    steps(optimizer, params, range(1))
    assert len(calls) == len(params) - 2  # one call each
    flatten_parameters(params)
    calls.clear()
    steps(optimizer, params, range(1, 3))  # the state that is there moves into flat arrays
    total = sum(p.size for p in params) // 2
    assert sorted(calls) == [total] * 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [name for name in MAKE if name != "lamb"])
def test_kernels_do_what_the_rule_says(name: str, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, numpys = parameters([(1,), (37,), (64, 9)], dtype), parameters([(1,), (37,), (64, 9)], dtype)
    one, two = MAKE[name](ours), MAKE[name](numpys)
    steps(one, ours, range(5))
    monkeypatch.setattr(module, "KERNELS", None)
    steps(two, numpys, range(5))
    for mine, theirs in zip(ours, numpys):
        np.testing.assert_allclose(
            mine.data, theirs.data, rtol=1e-5 if dtype == np.float32 else 1e-13, atol=1e-6
        )
    for i, of in two.state.items():
        for key, value in of.items():
            np.testing.assert_allclose(one.state[i][key], value, rtol=1e-4 if dtype == np.float32 else 1e-12)


def test_what_kernels_do_not_take_is_left_to_the_rule(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(Adam, "kernel", staticmethod(never))
    half, strided = Parameter(np.ones(3, np.float16)), Parameter(np.ones((4, 6))[:, ::2])
    for p in (half, strided):
        p.grad = np.ones(p.shape, p.dtype)
    Adam([half, strided], lr=0.5).step()
    assert half.data[0] == 0.5 and strided.data[0, 0] == pytest.approx(0.5)
    strided.data = strided.data.copy()
    if rule == "kernel":
        with pytest.raises(AssertionError):
            Adam([strided]).step()


def test_gradients_in_new_arrays_are_no_reason_to_plan_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor are those of another layout or dtype."""
    params, others = parameters([(4, 3), (2,)]), parameters([(4, 3), (2,)])
    optimizer, other = Adam(params), Adam(others)
    steps(optimizer, params, range(1))
    steps(other, others, range(1))
    monkeypatch.setattr(Adam, "_neighbours", None)
    for p, q in zip(params, others):
        p.grad = np.arange(p.size, dtype=np.float64).reshape(p.shape[::-1]).T
        q.grad = np.ascontiguousarray(p.grad, np.float32)
    optimizer.step()
    other.step()
    for p, q in zip(params, others):
        np.testing.assert_allclose(p.data, q.data, rtol=1e-5)


@every
def test_a_state_goes_on_bit_for_bit(make: Callable[[Any], Optimizer]) -> None:
    params = parameters()
    optimizer = make(params)
    steps(optimizer, params, range(4), {1: (2,)})
    saved, weights = optimizer.state_dict(), [p.data.copy() for p in params]
    steps(optimizer, params, range(4, 8))
    others = [Parameter(w) for w in weights]
    other = make(others)
    other.load_state_dict(saved)
    steps(other, others, range(4, 8))
    equal(params, others)
    for key, value in other.state_dict()["state"][0].items():
        np.testing.assert_array_equal(value, optimizer.state_dict()["state"][0][key])


@every
def test_going_back_to_a_state_in_the_same_optimiser(make: Callable[[Any], Optimizer]) -> None:
    params = parameters()
    flatten_parameters(params)
    optimizer = make(params)
    steps(optimizer, params, range(3))
    saved, weights = optimizer.state_dict(), [p.data.copy() for p in params]
    runs = []
    for _ in range(2):
        optimizer.load_state_dict(saved)
        for p, w in zip(params, weights):
            p.data[...] = w
        steps(optimizer, params, range(3, 6))
        runs.append([p.data.copy() for p in params])
    for one, two in zip(*runs):
        np.testing.assert_array_equal(one, two)


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    params = parameters([(2,), (3,)])
    optimizer = Adam(params)
    steps(optimizer, params, range(1))
    good = optimizer.state_dict()

    def changed(**state: Any) -> dict[str, Any]:
        return {**good, **state}

    [group] = good["param_groups"]
    wrong = {0: {**good["state"][0], "exp_avg": np.zeros(3)}}
    for bad, message in (
        (
            changed(param_groups=[{**group, "params": [0]}]),
            r"groups of \[1\] parameters, the optimiser of \[2\]",
        ),
        (changed(param_groups=[{**group, "momentum": 0.9}]), "the state has options"),
        (changed(param_groups=[{**group, "lr": -1}]), "lr must not be negative"),
        (changed(state=wrong), r"exp_avg of parameter 0 has shape \(3,\), not \(2,\)"),
        (changed(state={2: {}}), "the state has a parameter 2; there are 2"),
    ):
        with pytest.raises(ValueError, match=message):
            optimizer.load_state_dict(bad)
    np.testing.assert_array_equal(optimizer.state_dict()["state"][0]["exp_avg"], good["state"][0]["exp_avg"])


def test_groups_have_options_of_their_own() -> None:
    one, two, three = parameters([(1,), (1,), (1,)], np.float64)
    before = [p.data.item() for p in (one, two, three)]
    optimizer = SGD([{"params": [one], "lr": 1.0}, {"params": two}], lr=0.5)
    optimizer.add_param_group({"params": [three], "lr": 0.0})
    for p in (one, two, three):
        p.grad = np.ones(1)
    optimizer.step()
    assert [b - p.data.item() for b, p in zip(before, (one, two, three))] == pytest.approx([1, 0.5, 0])
    optimizer.param_groups[1]["lr"] = 0.25
    optimizer.step()
    assert two.data.item() == pytest.approx(before[1] - 0.75)
    assert [g["params"] for g in optimizer.state_dict()["param_groups"]] == [[0], [1], [2]]


@pytest.mark.parametrize("flat", [False, True])
def test_momentum_that_comes_later_starts_then(flat: bool) -> None:
    """Also where the arrays are those of the step before."""
    [p] = parameters([(1,)])
    if flat:
        flatten_parameters([p])
    optimizer = SGD([p], lr=1.0)
    steps(optimizer, [p], range(2))
    optimizer.param_groups[0]["momentum"] = 0.5
    before = p.data.copy()
    give_gradients([p], 5)
    optimizer.step()
    np.testing.assert_array_equal(p.data, before - p.grad)


@every
@pytest.mark.parametrize("strided", [False, True])
def test_arrays_that_are_not_contiguous(make: Callable[[Any], Optimizer], strided: bool) -> None:
    """A gradient always, and the data too if ``strided``."""
    wide = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
    view = wide[::2, ::2].T
    plain, other = Parameter(view.copy(order="C")), Parameter(view if strided else view.copy(order="C"))
    gradient = np.ones((3, 4), np.float32).T
    one, two = make([plain]), make([other])
    for _ in range(3):
        gradient *= 2  # in place: the same array each time
        plain.grad, other.grad = gradient.copy(order="C"), gradient
        one.step()
        two.step()
    np.testing.assert_allclose(plain.data, other.data, rtol=1e-6)
    assert not strided or np.shares_memory(other.data, wide)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: SGD(p, lr=float("nan")), "SGD: lr must not be negative, it is nan"),
        (lambda p: SGD(p, nesterov=True), "SGD: nesterov needs momentum above 0"),
        (lambda p: SGD(p, momentum=0.9, dampening=2), "SGD: dampening"),
        (lambda p: AdamW(p, weight_decay=-1), "AdamW: weight_decay"),
        (lambda p: Adam(p, betas=(-0.1, 0.9)), "Adam: betas"),
        (lambda p: Adagrad(p, initial_accumulator_value=-1), "Adagrad: initial_accumulator_value"),
        (lambda p: LAMB(p, eps=-1), "LAMB: eps"),
        (lambda p: Adam([*p, *p]), "Adam: a parameter is there twice"),
        (lambda p: Adam([p[0] * 2]), "Adam: a parameter must be a leaf"),
        (lambda p: Adam([{"params": p, "momentum": 1}]), r"Adam: unknown options \['momentum'\]"),
        (lambda p: Adam([{"params": []}]), "Adam: there are no parameters"),
    ],
)
def test_options_that_make_no_sense(make: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(parameters())


def test_rules_are_functions_of_arrays() -> None:
    """As a parameter server calls them; scratch is optional."""
    w, g, state = np.ones(3), np.full(3, 2.0), {"exp_avg": np.zeros(3), "exp_avg_sq": np.zeros(3)}
    Adam.update(w, g, state, 1, lr=0.1)
    np.testing.assert_allclose(w, 0.9)
    np.testing.assert_array_equal(g, 2)
    np.testing.assert_allclose(state["exp_avg"], 0.2)


def test_lamb_by_hand() -> None:
    p = Parameter(np.array([3.0, 4.0]))
    p.grad = np.array([1.0, -1.0])
    LAMB([p], lr=0.1, eps=0, weight_decay=0.1).step()
    u = np.array([1.0, -1.0]) + 0.1 * np.array([3.0, 4.0])
    np.testing.assert_allclose(p.data, np.array([3.0, 4.0]) - 0.1 * 5 / np.hypot(*u) * u, rtol=1e-12)
    zero = Parameter(np.zeros(2))
    zero.grad = np.ones(2)
    LAMB([zero], lr=0.1, eps=0).step()
    np.testing.assert_allclose(zero.data, -0.1, rtol=1e-12)  # the ratio is 1 where the norm is 0


# Clipping


@settings(max_examples=50, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=4),
    max_norm=st.floats(0, 10), p=st.sampled_from([0.0, 1.0, 2.0, 3.5, float("inf")]),
)  # fmt: skip
def test_clipped_gradients_have_at_most_that_norm(shapes: Any, max_norm: float, p: float) -> None:
    params = parameters(shapes, np.float64)
    give_gradients(params, 1)
    before = np.concatenate([g.reshape(-1) for q in params if (g := q.grad) is not None] or [np.zeros(0)])
    total = clip_grad_norm_(params, max_norm, p)
    assert total == pytest.approx(np.linalg.norm(before, p) if before.size else 0, rel=1e-12)
    after = np.concatenate([g.reshape(-1) for q in params if (g := q.grad) is not None] or [np.zeros(0)])
    np.testing.assert_allclose(after, before * min(1, max_norm / (total + 1e-6)), rtol=1e-12)


def test_norms_of_many_float32_are_summed_in_float64() -> None:
    p = Parameter(np.zeros(3_000_000, np.float32))
    p.grad = np.full(p.shape, 1e-3, np.float32)
    assert clip_grad_norm_(p, 1e9) == pytest.approx(
        np.sqrt(3_000_000) * np.float64(np.float32(1e-3)), rel=1e-12
    )


def test_clipping_without_gradients_with_inf_and_by_value() -> None:
    [p, q] = parameters([(2,), (2,)])
    assert clip_grad_norm_([p, q], 1.0) == 0
    p.grad = np.array([np.inf, 1], np.float32)
    with pytest.raises(RuntimeError, match="the norm of the gradients is inf"):
        clip_grad_norm_([p, q], 1.0, error_if_nonfinite=True)
    np.testing.assert_array_equal(p.grad, [np.inf, 1])
    clip_grad_value_([p, q], 0.5)
    np.testing.assert_array_equal(p.grad, [0.5, 0.5])
    for call in (
        lambda: clip_grad_norm_(p, -1),
        lambda: clip_grad_norm_(p, 1, -2),
        lambda: clip_grad_value_(p, -1),
    ):
        with pytest.raises(ValueError, match="must not be negative"):
            call()


# Schedules


def rates(make: Callable[[Optimizer], Schedule], count: int, lr: float = 1.0) -> list[float]:
    optimizer = SGD([Parameter(np.ones(1))], lr=lr)
    schedule, seen = make(optimizer), []
    for _ in range(count):
        seen.append(optimizer.param_groups[0]["lr"])
        schedule.step()
    return seen


def test_schedules_by_hand() -> None:
    assert rates(lambda o: ConstantLR(o, 0.5, 2), 4) == [0.5, 0.5, 1, 1]
    assert rates(lambda o: LinearLR(o, 0.5, 1.0, 2), 4) == [0.5, 0.75, 1, 1]
    assert rates(lambda o: StepLR(o, 2, 0.5), 5) == [1, 1, 0.5, 0.5, 0.25]
    assert rates(lambda o: CosineAnnealingLR(o, 2, 0.2), 3) == pytest.approx([1, 0.6, 0.2])
    assert rates(lambda o: LambdaLR(o, lambda t: 1 / (1 + t)), 3, 2.0) == [2, 1, 2 / 3]
    assert rates(lambda o: Warmup(CosineAnnealingLR(o, 2), 4), 7) == pytest.approx(
        [0.25, 0.5, 0.75, 1, 1, 0.5, 0]
    )
    assert rates(lambda o: Warmup(ConstantLR(o, 0.5, 1), 2), 4) == [0.5, 1, 0.5, 1]


def test_a_schedule_goes_on_from_its_state() -> None:
    first, second = (SGD(parameters([(1,)]), lr=lr) for lr in (0.8, 0.1))
    one = Warmup(StepLR(first, 3), 2)
    for _ in range(7):
        one.step()
    two = Warmup(StepLR(second, 3), 2)
    two.load_state_dict(one.state_dict())
    for _ in range(3):
        assert first.param_groups[0]["lr"] == second.param_groups[0]["lr"] == two.get_last_lr()[0]
        one.step()
        two.step()
    with pytest.raises(ValueError, match="the state is of 2 groups, the optimiser has 1"):
        two.load_state_dict({"t": 0, "bases": [1, 2]})


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (lambda o: ConstantLR(o, 2.0), "factor"), (lambda o: LinearLR(o, 0.0), "start_factor"),
        (lambda o: LinearLR(o, total_iters=0), "total_iters"), (lambda o: StepLR(o, 0), "step_size"),
        (lambda o: CosineAnnealingLR(o, 0), "T_max"), (lambda o: Warmup(StepLR(o, 1), -1), "steps"),
    ],
)  # fmt: skip
def test_schedules_refuse_nonsense(make: Callable[[Any], Any], option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} must be"):
        make(SGD(parameters()))


def test_a_step_tells_the_tensor_that_it_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Tensor] = []
    monkeypatch.setattr(Tensor, "mark_changed", lambda tensor: told.append(tensor), raising=False)
    params = parameters([(2,), (3,)])
    steps(SGD(params), params, range(1), {0: (1,)})
    assert [id(tensor) for tensor in told] == [id(params[0])]
