"""Pooling, along one axis (N, C, L) and along two (N, C, H, W). The stride is the kernel's size if not given."""

from __future__ import annotations

from ringleader.runtime.autograd.functional.sizes import Pair, Single, sizes
from ringleader.runtime.autograd.op import Shape, ShapeError
from ringleader.runtime.autograd.tensor import Tensor, apply


def avg_pool1d(
    x: Tensor, kernel_size: Single, stride: Single | None = None, padding: Single = 0, *,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """Mean over windows: x (N, C, L) -> (N, C, (L + 2 padding - k) // stride + 1); see avg_pool2d."""
    return _pool("avg_pool1d", 1, x, kernel_size, stride, padding, 1, count_include_pad=count_include_pad)


def avg_pool2d(
    x: Tensor, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0, *,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """Mean over windows: x (N, C, H, W) -> (N, C, (H + 2 padding - kh) // stride + 1, ...).

    The padding, zeros, counts in the mean unless ``count_include_pad`` is False. Windows that do not fill
    are left out (PyTorch's ceil_mode=False). ShapeError: the kernel is larger than the image.
    """
    return _pool("avg_pool2d", 2, x, kernel_size, stride, padding, 1, count_include_pad=count_include_pad)


def max_pool1d(
    x: Tensor, kernel_size: Single, stride: Single | None = None, padding: Single = 0, dilation: Single = 1
) -> Tensor:
    """Maximum over windows: x (N, C, L) -> (N, C, P); see max_pool2d."""
    return _pool("max_pool1d", 1, x, kernel_size, stride, padding, dilation)


def max_pool2d(
    x: Tensor, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0, dilation: Pair = 1
) -> Tensor:
    """Maximum over windows: x (N, C, H, W) -> (N, C, P, Q),
    P = (H + 2 padding - dilation (kh - 1) - 1) // stride + 1. Of equal maxima the first gets the gradient.
    ShapeError."""
    return _pool("max_pool2d", 2, x, kernel_size, stride, padding, dilation)


def adaptive_avg_pool2d(x: Tensor, output_size: Pair) -> Tensor:
    """Mean over equal parts: x (N, C, H, W) -> (N, C, P, Q); 1 is the mean over the whole image.

    ShapeError: P does not divide H, or Q does not W (PyTorch's parts overlap then).
    """
    p, q = sizes("output_size", output_size, 2)
    if x.ndim != 4 or p < 1 or q < 1 or x.shape[2] % p or x.shape[3] % q:
        raise ShapeError(f"adaptive_avg_pool2d: shape {x.shape}: must be (N, C, H, W), with H and W multiples "
                         f"of {p} and {q}")  # fmt: skip
    n, c, h, w = x.shape
    return x.reshape(n, c, p, h // p, q, w // q).mean(axis=(3, 5))


def _pool(
    name: str, axes: int, x: Tensor, kernel_size: int | Shape, stride: int | Shape | None,
    padding: int | Shape, dilation: int | Shape, **options: bool,
) -> Tensor:  # fmt: skip
    kernel = sizes("kernel_size", kernel_size, axes)
    return apply(
        name,
        x,
        kernel_size=kernel,
        stride=kernel if stride is None else sizes("stride", stride, axes),
        padding=sizes("padding", padding, axes),
        dilation=sizes("dilation", dilation, axes),
        **options,
    )
