"""Methods and functions of tensors: indexing as numpy does it, comparison, dtypes, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.op_cases.draw import normal, positive
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from ringleader.runtime.autograd import (
    ShapeError,
    Tensor,
    bmm,
    cat,
    einsum,
    gradcheck,
    maximum,
    minimum,
    pad,
    stack,
    where,
)


def x(*shape: int) -> Tensor:
    return Tensor(normal(*shape), requires_grad=True)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("widths", [(1, 2), (0, 3, 1, 0), (2, 2, 0, 2), ()])
def test_pad_with_what_is_there_is_numpys(mode: Any, widths: tuple[int, ...]) -> None:
    a, other_names = normal(2, 3, 4), {"replicate": "edge", "circular": "wrap"}
    pairs = [(0, 0)] * (3 - len(widths) // 2) + [
        (widths[i], widths[i + 1]) for i in range(0, len(widths), 2)
    ][::-1]
    np.testing.assert_array_equal(
        pad(Tensor(a), widths, mode).data, np.pad(a, pairs, other_names.get(mode, mode))
    )
    gradcheck(lambda t: pad(t, widths, mode), a)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [("...ij,...jk->...ik", [(2, 1, 2, 3), (3, 3, 2)]), ("...i,i", [(2, 3), (3,)]), ("...ii->...i", [(2, 3, 3)]),
     ("iji->j", [(3, 2, 3)]), ("b...,b...->...", [(2, 3), (2, 1)]), ("...->...", [(0, 2)])],
)  # fmt: skip
def test_einsum_is_numpys(equation: str, shapes: list[tuple[int, ...]]) -> None:
    given_arrays = [normal(*shape) for shape in shapes]
    got = einsum(equation, *map(Tensor, given_arrays))
    np.testing.assert_allclose(got.data, np.einsum(equation, *given_arrays), rtol=1e-12, atol=1e-12)
    gradcheck(lambda *t: einsum(equation, *t), *given_arrays)


@st.composite
def shapes_and_indices(draw: st.DrawFn) -> tuple[tuple[int, ...], Any]:
    shape = draw(arrays.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4))
    basic = arrays.basic_indices(shape, allow_newaxis=True)
    return shape, draw(st.one_of(basic, arrays.integer_array_indices(shape), arrays.arrays(bool, shape[:2])))


@settings(max_examples=150, deadline=None)
@given(shapes_and_indices())
def test_indexing_is_numpys_and_each_place_gets_the_sum_of_its_gradients(drawn: tuple[Any, Any]) -> None:
    shape, index = drawn
    tensor = x(*shape)
    out = tensor[index]
    np.testing.assert_array_equal(out.data, tensor.data[index])
    g = normal(*out.shape)
    out.backward(g)
    wanted = np.zeros(shape)
    np.add.at(wanted, index, g)
    np.testing.assert_allclose(tensor.grad, wanted, rtol=1e-12, atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(shapes_and_indices())
def test_assignment_is_numpys_and_the_last_value_counts(drawn: tuple[Any, Any]) -> None:
    shape, index = drawn
    source = x(*shape)
    tensor, wanted = source * 1, source.data.copy()
    value = Tensor(
        np.arange(wanted[index].size, dtype=np.float64).reshape(wanted[index].shape) + 100, requires_grad=True
    )
    tensor[index] = value
    wanted[index] = value.data
    np.testing.assert_array_equal(tensor.data, wanted)
    g = normal(*shape)
    tensor.backward(g)
    np.testing.assert_array_equal(source.grad, np.where(wanted >= 100, 0, g))
    there = np.isin(value.data, wanted)  # the values that were not overwritten
    np.testing.assert_array_equal(value.grad, np.where(there, g[index], 0))


def test_tensors_as_indices() -> None:
    tensor, index = x(3, 2), np.array([2, 0, 2])
    np.testing.assert_array_equal(tensor[Tensor(index)].data, tensor.data[index])
    np.testing.assert_array_equal(tensor[Tensor(index), 1].data, tensor.data[index, 1])
    np.testing.assert_array_equal(tensor[tensor > 0].data, tensor.data[tensor.data > 0])
    np.testing.assert_array_equal(tensor[[2, 0]].data, tensor.data[[2, 0]])
    assert tensor[[]].shape == (0, 2)


def test_a_tensor_is_hashable_although_equality_compares_elements() -> None:
    a, b = Tensor([1.0, 2.0]), Tensor([1.0, 3.0])
    assert len({a, b, a}) == 2 and {a: 1}[a] == 1
    np.testing.assert_array_equal((a == b).data, [True, False])
    assert not (a == b).requires_grad and (a < b).dtype == bool
    assert bool(Tensor([1.0]) == 1) and float(Tensor(2.5)) == 2.5 and int(Tensor([3])) == 3
    with pytest.raises(ValueError, match="ambiguous"):
        bool(a == b)
    assert [t.item() for t in a] == [1, 2]
    with pytest.raises(TypeError, match="iterated"):
        iter(Tensor(1.0))


def test_numpy_sees_the_array() -> None:
    a = Tensor(np.array([1.0, 2.0]))
    assert np.asarray(a) is a.data and np.array(a) is not a.data
    assert np.asarray(a, np.float32).dtype == np.float32


COMPOSITES: list[Callable[[Tensor], Tensor]] = [
    lambda t: t.clamp(-1), lambda t: t.masked_fill(t > 1, 0), lambda t: where(t > 1, t, 2), lambda t: where(t > 1, 2.0, t),
    lambda t: t.maximum(0.5), lambda t: t**2.0, lambda t: 2**t, lambda t: t**t, lambda t: t.reciprocal(), abs,
    lambda t: t.norm(), lambda t: t.norm(1), lambda t: t.norm(float("inf")), lambda t: t.var(), lambda t: t.std(),
    lambda t: t.max(), lambda t: t.max(0).values, lambda t: t.logsumexp(), lambda t: t.prod(), lambda t: t.repeat(2, 2),
    lambda t: t.flip(0), lambda t: stack([t, t]), lambda t: cat([t, t]), lambda t: pad(t, (1, 1)), lambda t: t.sum(),
    lambda t: einsum("ij,ij->i", t, t), lambda t: t[0] @ t[0], lambda t: t[0, 0], lambda t: t.cumsum(0),
]  # fmt: skip


@pytest.mark.parametrize("call", COMPOSITES)
def test_float32_stays_float32(call: Callable[[Tensor], Tensor]) -> None:
    tensor = Tensor(positive(2, 3).astype(np.float32), requires_grad=True)
    out = call(tensor)
    assert out.dtype == np.float32
    out.backward(np.ones(out.shape, np.float32))
    assert tensor.grad is not None and tensor.grad.dtype == np.float32


def test_empty_and_single() -> None:
    assert [part.shape for part in x(0, 2).split(3)] == [(0, 2)]
    assert [part.shape for part in x(0, 2).chunk(2)] == [(0, 2)] * 2
    assert x(0, 3).logsumexp(0).data.tolist() == [-np.inf] * 3
    assert x(0).prod().item() == 1 and x(0).sum().item() == 0
    assert x().flatten().shape == (1,) and x(1, 1).squeeze().shape == () and x().unsqueeze(0).shape == (1,)
    assert np.isnan(x(1).var().item()) and x(1).var(correction=0).item() == 0
    assert einsum("ij,jk->ik", x(2, 0), x(0, 3)).data.tolist() == [[0] * 3] * 2


REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: maximum(x(2), x(3)), ShapeError, r"maximum: shapes \(2,\) and \(3,\): do not broadcast"),
    (lambda: minimum(x(2), x(3)), ShapeError, r"minimum: shapes"),
    (lambda: x(2) < x(3), ShapeError, r"less: shapes \(2,\) and \(3,\): do not broadcast"),
    (lambda: where(x(2) > 0, x(3), x(3)), ShapeError, r"where: shapes \(2,\) and \(3,\) and \(3,\)"),
    (lambda: where(np.array([0, 1]), x(2), 0), TypeError, r"where: condition must be boolean, not int64"),
    (lambda: where(np.array([True]), 1, 0), TypeError, r"where: at least one .* must be a Tensor"),
    (
        lambda: x(2).masked_fill(np.ones((3, 2), bool), 0),
        ShapeError,
        r"masked_fill: mask of \(3, 2\) is larger",
    ),
    (lambda: x(2).clamp(), ValueError, r"clamp: min or max must be given"),
    (lambda: x(0, 2).amax(0), ShapeError, r"amax: shape \(0, 2\): there are no elements over axis 0"),
    (lambda: x(0).max(), ShapeError, r"amax: shape \(0,\): there are no elements"),
    (lambda: x(0, 2).argmin(0), ShapeError, r"argmin: shape \(0, 2\): there are no elements"),
    (lambda: x(2).argmax(1), IndexError, r"argmax: dim 1 of a tensor of shape \(2,\)"),
    (lambda: x(2).norm(3), ValueError, r"norm: p is 3; possible are 1, 2 and inf"),
    (lambda: x(2).cumsum(1), ShapeError, r"cumsum: shape \(2,\): there is no axis 1"),
    (lambda: x(2, 3)[2], IndexError, r"getitem: shape \(2, 3\): index 2 is out of bounds"),
    (lambda: x(2)[0, 0], IndexError, r"getitem: shape \(2,\): too many indices"),
    (lambda: x(2)[np.array([0.5])], IndexError, r"getitem: shape \(2,\): arrays used as indices must be"),
    (lambda: x(2, 3).gather(0, np.array([0])), ShapeError, r"gather: shapes \(2, 3\) and \(1,\): the index"),
    (lambda: x(2, 3).gather(0, np.zeros((1, 4), int)), ShapeError, r"gather: .*none larger but 0"),
    (lambda: x(2, 3).gather(0, np.array([[2]])), IndexError, r"gather: index 2 is out of range for axis 0"),
    (lambda: x(2, 3).gather(0, np.array([[0.0]])), TypeError, r"gather: index must be integers, not float64"),
    (lambda: x(2, 3).take_along_dim(np.array([0]), 0), ShapeError, r"take_along_dim: .*as many axes"),
    (lambda: x(2, 3).index_select(0, np.zeros((1, 1), int)), ShapeError, r"index_select: .*\(1, 1\)"),
    (lambda: x(2, 3).expand(3, 3), ShapeError, r"expand: shapes \(2, 3\) and \(3, 3\): only axes of size 1"),
    (lambda: x(2, 3).expand(3), ShapeError, r"expand: .*fewer axes"),
    (lambda: x(3).expand(-1, 3), ShapeError, r"expand: .*-1 for a new one"),
    (lambda: x(2, 3).repeat(2), ShapeError, r"repeat: shape \(2, 3\) and times \(2,\)"),
    (lambda: x(2, 3).squeeze(2), IndexError, r"squeeze: dim 2"),
    (lambda: x(2, 3).unsqueeze(4), IndexError, r"unsqueeze: dim 4"),
    (lambda: x(2, 3).flatten(1, 0), ValueError, r"flatten: start_dim 1 comes after end_dim 0"),
    (lambda: x(2, 3).flip(2), IndexError, r"flip: dim 2"),
    (lambda: x(2).tril(), ShapeError, r"tril: shape \(2,\): at least 2 axes"),
    (lambda: x(2, 3).split(0), ValueError, r"split: size is 0"),
    (lambda: x(2, 3).split([1, 3], 1), ShapeError, r"split: shape \(2, 3\): sizes \[1, 3\] do not add up"),
    (lambda: x(2, 3).chunk(0), ValueError, r"chunk: chunks is 0"),
    (lambda: cat([x(2, 3), x(2, 2)]), ShapeError, r"cat: shapes \(2, 3\) and \(2, 2\): sizes differ"),
    (lambda: cat([x(2, 3), x(2)]), ShapeError, r"cat: shapes \(2, 3\) and \(2,\)"),
    (lambda: cat([x(2)], 1), ShapeError, r"cat: shape \(2,\): there is no axis 1"),
    (lambda: cat([]), ValueError, r"cat: there are no tensors"),
    (lambda: stack([]), ValueError, r"cat: there are no tensors"),
    (lambda: stack([x(2), x(1)]), ShapeError, r"stack: shapes \(2,\) and \(1,\): they differ"),
    (lambda: pad(x(2), (1, -1)), ValueError, r"pad: widths .*must not be negative"),
    (lambda: pad(x(2), (1,)), ValueError, r"pad: \(1,\) has an odd number"),
    (lambda: pad(x(2), (1, 1, 1, 1)), ShapeError, r"pad: shape \(2,\): widths for 2 axes"),
    (
        lambda: pad(x(2), (1, 1), "mirror"),
        ValueError,
        r"pad: unknown mode 'mirror'; known: constant, reflect",
    ),
    (lambda: pad(x(2), (1, -1), "circular"), ValueError, r"pad: widths .*must not be negative"),
    (
        lambda: pad(x(3, 2), (2, 0), "reflect"),
        ShapeError,
        r"pad: shape \(3, 2\): reflect by \(2, 0\) along axis 1 of",
    ),
    (lambda: pad(x(2), (0, 3), "circular"), ShapeError, r"circular by \(0, 3\) along axis 0 of size 2"),
    (lambda: pad(x(0), (0, 1), "replicate"), ShapeError, r"replicate by \(0, 1\) along axis 0 of size 0"),
    (lambda: x() @ x(2), ShapeError, r"matmul: shapes \(\) and \(2,\): both operands need at least 1 axis"),
    (lambda: x(2) @ x(3, 2), ShapeError, r"matmul: .*the inner sizes 2 and 3 differ"),
    (lambda: bmm(x(1, 2, 3), x(2, 3, 4)), ShapeError, r"bmm: shapes \(1, 2, 3\) and \(2, 3, 4\)"),
    (lambda: einsum("i.,i", x(2), x(2)), ValueError, r"einsum: .*'i.' may have letters, and ... once"),
    (lambda: einsum("...i...", x(2)), ValueError, r"einsum: .*may have letters, and ... once"),
    (lambda: einsum("i->ii", x(2)), ValueError, r"einsum: 'i->ii': the result has a letter twice"),
    (lambda: einsum("ii->i", x(2, 3)), ShapeError, r"einsum: shape \(2, 3\): the axes 'i' of 'ii' differ"),
    (lambda: einsum("...ij", x(2)), ShapeError, r"einsum: shapes .* do not have the axes of \['...ij'\]"),
    (lambda: einsum("...i,...i", x(2, 3), x(3, 3)), ShapeError, r"einsum: .* has sizes 2 and 3"),
    (lambda: einsum("i->j", x(2)), ValueError, r"einsum: 'i->j': 'j' of the result is in no operand"),
    (lambda: einsum("i,i", x(2)), ValueError, r"einsum: 2 operands are written, 1 given"),
    (lambda: einsum("ij", x(2)), ShapeError, r"einsum: shape \(2,\): 'ij' are not its axes"),
    (lambda: einsum("i,i", x(2), x(3)), ShapeError, r"einsum: .*index 'i' has sizes 2 and 3"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=[message for _, _, message in REFUSED])
def test_refused(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
