"""Pooling."""

from __future__ import annotations

from ringleader.runtime.autograd.functional.sizes import Pair, pair
from ringleader.runtime.autograd.tensor import Tensor, apply


def avg_pool2d(x: Tensor, kernel_size: Pair, stride: Pair | None = None) -> Tensor:
    """Mean over windows: x (N, C, H, W) -> (N, C, (H - kh) // stride + 1, ...). The stride is the kernel's
    size if not given. ShapeError: the kernel is larger than the image."""
    kernel = pair(kernel_size)
    return apply("avg_pool2d", x, kernel_size=kernel, stride=kernel if stride is None else pair(stride))


def max_pool2d(x: Tensor, kernel_size: Pair, stride: Pair | None = None) -> Tensor:
    """Maximum over windows, shapes as in avg_pool2d; of equal maxima the first gets the gradient."""
    kernel = pair(kernel_size)
    return apply("max_pool2d", x, kernel_size=kernel, stride=kernel if stride is None else pair(stride))
