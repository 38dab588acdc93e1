"""The affine map, and rows of a table by number, which is the affine map of one-hot vectors."""

from __future__ import annotations

from ringleader.runtime.autograd.op import Array
from ringleader.runtime.autograd.tensor import Tensor, apply


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., in), weight (out, in), bias (out,) -> x weight^T + bias (..., out). ShapeError."""
    return apply("linear", x, weight) if bias is None else apply("linear", x, weight, bias)


def embedding(indices: Array | Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Rows of weight (V, D): integer indices (...) -> (..., D). The row ``padding_idx`` gets no gradient.

    IndexError: an index is not in 0..V-1. TypeError: indices that are not integers. ShapeError.
    """
    return apply("embedding", weight, indices=weight.beside(indices), padding_idx=padding_idx)
