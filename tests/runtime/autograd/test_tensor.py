"""Tensor and engine: accumulation, hooks, storage, freeing, threads, devices."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np
import pytest
from ringleader.runtime.autograd import (
    OPS,
    ShapeError,
    Tensor,
    apply,
    enable_grad,
    gradcheck,
    is_grad_enabled,
    no_grad,
    op,
    register_device,
)
from ringleader.runtime.autograd.op import DEVICES


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values, np.float64), requires_grad=True)


def test_operators_with_numbers_and_arrays_on_either_side_keep_float32() -> None:
    x = Tensor(np.array([1, 2], np.float32))
    for got, wanted in [(x + 1, [2, 3]), (1 + x, [2, 3]), (x - 1.0, [0, 1]), (1 - x, [0, -1]), (x * 2, [2, 4]),
                        (2 * x, [2, 4]), (x / 2, [0.5, 1]), (2 / x, [2, 1]), (-x, [-1, -2]), (x**2, [1, 4]),
                        (np.array([3, 4], np.float32) - x, [2, 2])]:  # fmt: skip
        assert isinstance(got, Tensor) and got.dtype == np.float32
        np.testing.assert_array_equal(got.numpy(), wanted)
    assert (np.eye(2, dtype=np.float32) @ x.reshape(2, 1)).shape == (2, 1)
    assert (Tensor(np.float32(3)) * 0.1).dtype == np.float32
    assert x.T.shape == (2,) and x.reshape(1, 2).transpose(0, 1).shape == (2, 1)


def test_methods_of_a_composite_expression() -> None:
    values = np.random.default_rng(0).uniform(0.5, 1.5, (3, 4))
    gradcheck(
        lambda x: ((x.exp().log() ** 2 / (1 + x)).sum(axis=0) - x.T.mean()).relu() * x.sigmoid().tanh(),
        values,
    )


def test_a_leaf_used_several_times_gets_the_full_sum() -> None:
    x = leaf(3)
    (x * x + x * 2 + x).sum().backward()
    np.testing.assert_array_equal(x.grad, [9])


def test_a_parameter_in_two_layers_gets_the_sum_of_both_gradients() -> None:
    w = np.random.default_rng(0).standard_normal((3, 3))
    gradcheck(lambda x, w: ((x @ w).tanh() @ w + w.sum(0)) * w[0, 0], np.ones((2, 3)), w)


def test_a_diamond_is_walked_once() -> None:
    x = leaf(2)
    y = x
    for _ in range(60):  # 2**60 paths
        y = y + y
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [2.0**60])


def test_a_long_chain_does_not_hit_the_recursion_limit() -> None:
    x = leaf(1)
    y = x
    for _ in range(20_000):
        y = y + 1
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [1])


def test_gradients_accumulate_over_backwards_until_zeroed() -> None:
    x = leaf(1, 2)
    for _ in range(2):
        (x * 3).sum().backward()
    np.testing.assert_array_equal(x.grad, [6, 6])
    x.zero_grad()
    assert x.grad is None


def test_backward_with_gradient() -> None:
    x = leaf(1, 2)
    (x * 2).backward(np.array([1, 10]))
    np.testing.assert_array_equal(x.grad, [2, 20])
    x.backward(Tensor(np.array([1.0, 1.0])))  # a leaf itself
    np.testing.assert_array_equal(x.grad, [3, 21])


def test_backward_refuses() -> None:
    x = leaf(1, 2)
    with pytest.raises(RuntimeError, match=r"shape \(2,\) needs gradient="):
        (x * 2).backward()
    with pytest.raises(ShapeError, match=r"gradient of shape \(3,\) for a tensor of shape \(2,\)"):
        (x * 2).backward(np.ones(3))
    with pytest.raises(RuntimeError, match="needs no gradient"):
        Tensor([1.0]).sum().backward()
    with pytest.raises(TypeError, match="int64"):
        Tensor(np.array([1]), requires_grad=True)


def test_the_graph_is_freed_by_backward() -> None:
    x = leaf(1, 2)
    middle = x.exp()
    data = weakref.ref(middle.data)
    loss = (middle * middle).sum()
    del middle
    assert data() is not None
    loss.backward()
    assert data() is None
    with pytest.raises(RuntimeError, match=r"'sum' has been freed.*retain_graph=True"):
        loss.backward()


def test_retain_graph() -> None:
    x = leaf(3)
    loss = (x * x).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    np.testing.assert_array_equal(x.grad, [12])


def test_a_shared_part_freed_by_another_backward_is_refused_before_anything_changes() -> None:
    x = leaf(3)
    shared = x.exp()
    first, second = shared.sum(), (shared * x).sum()
    first.backward()
    before = x.grad.copy()  # type: ignore[union-attr]
    with pytest.raises(RuntimeError, match="'exp' has been freed"):
        second.backward()
    np.testing.assert_array_equal(x.grad, before)


def test_hook_fires_once_with_the_full_sum_while_backward_still_runs() -> None:
    first, second = leaf(2), leaf(5)
    events: list[tuple[str, float, bool]] = []

    def note(name: str) -> Any:
        return lambda t: events.append((name, t.grad.item(), first.grad is None))

    second.register_post_accumulate_grad_hook(note("second"))
    handle = first.register_post_accumulate_grad_hook(note("first"))
    (first * first * second * second).sum().backward()
    assert events == [("second", 40, True), ("first", 100, False)]
    handle.remove()
    handle.remove()
    (first * second).sum().backward()
    assert [name for name, _, _ in events] == ["second", "first", "second"]


def test_hook_only_on_leaves() -> None:
    for tensor in (leaf(1) * 2, Tensor([1.0])):
        with pytest.raises(RuntimeError, match="leaf"):
            tensor.register_post_accumulate_grad_hook(print)


def test_grad_storage_is_where_the_gradient_goes() -> None:
    bucket = np.full(5, 7.0)
    x, y = leaf(1, 2), leaf(3)
    x.grad_storage, y.grad_storage = bucket[1:3], bucket[4:]
    np.testing.assert_array_equal(bucket, [7, 0, 0, 7, 0])
    for _ in range(2):
        (x * y).sum().backward()
    np.testing.assert_array_equal(bucket, [7, 6, 6, 7, 6])
    assert np.shares_memory(x.grad, bucket)
    x.zero_grad()
    np.testing.assert_array_equal(bucket, [7, 0, 0, 7, 6])
    (x * y).sum().backward()
    np.testing.assert_array_equal(bucket, [7, 3, 3, 7, 9])


def test_after_none_the_next_gradient_overwrites_what_is_in_the_storage() -> None:
    x, storage = leaf(1, 2), np.zeros(2)
    x.grad_storage = storage
    for factor in (2, 3):
        x.grad = None
        storage[...] = 99  # of the step before
        (x * factor).sum().backward()
        assert x.grad is storage
        np.testing.assert_array_equal(storage, [factor] * 2)
    (x * 4).sum().backward()  # adds to what is there
    np.testing.assert_array_equal(storage, [7, 7])


def test_sums_of_many_uses_touch_no_array_that_others_have() -> None:
    """add hands on the very array it was given, to several at once."""
    x, y, given = leaf(1, 2), leaf(3, 4), np.ones(2)
    out = (x + x) + (x + y) + (y + x) + x * 2
    for count in (1, 2):
        out.backward(given, retain_graph=True)
        np.testing.assert_array_equal(given, [1, 1])
        np.testing.assert_array_equal(x.grad, [6 * count] * 2)
        np.testing.assert_array_equal(y.grad, [2 * count] * 2)
    assert not np.shares_memory(x.grad, y.grad)


def test_grad_storage_takes_over_the_gradient_that_is_there() -> None:
    x, storage = leaf(1, 2), np.zeros(2)
    (x * x).sum().backward()
    x.grad_storage = storage
    np.testing.assert_array_equal(storage, [2, 4])


@pytest.mark.parametrize(
    "storage", [np.zeros(3), np.zeros(2, np.float32), np.broadcast_to(np.zeros(1), (2,))]
)
def test_grad_storage_refuses(storage: Any) -> None:
    with pytest.raises(ValueError, match=r"grad_storage must be writeable, \(2,\) float64"):
        leaf(1, 2).grad_storage = storage


def test_no_grad_nests_restores_and_decorates() -> None:
    x = leaf(1)
    with pytest.raises(ZeroDivisionError), no_grad():
        with no_grad():
            pass
        assert not is_grad_enabled()
        assert not (x * 2).requires_grad
        raise ZeroDivisionError
    assert is_grad_enabled()

    @no_grad()
    def twice(again: bool) -> Tensor:
        return twice(False) if again else x * 2

    assert not twice(True).requires_grad
    assert (x * 2).requires_grad and not x.detach().requires_grad


def test_enable_grad_inside_no_grad() -> None:
    x = leaf(1)
    with no_grad():
        with enable_grad():
            assert (x * 2).requires_grad
        assert not is_grad_enabled()


def test_no_grad_is_each_threads_own() -> None:
    inside, checked = threading.Event(), threading.Event()
    seen: list[bool] = []

    def other() -> None:
        with no_grad():
            inside.set()
            checked.wait(10)
            seen.append(is_grad_enabled())

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    assert is_grad_enabled() and (leaf(1) * 2).requires_grad
    checked.set()
    thread.join()
    assert seen == [False]


def test_unknown_device_and_op() -> None:
    with pytest.raises(ValueError, match="unknown device 'gpu'; known: cpu"):
        Tensor([1.0], device="gpu")
    with pytest.raises(ValueError, match="unknown op 'sine'; known: abs, "):
        apply("sine", Tensor([1.0]))


def test_another_device_is_a_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEVICES, "other", None)
    register_device("other", np)
    monkeypatch.setitem(OPS, "exp", dict(OPS["exp"]))

    @op("exp", device="other")
    class Exp(OPS["exp"]["cpu"]):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return super().forward(x) + 1

    x = Tensor([0.0], device="other")
    assert x.exp().data == 2 and x.exp().device == "other"
    assert Tensor([0.0]).exp().data == 1
    with pytest.raises(NotImplementedError, match="op 'tanh' has no implementation on 'other'; it has: cpu"):
        x.tanh()
    with pytest.raises(ValueError, match="add: inputs on different devices: cpu, other"):
        Tensor([0.0]) + x
