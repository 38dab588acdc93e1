"""The affine map."""

from __future__ import annotations

from ringleader.runtime.autograd.tensor import Tensor


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (N, in), weight (out, in), bias (out,) -> x weight^T + bias (N, out). ShapeError."""
    y = x @ weight.transpose(0, 1)
    return y if bias is None else y + bias
