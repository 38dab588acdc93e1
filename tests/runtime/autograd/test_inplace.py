"""Changes in place: what they do, what the gradient is, and what is refused because it would be wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ringleader.runtime.autograd import Parameter, ShapeError, Tensor, apply, cat, einsum, no_grad, where


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values, np.float64), requires_grad=True)


def plain(*values: float) -> Tensor:
    return Tensor(np.array(values, np.float64))


def test_methods_change_the_memory_itself_and_return_the_tensor() -> None:
    memory = np.array([1, 2, 3], np.float32)
    x = Tensor(memory)
    for change, wanted in [
        (lambda: x.add_(1), [2, 3, 4]), (lambda: x.sub_(Tensor(np.float32(1)), alpha=2), [0, 1, 2]),
        (lambda: x.mul_(3), [0, 3, 6]), (lambda: x.div_(1.5), [0, 2, 4]),
        (lambda: x.copy_(np.array([5, 6, 7])), [5, 6, 7]), (lambda: x.fill_(2.5), [2.5] * 3),
        (lambda: x.zero_(), [0] * 3),
    ]:  # fmt: skip
        assert change() is x
        np.testing.assert_array_equal(memory, np.array(wanted, np.float32))
    y = x
    y += 2
    y *= 3
    y -= 1
    y /= 5
    y[1:] = Tensor([7.0, 8.0])
    y[0] += 1
    assert y is x and x.data is memory
    np.testing.assert_array_equal(memory, [2, 7, 8])


def test_refused_by_shape_and_dtype() -> None:
    for change in (lambda: plain(1, 2).add_(np.ones((3, 2))), lambda: plain(1, 2).copy_(np.ones(3)),
                   lambda: plain(1, 2).__setitem__(slice(1), np.ones(2)),
                   lambda: leaf(1, 2).clone().__setitem__(slice(1), np.ones(2))):  # fmt: skip
        with pytest.raises(ShapeError):
            change()
    with pytest.raises(RuntimeError, match=r"add_: .*shape \(2, 2\) is read-only, as after expand"):
        plain(1, 2).expand(2, 2).add_(1)
    with pytest.raises(TypeError, match=r"add_: the result is float64, which does not fit into int64"):
        Tensor(np.array([1])).add_(Tensor([0.5]))


@pytest.mark.parametrize(
    "change",
    [
        lambda x, w: x.add_(w), lambda x, w: x.sub_(w, alpha=3), lambda x, w: x.mul_(w), lambda x, w: x.div_(w),
        lambda x, w: x.copy_(w), lambda x, w: x.mul_(x), lambda x, w: x.zero_(), lambda x, w: x.mul_(2).add_(w).mul_(w),
        lambda x, w: x.__setitem__(1, w[0]), lambda x, w: x.__setitem__([0, 0], w[:2]),
    ],
)  # fmt: skip
def test_the_gradient_is_that_of_the_same_without_in_place(change: Callable[[Tensor, Tensor], Any]) -> None:
    """Against central differences: the values are right (numpy), so the gradient has to fit them."""
    start, other = np.array([0.5, 1.5, -2.0]), np.array([2.0, 3.0, 0.7])

    def run(a: Tensor, w: Tensor) -> Tensor:
        x = a * 1.25
        used_before = (x + 1).sum()  # keeps nothing of x: may be differentiated after the change
        change(x, w)
        return (x * x).sum() + used_before

    a, w = leaf(*start), leaf(*other)
    run(a, w).backward()
    for tensor, base in ((a, start), (w, other)):
        for i in range(3):
            up, down = np.array(base), np.array(base)
            up[i] += 1e-6
            down[i] -= 1e-6
            values = [run(leaf(*v) if tensor is a else leaf(*start), leaf(*v) if tensor is w else leaf(*other))
                      for v in (up, down)]  # fmt: skip
            got = 0 if tensor.grad is None else tensor.grad[i]
            assert got == pytest.approx((values[0].item() - values[1].item()) / 2e-6, rel=1e-6, abs=1e-6)


def test_augmented_assignment_to_an_element_of_a_recorded_tensor() -> None:
    x, w = leaf(1, 2, 3), leaf(10)
    y = x * 2
    y[1:] *= w
    np.testing.assert_array_equal(y.data, [2, 40, 60])
    y.backward(np.array([1.0, 1, 1]))
    np.testing.assert_array_equal(x.grad, [2, 20, 20])
    np.testing.assert_array_equal(w.grad, [10])


def test_a_leaf_that_needs_a_gradient_is_changed_under_no_grad_only() -> None:
    x = leaf(1, 2)
    for change in (lambda: x.add_(1), lambda: x.zero_(), lambda: x.__setitem__(0, 5), lambda: x[0:1].add_(1),
                   lambda: x.reshape(2, 1).mul_(2), lambda: x.__iadd__(1)):  # fmt: skip
        with pytest.raises(RuntimeError, match=r"shape \(.*\) is a leaf that requires a gradient"):
            change()
    with no_grad():
        x += 1
        x[0] = 7
        x[1:] *= 2
    assert x.is_leaf
    np.testing.assert_array_equal(x.data, [7, 6])
    x.sum().backward()
    np.testing.assert_array_equal(x.grad, [1, 1])


KEEPS: list[tuple[str, Callable[[Tensor, Tensor], Tensor], str]] = [
    ("mul", lambda x, w: x * w, "x"), ("mul", lambda x, w: x * w, "w"), ("div", lambda x, w: x / w, "w"),
    ("exp", lambda x, w: x.exp(), "out"), ("log", lambda x, w: x.log(), "x"), ("tanh", lambda x, w: x.tanh(), "out"),
    ("matmul", lambda x, w: x @ w, "x"), ("maximum", lambda x, w: x.maximum(w), "w"), ("pow", lambda x, w: x**2, "x"),
    ("einsum", lambda x, w: einsum("i,i->i", x, w), "w"), ("prod", lambda x, w: x.prod(), "x"),
    ("mul", lambda x, w: x.reshape(3, 1) * w, "x"),
]  # fmt: skip
KEEPS_NOT: list[tuple[str, Callable[[Tensor, Tensor], Tensor], str]] = [
    ("add", lambda x, w: x + w, "x"), ("add", lambda x, w: x + w, "out"), ("sub", lambda x, w: x - w, "w"),
    ("mul", lambda x, w: x * w, "out"), ("mul", lambda x, w: x * w.detach().clone(), "x"),
    ("exp", lambda x, w: x.exp(), "x"), ("log", lambda x, w: x.log(), "out"), ("sum", lambda x, w: x.sum(), "x"),
    ("div", lambda x, w: x / w.detach().clone(), "out"), ("where", lambda x, w: where(x > 0, x, w), "x"),
    ("cat", lambda x, w: cat([x, w]), "w"), ("getitem", lambda x, w: x[[0, 0]], "x"), ("amax", lambda x, w: x.amax(), "x"),
    ("var", lambda x, w: x.var(), "x"), ("getitem", lambda x, w: x[1:], "x"),
]  # fmt: skip


def change_after(function: Callable[[Tensor, Tensor], Tensor], what: str) -> Tensor:
    x, w = leaf(1, 2, 3) * 1, leaf(4, 5, 6) * 1
    out = function(x, w)
    with no_grad():
        {"x": x, "w": w, "out": out}[what].add_(1)
    return out


@pytest.mark.parametrize(("op", "function", "what"), KEEPS)
def test_a_change_of_what_the_gradient_needs_is_an_error_that_names_the_op(
    op: str, function: Callable[[Tensor, Tensor], Tensor], what: str
) -> None:
    out = change_after(function, what)
    part = {"x": r"input 0 of shape \(3", "w": r"input 1 of shape \(3,\)", "out": "output"}[what]
    with pytest.raises(RuntimeError, match=rf"'{op}' needs its {part}.* changed in place \(1 times\)"):
        out.backward(np.ones(out.shape))


@pytest.mark.parametrize(("op", "function", "what"), KEEPS_NOT)
def test_a_change_of_what_the_gradient_does_not_need_is_allowed(
    op: str, function: Callable[[Tensor, Tensor], Tensor], what: str
) -> None:
    out = change_after(function, what)
    out.backward(np.ones(out.shape))


def test_forward_step_backward_names_the_parameter_and_changes_nothing() -> None:
    w, x = Parameter(np.ones((2, 2))), leaf(1, 2)
    w.name = "fc.weight"
    loss = (x @ w).sum()
    w.data -= 0.1
    w.mark_changed()
    with pytest.raises(
        RuntimeError, match=r"'matmul' needs its input 1 'fc.weight' of shape \(2, 2\) as it was"
    ):
        loss.backward()
    assert x.grad is None and w.grad is None
    (plain(1, 2) @ w).sum().backward()  # the gradient of w alone does not need w


def test_step_between_forward_and_backward_is_allowed_where_the_weight_is_not_needed() -> None:
    w = Parameter(np.ones((2, 2)))
    loss = (plain(1, 2) @ w).sum()
    with no_grad():
        w -= 0.1
    loss.backward()
    np.testing.assert_array_equal(w.grad, [[1, 1], [2, 2]])


def test_views_share_their_changes() -> None:
    for view in (lambda t: t[1:], lambda t: t.reshape(3, 1), lambda t: t.detach(), lambda t: Tensor(t),
                 lambda t: t.T.unsqueeze(0)[0], lambda t: t.flip(0).split(2)[0]):  # fmt: skip
        x = leaf(1, 2, 3) * 1
        out = (x * x).sum()
        with no_grad():
            view(x).mul_(2)
        with pytest.raises(RuntimeError, match="'mul' needs its input 0"):
            out.backward()


def test_a_view_made_before_a_recorded_change_is_outdated_but_what_was_computed_from_it_is_not() -> None:
    x = leaf(1, 2)
    y = x * 2
    view, alias = y[:1], y.detach()
    early = view.sum()
    y.mul_(3)
    for use in (
        lambda: view + 1,
        lambda: view.sum(),
        lambda: view.add_(1),
        lambda: view.backward(np.ones(1)),
    ):
        with pytest.raises(RuntimeError, match=r"shape \(1,\), made by 'getitem', shares memory"):
            use()
    assert (alias * 1).data.tolist() == [6, 12]  # detached: its values are meant, whatever the graph
    early.backward(retain_graph=True)
    np.testing.assert_array_equal(x.grad, [2, 0])
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [8, 6])


def test_a_change_of_a_view_outdates_the_whole() -> None:
    y = leaf(1, 2) * 2
    view = y[:1]
    view.add_(1)
    with pytest.raises(RuntimeError, match="made by 'mul', shares memory"):
        y.sum()
    other = leaf(1, 2) * 2
    part = other[:1]
    part.add_(1)
    with pytest.raises(RuntimeError, match="shares memory"):
        other[1:] = part  # not the place that was changed


def test_an_earlier_use_keeps_the_graph_it_had() -> None:
    x = leaf(2)
    y = x * 3
    early = y + 1
    y.mul_(y)
    (early + y).sum().backward()
    np.testing.assert_array_equal(x.grad, [3 + 2 * 9 * 2])


def test_indices_and_masks_may_change_after_the_forward() -> None:
    x = leaf(1, 2, 3)
    index, mask = np.array([0, 2]), np.array([True, False, True])
    outs = [x[index], x.gather(0, Tensor(index)), where(mask, x, 0.0), x[mask]]
    index[:], mask[:] = 1, False
    for out in outs:
        x.grad = None
        out.sum().backward()
        np.testing.assert_array_equal(x.grad, [1, 0, 1])


def test_a_change_by_a_hook_in_the_middle_of_backward_is_seen() -> None:
    first, last = leaf(2), leaf(3)
    middle = first.exp()
    last.register_post_accumulate_grad_hook(lambda _: middle.mark_changed())
    with pytest.raises(RuntimeError, match="'exp' needs its output"):
        (middle + last).sum().backward()


def test_two_tensors_on_one_buffer_are_told_apart() -> None:
    buffer = np.ones(4)
    x, w = Tensor(buffer[:2], requires_grad=True), Tensor(buffer[2:], requires_grad=True)
    out = apply("div", x, w)  # keeps w only
    with no_grad():
        x.add_(1)
    out.backward(np.ones(2))
    np.testing.assert_array_equal(x.grad, [1, 1])
