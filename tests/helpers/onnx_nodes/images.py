"""Convolution and pooling. ONNX pads each side by itself; our ops take one number for both sides."""

from __future__ import annotations

from math import inf, prod
from typing import Any

import numpy as np
from ringleader.runtime.autograd import Tensor, apply
from ringleader.runtime.autograd import functional as F
from ringleader.runtime.autograd.op import Shape

from helpers.onnx_nodes.table import node

Pairs = list[tuple[int, int]]


class Geometry:
    """Of windows with ONNX's options: ``pairs`` is what to pad (before, after) each axis."""

    def __init__(
        self, sizes: Shape, kernel: Any, auto_pad: str = "NOTSET", pads: Any = None, strides: Any = None,
        dilations: Any = None,
    ) -> None:  # fmt: skip
        self.sizes, self.kernel, axes = sizes, tuple(kernel), len(kernel)
        if axes > 2:
            raise NotImplementedError(f"windows along {axes} axes")
        self.stride, self.dilation = tuple(strides or [1] * axes), tuple(dilations or [1] * axes)
        self.reach = [d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation)]
        self.pairs = list(zip(pads[:axes], pads[axes:])) if pads else [(0, 0)] * axes
        if auto_pad.startswith("SAME"):  # as many windows as strides: ceil(size / stride)
            needed = [max(0, (-(-n // s) - 1) * s + r - n) for n, s, r in zip(sizes, self.stride, self.reach)]
            self.pairs = halved(needed, more_at_the_end=auto_pad == "SAME_UPPER")

    @property
    def even(self) -> bool:
        return all(before == after for before, after in self.pairs)

    @property
    def padding(self) -> Shape:
        return tuple(before for before, _ in self.pairs)

    @property
    def fits(self) -> bool:
        """Our pooling pads as much on both sides, and not more than half of a kernel."""
        return self.even and all(2 * p <= r for p, r in zip(self.padding, self.reach))

    def overhang(self, ceil_mode: int) -> Pairs:
        """What the last window of each axis needs beyond the padding; one that starts in the padding is left out."""
        more = []
        for n, (before, after), r, s in zip(self.sizes, self.pairs, self.reach, self.stride):
            room = n + before + after - r
            last = -(-room // s) * s
            more.append((0, last - room if ceil_mode and last < n + before else 0))
        return more


def halved(totals: list[int], more_at_the_end: bool) -> Pairs:
    return [(t // 2, t - t // 2) if more_at_the_end else (t - t // 2, t // 2) for t in totals]


def padded(x: Tensor, pairs: Pairs, value: float = 0.0) -> Tensor:
    return F.pad(x, [n for pair in pairs[::-1] for n in pair], value=value)


@node("Conv")
def conv(
    x: Tensor, w: Tensor, b: Tensor | None = None, *, group: int = 1, kernel_shape: Any = None, **options: Any
) -> Tensor:
    at = Geometry(x.shape[2:], w.shape[2:], **options)
    x, padding = (x, at.padding) if at.even else (padded(x, at.pairs), (0,) * len(at.kernel))
    ours = F.conv1d if w.ndim == 3 else F.conv2d
    return ours(x, w, b, at.stride, padding, at.dilation, group)


@node("ConvTranspose")
def conv_transpose(
    x: Tensor, w: Tensor, b: Tensor | None = None, *, group: int = 1, kernel_shape: Any = None,
    output_padding: Any = None, output_shape: Any = None, auto_pad: str = "NOTSET", **options: Any,
) -> Tensor:  # fmt: skip
    """``output_shape``, or with auto_pad stride times the input, says what to cut off or, if it is larger, to add."""
    at = Geometry(x.shape[2:], w.shape[2:], **options)
    added = list(output_padding or [0] * len(at.kernel))
    wanted = output_shape or (None if auto_pad == "NOTSET" else [n * s for n, s in zip(at.sizes, at.stride)])
    if wanted is not None:
        whole = [(n - 1) * s + r + a for n, s, r, a in zip(at.sizes, at.stride, at.reach, added)]
        added = [a + max(0, w - n) for a, w, n in zip(added, wanted, whole)]
        at.pairs = halved([max(0, n - w) for w, n in zip(wanted, whole)], auto_pad == "SAME_UPPER")
    padding = at.padding if at.even else (0,) * len(at.kernel)
    ours = F.conv_transpose1d if w.ndim == 3 else F.conv_transpose2d
    y = ours(x, w, b, at.stride, padding, tuple(added), group, at.dilation)
    if at.even:
        return y
    return y[(..., *(slice(before, n - after) for n, (before, after) in zip(y.shape[2:], at.pairs)))]


@node("MaxPool")
def max_pool(
    x: Tensor,
    *,
    kernel_shape: Any,
    ceil_mode: int = 0,
    storage_order: int = 0,
    outputs: int = 1,
    **options: Any,
) -> Tensor:
    if outputs > 1:
        raise NotImplementedError("max_pool does not give the places")
    at = Geometry(x.shape[2:], kernel_shape, **options)
    more = at.overhang(ceil_mode)
    direct = at.fits and not any(map(any, more))
    padding = at.padding if direct else (0,) * len(at.kernel)
    x = x if direct else padded(padded(x, at.pairs, -inf), more, -inf)
    ours = F.max_pool1d if x.ndim == 3 else F.max_pool2d
    return ours(x, at.kernel, at.stride, padding, at.dilation)


@node("AveragePool")
def average_pool(
    x: Tensor, *, kernel_shape: Any, ceil_mode: int = 0, count_include_pad: int = 0, **options: Any
) -> Tensor:
    at = Geometry(x.shape[2:], kernel_shape, **options)
    more = at.overhang(ceil_mode)

    def pooled(x: Tensor, **more: Any) -> Tensor:
        window = {"kernel_size": at.kernel, "stride": at.stride, "dilation": at.dilation}
        return apply(f"avg_pool{len(at.kernel)}d", x, **window, **more)

    if at.fits and not any(map(any, more)):
        return pooled(x, padding=at.padding, count_include_pad=bool(count_include_pad))
    ones = Tensor(np.ones((1, 1, *x.shape[2:]), x.dtype))  # what counts; the overhang never does
    counted = padded(padded(ones, at.pairs, float(count_include_pad)), more)
    return pooled(padded(padded(x, at.pairs), more)) / pooled(counted)


@node("LpPool")
def lp_pool(x: Tensor, *, kernel_shape: Any, p: int = 2, **options: Any) -> Tensor:
    mean = average_pool(x.abs().pow(p), kernel_shape=kernel_shape, count_include_pad=1, **options)
    return (mean * prod(kernel_shape)).pow(1 / p)


@node("GlobalAveragePool")
def global_average_pool(x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(x, 1)


@node("GlobalMaxPool")
def global_max_pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, x.shape[2:])
