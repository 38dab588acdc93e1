"""Ops with options, as functions of tensors. Names and argument order are PyTorch's."""

from __future__ import annotations

import numpy as np
from ringleader.runtime.autograd.op import Array
from ringleader.runtime.autograd.tensor import Tensor, apply

Pair = int | tuple[int, int]


def pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (N, in), weight (out, in), bias (out,) -> x weight^T + bias (N, out). ShapeError."""
    y = x @ weight.transpose(0, 1)
    return y if bias is None else y + bias


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Pair = 1, padding: Pair = 0
) -> Tensor:
    """x (N, C, H, W), weight (O, C, kh, kw), bias (O,) -> (N, O, (H + 2 padding - kh) // stride + 1, ...).

    ShapeError: channels, bias or kernel do not fit.
    """
    inputs = (x, weight) if bias is None else (x, weight, bias)
    return apply("conv2d", *inputs, stride=pair(stride), padding=pair(padding))


def avg_pool2d(x: Tensor, kernel_size: Pair, stride: Pair | None = None) -> Tensor:
    """Mean over windows: x (N, C, H, W) -> (N, C, (H - kh) // stride + 1, ...). The stride is the kernel's
    size if not given. ShapeError: the kernel is larger than the image."""
    kernel = pair(kernel_size)
    return apply("avg_pool2d", x, kernel_size=kernel, stride=kernel if stride is None else pair(stride))


def max_pool2d(x: Tensor, kernel_size: Pair, stride: Pair | None = None) -> Tensor:
    """Maximum over windows, shapes as in avg_pool2d; of equal maxima the first gets the gradient."""
    kernel = pair(kernel_size)
    return apply("max_pool2d", x, kernel_size=kernel, stride=kernel if stride is None else pair(stride))


def cross_entropy(x: Tensor, target: Array | Tensor, reduction: str = "mean") -> Tensor:
    """-log softmax(x)[target]: logits x (N, C), integer target (N,).

    A number for reduction "mean" (NaN if N = 0) or "sum" (0 if N = 0), (N,) for "none". ShapeError;
    ValueError: a target that is no class, unknown reduction; TypeError: targets that are not integers.
    """
    labels = target.data if isinstance(target, Tensor) else np.asarray(target)
    return apply("cross_entropy", x, target=labels, reduction=reduction)
