"""Convolutions and their transposes, along one axis (N, C, L) and along two (N, C, H, W)."""

from __future__ import annotations

from ringleader.runtime.autograd.functional.sizes import Pair, Single, sizes
from ringleader.runtime.autograd.op import Shape
from ringleader.runtime.autograd.tensor import Tensor, apply


def conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Single = 1, padding: Single | str = 0,
    dilation: Single = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """x (N, C, L), weight (O, C / groups, k), bias (O,) -> (N, O, P); see conv2d."""
    return _convolution("conv1d", 1, x, weight, bias, stride, padding, dilation, groups)


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Pair = 1, padding: Pair | str = 0,
    dilation: Pair = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """x (N, C, H, W), weight (O, C / groups, kh, kw), bias (O,) -> (N, O, P, Q).

    P = (H + 2 padding - dilation (kh - 1) - 1) // stride + 1. Padding "valid" is 0; "same", for stride 1,
    makes P = H. With ``groups``, each group of O / groups channels sees C / groups channels alone.
    ShapeError: channels, bias or kernel do not fit. ValueError: an option makes no sense.
    """
    return _convolution("conv2d", 2, x, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Single = 1, padding: Single = 0,
    output_padding: Single = 0, groups: int = 1, dilation: Single = 1,
) -> Tensor:  # fmt: skip
    """x (N, C, P), weight (C, O / groups, k), bias (O,) -> (N, O, L); see conv_transpose2d."""
    more = sizes("output_padding", output_padding, 1)
    return _convolution("conv_transpose1d", 1, x, weight, bias, stride, padding, dilation, groups,
                        output_padding=more)  # fmt: skip


def conv_transpose2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Pair = 1, padding: Pair = 0,
    output_padding: Pair = 0, groups: int = 1, dilation: Pair = 1,
) -> Tensor:  # fmt: skip
    """x (N, C, P, Q), weight (C, O / groups, kh, kw), bias (O,) -> (N, O, H, W): conv2d's gradient by its input.

    H = (P - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1. ShapeError, ValueError.
    """
    more = sizes("output_padding", output_padding, 2)
    return _convolution("conv_transpose2d", 2, x, weight, bias, stride, padding, dilation, groups,
                        output_padding=more)  # fmt: skip


def _convolution(
    name: str, axes: int, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int | Shape,
    padding: int | Shape | str, dilation: int | Shape, groups: int, **options: Shape,
) -> Tensor:  # fmt: skip
    inputs = (x, weight) if bias is None else (x, weight, bias)
    return apply(
        name,
        *inputs,
        stride=sizes("stride", stride, axes),
        padding=padding if isinstance(padding, str) else sizes("padding", padding, axes),
        dilation=sizes("dilation", dilation, axes),
        groups=groups,
        **options,
    )
