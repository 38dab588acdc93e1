"""The general ops against PyTorch: values and gradients in float64, over the options and the special points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.op_cases.draw import Array, distinct, normal, positive, strided
from hypothesis import given, settings
from hypothesis import strategies as st
from ringleader.runtime.autograd import Tensor, bmm, cat, einsum, maximum, minimum, pad, stack, where

torch: Any = pytest.importorskip("torch", reason="PyTorch is the oracle: pip install 'ringleader[oracle]'")


def same(ours: Callable[..., Any], theirs: Callable[..., Any], *arrays: Array) -> None:
    """Equal values, and equal gradients of every input."""
    mine = [Tensor(a.copy(), requires_grad=True) for a in arrays]
    others = [torch.tensor(a.copy(), requires_grad=True) for a in arrays]
    got, wanted = ours(*mine), theirs(*others)
    assert got.shape == tuple(wanted.shape)
    np.testing.assert_allclose(got.data, wanted.detach().numpy(), rtol=1e-11, atol=1e-13)
    seed = normal(*got.shape)
    got.backward(seed)
    wanted.backward(torch.tensor(seed))
    for a, b in zip(mine, others):
        wanted_grad = np.zeros(a.shape) if b.grad is None else b.grad.numpy()
        np.testing.assert_allclose(a.grad, wanted_grad, rtol=1e-10, atol=1e-12)


SPECIAL = np.array([-2.5, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.5, 30.0])
UNARY = ["exp", "expm1", "square", "abs", "sign", "floor", "ceil", "round", "sin", "cos", "tan", "atan", "sinh", "cosh",
         "asinh", "tanh", "erf", "sigmoid", "relu", "clone"]  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str) -> None:
    call = lambda t: getattr(t, name)()  # noqa: E731
    same(call, call, SPECIAL)
    same(call, call, strided(normal(3, 4, 2)))


@pytest.mark.parametrize("name", ["log", "log1p", "log2", "sqrt", "rsqrt", "reciprocal"])
def test_unary_of_positive_numbers(name: str) -> None:
    call = lambda t: getattr(t, name)()  # noqa: E731
    same(call, call, np.concatenate([positive(20), [1e-300, 1e300, 1.0]]))


@pytest.mark.parametrize("name", ["asin", "acos", "atanh"])
def test_unary_of_small_numbers(name: str) -> None:
    call = lambda t: getattr(t, name)()  # noqa: E731
    same(call, call, np.array([-0.999999, -0.5, 0, 0.3, 0.999]))


def test_acosh() -> None:
    same(lambda t: t.acosh(), lambda t: t.acosh(), np.array([1.000001, 1.5, 7, 1e300]))


def test_binary_with_ties_and_zeros() -> None:
    grid = np.repeat([[-2.0, -1.0, 0.0, 1.0, 3.0]], 5, axis=0)
    for ours, theirs in [(maximum, torch.maximum), (minimum, torch.minimum)]:
        same(ours, theirs, grid, grid.T)
        same(ours, theirs, normal(2, 1, 3), normal(4, 1))
    nan = np.array([np.nan, 1.0])
    same(maximum, torch.maximum, nan, nan[::-1])
    power = lambda a, b: a**b  # noqa: E731
    same(power, power, np.abs(grid), np.abs(grid.T))
    same(power, power, positive(2, 3), normal(3))
    same(lambda t: 2**t, lambda t: 2**t, normal(3))
    for low, high in [(-1, 1), (None, 0.5), (0, None), (1, -1)]:
        clamp = lambda t: t.clamp(low, high)  # noqa: B023, E731
        same(clamp, clamp, SPECIAL + 0.25)  # the gradient at a bound is 1, in PyTorch 2.14 it is 0


AXES: list[Any] = [None, 0, 1, -1, (0, 2), (0, 1, 2)]


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", AXES)
def test_reductions(axis: Any, keepdims: bool) -> None:
    dims = tuple(range(3)) if axis is None else axis
    tied = np.round(normal(3, 4, 2))
    for name in ("sum", "mean", "amax", "amin", "logsumexp"):
        ours = lambda t: getattr(t, name)(axis, keepdims)  # noqa: B023, E731
        same(ours, lambda t: getattr(t, name)(dims, keepdims), tied)  # noqa: B023
        same(ours, lambda t: getattr(t, name)(dims, keepdims), strided(normal(3, 4, 2)))  # noqa: B023
    for correction in (0, 1):
        for name in ("var", "std"):
            same(lambda t: getattr(t, name)(axis, correction, keepdims),  # noqa: B023
                 lambda t: getattr(t, name)(dims, correction=correction, keepdim=keepdims), normal(3, 4, 2))  # noqa: B023 # fmt: skip
    for p in (1, 2, np.inf):
        same(lambda t: t.norm(p, axis, keepdims), lambda t: torch.linalg.vector_norm(t, p, dims, keepdim=keepdims), tied)  # noqa: B023 # fmt: skip


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions_over_one_axis(axis: int, keepdims: bool) -> None:
    tied = np.round(normal(3, 4, 2))
    for name in ("max", "min"):
        for part in (0, 1):
            ours, theirs = (
                getattr(Tensor(tied), name)(axis, keepdims),
                getattr(torch.tensor(tied), name)(axis, keepdims),
            )
            np.testing.assert_array_equal(ours[part].data, theirs[part].numpy())
        pick = lambda t: getattr(t, name)(axis, keepdims)[0]  # noqa: B023, E731
        same(pick, pick, tied)
    for name in ("argmax", "argmin"):
        ours, theirs = getattr(Tensor(tied), name), getattr(torch.tensor(tied), name)
        np.testing.assert_array_equal(ours(axis, keepdims).data, theirs(axis, keepdims).numpy())
        assert ours().item() == theirs().item()
    product = lambda t: t.prod(axis, keepdims)  # noqa: E731
    same(product, product, tied)
    running = lambda t: t.cumsum(axis)  # noqa: E731
    same(running, running, tied)


def test_reductions_of_everything() -> None:
    tied = np.round(normal(3, 4))
    for name in ("max", "min", "prod"):
        call = lambda t: getattr(t, name)()  # noqa: B023, E731
        same(call, call, tied)
        same(call, call, normal(3, 4))
    for name in ("std", "norm"):
        call = lambda t: getattr(t, name)()  # noqa: B023, E731
        same(call, call, np.zeros(3))
    same(
        lambda t: t.logsumexp(0),
        lambda t: t.logsumexp(0),
        np.array([[1e4, -np.inf], [0, -np.inf], [1e4, -1e4]]),
    )


INDICES: list[Any] = [
    0, slice(1, None), None, ..., (..., 0), (0, ..., None, 1), (slice(None), slice(0, 3, 2), None),
    np.array([2, 0, 2, 2]), np.array([[0, 1], [-1, 0]]), (np.array([0, 2, 0]), 1), (slice(None), np.array([[0, 3], [3, 3]])),
    (np.array([2, 2]), slice(1, 3), 0), (np.array([2, 2, 0]), slice(None), np.array([1, 1, 0])), (..., np.array([1, 1, 0])),
    np.arange(12).reshape(3, 4) % 3 == 0, (slice(None), np.array([True, False, True, True])),
    (np.array([[0], [2]]), np.array([[3, 3, 1]])),
]  # fmt: skip


def torched(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(torched(part) for part in index)
    return torch.tensor(index) if isinstance(index, np.ndarray) else index


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_indexing(index: Any) -> None:
    same(lambda t: t[index], lambda t: t[torched(index)], strided(normal(3, 4, 2)))


@pytest.mark.parametrize("index", [0, slice(1, None), (..., 1), np.array([2, 0]), np.arange(3) == 1], ids=str)
def test_assignment(index: Any) -> None:
    def assigned(at: Any) -> Callable[[Any, Any], Any]:
        def run(x: Any, value: Any) -> Any:
            y = x * 2
            y[at] = value
            y *= 3
            return y * y

        return run

    same(
        assigned(index), assigned(torched(index)), normal(3, 4, 2), normal(*np.zeros((3, 4, 2))[index].shape)
    )
    same(assigned(index), assigned(torched(index)), normal(3, 4, 2), normal())


def test_gathering() -> None:
    index = np.array([[0, 2, 2], [1, 1, 1]])
    for dim in (0, 1):
        same(lambda t: t.gather(dim, index), lambda t: t.gather(dim, torch.tensor(index)), normal(3, 3))  # noqa: B023
    same(
        lambda t: t.take_along_dim(index[:, :1], 1),
        lambda t: t.take_along_dim(torch.tensor(index[:, :1]), 1),
        normal(2, 3),
    )
    same(
        lambda t: t.take_along_dim(index, 0), lambda t: t.take_along_dim(torch.tensor(index), 0), normal(3, 1)
    )
    same(
        lambda t: t.index_select(1, np.array([2, 0, 2])),
        lambda t: t.index_select(1, torch.tensor([2, 0, 2])),
        normal(2, 3),
    )


SHAPINGS: list[Callable[[Any], Any]] = [
    lambda t: t.flatten(), lambda t: t.flatten(1), lambda t: t.flatten(0, 1), lambda t: t[:, :, :1].squeeze(),
    lambda t: t[:, :, :1].squeeze(-1), lambda t: t.squeeze(0), lambda t: t.unsqueeze(0), lambda t: t.unsqueeze(-1),
    lambda t: t[:, :1].expand(3, 5, 2), lambda t: t[:, :1].expand(4, -1, 5, 2), lambda t: t[0].broadcast_to((5, 4, 2)),
    lambda t: t.repeat(2, 1, 3), lambda t: t.repeat(2, 1, 0, 1), lambda t: t.tile(2), lambda t: t.tile(2, 1, 1, 2),
    lambda t: t.swapaxes(0, -1), lambda t: t.flip(0), lambda t: t.flip(0, -1), lambda t: t.tril(), lambda t: t.triu(-1),
    lambda t: t.tril(1), lambda t: t.permute(2, 0, 1), lambda t: t.split(3, 1)[1], lambda t: t.split([1, 0, 3], 1)[2],
    lambda t: t.chunk(3, 1)[1] * 2, lambda t: t.chunk(2)[1], lambda t: t.chunk(7, 1)[-1],
]  # fmt: skip


@pytest.mark.parametrize("call", SHAPINGS)
def test_shaping(call: Callable[[Any], Any]) -> None:
    same(call, call, normal(3, 4, 2))
    same(call, call, strided(normal(3, 4, 2)))


def test_combining() -> None:
    a, b, c = normal(2, 3), normal(2, 3) + 1, normal(2, 1)
    for dim in (0, 1, -1, 2):
        same(lambda *t: stack(t, dim), lambda *t: torch.stack(t, dim), a, b)  # noqa: B023
    same(lambda *t: cat(t, 1), lambda *t: torch.cat(t, 1), a, c, b)
    same(lambda s, t: where(a > 0, s, t), lambda s, t: torch.where(torch.tensor(a > 0), s, t), b, c)
    same(lambda t: where(t > 0, t, -1.5), lambda t: torch.where(t > 0, t, -1.5), a)
    same(lambda t: t.masked_fill(c > 0, 7), lambda t: t.masked_fill(torch.tensor(c > 0), 7), a)
    for widths in [(1, 2), (0, 1, 2, 0), ()]:
        same(lambda t: pad(t, widths, value=2.5), lambda t: torch.nn.functional.pad(t, widths, value=2.5), a)  # noqa: B023


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize(("shape", "widths"), [((2, 3, 4), (1, 2)), ((2, 3, 4), (0, 3)), ((2, 1, 4, 3), (2, 0, 1, 3)),
                                               ((2, 2, 2, 2), (1, 1, 1, 1)), ((2, 1, 3, 1), (0, 0, 2, 1))])  # fmt: skip
def test_pad_with_what_is_there(shape: tuple[int, ...], widths: tuple[int, ...], mode: str) -> None:
    same(lambda t: pad(t, widths, mode), lambda t: torch.nn.functional.pad(t, widths, mode), normal(*shape))


@pytest.mark.parametrize("shapes", [((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((3,), (5, 3, 2)), ((4, 5, 2, 3), (3,)),
                                    ((4, 1, 2, 3), (5, 3, 2)), ((2, 0), (0, 3))])  # fmt: skip
def test_matmul(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    call = lambda a, b: a @ b  # noqa: E731
    same(call, call, *(normal(*shape) for shape in shapes))
    if len(shapes[0]) == len(shapes[1]) == 2:
        same(bmm, torch.bmm, *(normal(2, *shape) for shape in shapes))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_einsum(data: st.DataObject) -> None:
    letters = st.lists(st.sampled_from("abcde"), max_size=3, unique=True).map("".join)
    operands = data.draw(st.lists(letters, min_size=1, max_size=4))
    there = sorted(set("".join(operands)))
    output = "".join(data.draw(st.permutations(there))[: data.draw(st.integers(0, len(there)))])
    sizes = {c: data.draw(st.integers(1, 3)) for c in "abcde"}
    equation = f"{','.join(operands)}->{output}"
    arrays = [normal(*(sizes[c] for c in part)) for part in operands]
    same(lambda *t: einsum(equation, *t), lambda *t: torch.einsum(equation, *t), *arrays)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [("...ij,...jk->...ik", [(2, 3, 4), (2, 4, 5)]), ("...ij,jk", [(3, 1, 2, 3, 4), (4, 5)]),
     ("...i,...i->...", [(2, 1, 3), (4, 3)]), ("b...,b...->...", [(2, 3), (2, 1)]), ("...->...", [(2, 3)]),
     ("...,i->i...", [(), (3,)]), ("...ii->...i", [(2, 3, 3)]), ("ii", [(3, 3)]), ("iji->ij", [(3, 2, 3)]),
     ("iii->i", [(2, 2, 2)]), ("jii,kj->ik", [(2, 3, 3), (4, 2)]), ("i...i->...", [(2, 3, 2)])],
)  # fmt: skip
def test_einsum_of_axes_without_letters_and_of_diagonals(
    equation: str, shapes: list[tuple[int, ...]]
) -> None:
    arrays = [normal(*shape) for shape in shapes]
    same(lambda *t: einsum(equation, *t), lambda *t: torch.einsum(equation, *t), *arrays)


def test_einsum_without_an_arrow() -> None:
    same(
        lambda a, b: einsum("kj, ik", a, b),
        lambda a, b: torch.einsum("kj, ik", a, b),
        normal(3, 2),
        normal(4, 3),
    )


def test_comparisons() -> None:
    a, b = distinct(2, 3), distinct(2, 3)[:, ::-1]
    for compare in (lambda x, y: x < y, lambda x, y: x <= y, lambda x, y: x > y, lambda x, y: x >= y,
                    lambda x, y: x == y, lambda x, y: x != y, lambda x, y: ~((x > y) | (x < 0)) & (y > 0),
                    lambda x, y: (x > 0) ^ (y > x)):  # fmt: skip
        got, wanted = compare(Tensor(a), Tensor(b)), compare(torch.tensor(a), torch.tensor(b.copy()))
        assert got.dtype == bool and not got.requires_grad
        np.testing.assert_array_equal(got.data, wanted.numpy())
