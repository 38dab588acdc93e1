"""Convolutions."""

from __future__ import annotations

from ringleader.runtime.autograd.functional.sizes import Pair, pair
from ringleader.runtime.autograd.tensor import Tensor, apply


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Pair = 1, padding: Pair = 0
) -> Tensor:
    """x (N, C, H, W), weight (O, C, kh, kw), bias (O,) -> (N, O, (H + 2 padding - kh) // stride + 1, ...).

    ShapeError: channels, bias or kernel do not fit.
    """
    inputs = (x, weight) if bias is None else (x, weight, bias)
    return apply("conv2d", *inputs, stride=pair(stride), padding=pair(padding))
