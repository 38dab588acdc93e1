"""Several tensors become one."""

from __future__ import annotations

from collections.abc import Sequence

from ringleader.runtime.autograd.op import Array, ShapeError
from ringleader.runtime.autograd.tensor import Tensor, apply


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """One after the other along an axis that is there. ShapeError: the other sizes differ. ValueError: none."""
    return apply("cat", *tensors, dim=dim)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """One after the other along a new axis ``dim``. ShapeError: their shapes differ. ValueError: none."""
    for other in tensors[1:]:
        if other.shape != tensors[0].shape:
            raise ShapeError(f"stack: shapes {tensors[0].shape} and {other.shape}: they differ")
    return cat([tensor.unsqueeze(dim) for tensor in tensors], dim)


def where(condition: Tensor | Array, a: Tensor | float, b: Tensor | float) -> Tensor:
    """a where ``condition`` is True, else b; all three broadcast; one of a and b may be a number.

    TypeError: the condition is not boolean, or both are numbers.
    """
    if isinstance(a, Tensor):
        return apply("where", a, a._operand(b), condition=a.beside(condition))
    if isinstance(b, Tensor):
        return apply("where", b._operand(a), b, condition=b.beside(condition))
    raise TypeError("where: at least one of the values must be a Tensor")


def maximum(a: Tensor, b: Tensor) -> Tensor:
    """The larger of two, element by element; where they are equal each gets half of the gradient."""
    return a.maximum(b)


def minimum(a: Tensor, b: Tensor) -> Tensor:
    return a.minimum(b)


def bmm(a: Tensor, b: Tensor) -> Tensor:
    """a (B, m, k), b (B, k, n) -> (B, m, n). ShapeError; nothing is broadcast."""
    if a.ndim != 3 or b.ndim != 3 or a.shape[0] != b.shape[0]:
        raise ShapeError(f"bmm: shapes {a.shape} and {b.shape}: they must be (B, m, k) and (B, k, n)")
    return a @ b
