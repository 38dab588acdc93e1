"""Launches pooling.cu: the largest, or the mean, of each window of an image.

x (N, C, H, W) -> y (N, C, P, Q), P = (H + padding above and below - dilation (R - 1) - 1) // stride + 1; with
layout="NHWC" (N, H, W, C) -> (N, P, Q, C). Rows and columns at the end that fill no window are left out. Arrays may have
any strides; results lie in memory as ``layout`` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from ringleader.csrc.cuda.device import C_TYPES, Array, Device, c_type, ceil_div
from ringleader.csrc.cuda.versions import ALL, Draw, Instance, Version, choose, example, instances, versions
from ringleader.csrc.cuda.windows import (
    LIMIT,
    Padding,
    Pair,
    Sides,
    address,
    check_device,
    empty,
    grid_size,
    image,
    integers,
    lies_as,
    pair,
    restore,
    sides,
    strides,
)

THREADS = 256

for _operator in ("max_forward", "max_backward", "average_forward", "average_backward"):
    versions(
        Version(f"pooling_{_operator}", "packs", fits=lambda shape: shape["packed"]),
        Version(f"pooling_{_operator}", "clear"),
    )
    for _dtype in ALL:
        for _width in (1, 16 // (8 if _dtype == "float64" else 4 if _dtype == "float32" else 2)):
            _expression = f"pooling_{_operator}<{C_TYPES[_dtype]}, {_width}>"
            instances(Instance("pooling.cu", _expression, production=_dtype != "float64"))


@dataclass(frozen=True)
class Geometry:
    """What all kernels are told."""

    image: tuple[int, int, int, int]  # N, C, H, W
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: Sides
    dilation: tuple[int, int]

    @property
    def grid(self) -> tuple[int, int, int, int]:
        """N, C, P, Q."""
        p, q = grid_size(self.image[2:], self.kernel, self.stride, self.dilation, self.padding)
        return *self.image[:2], p, q

    def check(self, operator: str) -> None:
        """ValueError: sizes do not fit each other."""
        for side, dilation, kernel in zip(self.padding, self.dilation, self.kernel):
            if 2 * max(side) > dilation * (kernel - 1) + 1:
                raise ValueError(
                    f"{operator}: padding {self.padding} must be at most half of the kernel {self.kernel}"
                )
        if min(self.grid[2:]) < 1:
            raise ValueError(f"{operator}: kernel {self.kernel} with dilation {self.dilation} is larger than the padded "
                             f"image, {self.image[2:]} with padding {self.padding}")  # fmt: skip
        if max(prod(self.image), prod(self.grid)) >= LIMIT:
            raise ValueError(
                f"{operator}: the image {self.image} has too many elements; kernels take less than {LIMIT}"
            )

    def arguments(self, x: Array, y: Array) -> tuple[Any, ...]:
        """GEOMETRY_PARAMETERS of pooling.cu, for arrays (N, C, H, W) and (N, C, P, Q)."""
        before = tuple(side[0] for side in self.padding)
        sizes = (*self.image, *self.grid[2:], *self.kernel, *self.stride, *before, *self.dilation)
        return (*integers(*sizes), *strides(x), *strides(y))


def max_forward(
    device: Device, x: Array, *, kernel: Pair, stride: Pair | None = None, padding: Padding = 0, dilation: Pair = 1,
    layout: str = "NCHW", version: str | None = None,
) -> tuple[Array, Array]:  # fmt: skip
    """(y, winner): the largest of each window, and its number in the window, row by row, in int32.

    Of equal ones the first wins, and NaN over all numbers. Pixels of the padding are never the largest. stride: that of the
    kernel where None. TypeError, ValueError: an argument does not fit, named in the message.
    """
    operator = "pooling_max_forward"
    x = image(device, operator, "x", x, layout)
    geometry = _geometry(operator, x.shape, kernel, stride, padding, dilation)
    y = empty(device, geometry.grid, x.dtype, layout)
    winner = empty(device, geometry.grid, np.dtype(np.int32), layout)
    _launch(device, operator, geometry, version, (x, y, winner), x, y)
    return restore(y, layout), restore(winner, layout)


def max_backward(
    device: Device, dy: Array, winner: Array, *, size: Pair, kernel: Pair, stride: Pair | None = None,
    padding: Padding = 0, dilation: Pair = 1, layout: str = "NCHW", version: str | None = None,
) -> Array:  # fmt: skip
    """The gradient of an image of height and width ``size``; ``winner`` as ``max_forward`` returned it."""
    operator = "pooling_max_backward"
    dy = image(device, operator, "dy", dy, layout)
    check_device(device, operator, "winner", winner)
    if winner.dtype != np.int32 or winner.shape != restore(dy, layout).shape:
        raise ValueError(f"{operator}: winner must be int32 and as large as dy, {restore(dy, layout).shape}, "
                         f"not {winner.dtype} {winner.shape}")  # fmt: skip
    winner = winner if layout == "NCHW" else winner.transpose(0, 3, 1, 2)
    geometry = _geometry(
        operator, (*dy.shape[:2], *pair(operator, "size", size)), kernel, stride, padding, dilation
    )
    _check_grid(operator, geometry, dy)
    if strides(winner) != strides(dy):  # kernels are told of one of them only
        same = empty(device, winner.shape, winner.dtype, layout), empty(device, dy.shape, dy.dtype, layout)
        same[0][...], same[1][...] = winner, dy
        winner, dy = same
    dx = empty(device, geometry.image, dy.dtype, layout)
    _launch(device, operator, geometry, version, (dy, winner, dx), dx, dy)
    return restore(dx, layout)


def average_forward(
    device: Device, x: Array, *, kernel: Pair, stride: Pair | None = None, padding: Padding = 0, dilation: Pair = 1,
    count_include_pad: bool = True, layout: str = "NCHW", version: str | None = None,
) -> Array:  # fmt: skip
    """The mean of each window; with ``count_include_pad``, the zeros of the padding count in it."""
    operator = "pooling_average_forward"
    x = image(device, operator, "x", x, layout)
    geometry = _geometry(operator, x.shape, kernel, stride, padding, dilation)
    y = empty(device, geometry.grid, x.dtype, layout)
    _launch(device, operator, geometry, version, (x, y), x, y, np.int32(count_include_pad))
    return restore(y, layout)


def average_backward(
    device: Device, dy: Array, *, size: Pair, kernel: Pair, stride: Pair | None = None, padding: Padding = 0,
    dilation: Pair = 1, count_include_pad: bool = True, layout: str = "NCHW", version: str | None = None,
) -> Array:  # fmt: skip
    """The gradient of an image of height and width ``size``."""
    operator = "pooling_average_backward"
    dy = image(device, operator, "dy", dy, layout)
    geometry = _geometry(
        operator, (*dy.shape[:2], *pair(operator, "size", size)), kernel, stride, padding, dilation
    )
    _check_grid(operator, geometry, dy)
    dx = empty(device, geometry.image, dy.dtype, layout)
    _launch(device, operator, geometry, version, (dy, dx), dx, dy, np.int32(count_include_pad))
    return restore(dx, layout)


def _geometry(
    operator: str,
    shape: tuple[int, int, int, int],
    kernel: Pair,
    stride: Pair | None,
    padding: Padding,
    dilation: Pair,
) -> Geometry:
    window = pair(operator, "kernel", kernel)
    step = window if stride is None else pair(operator, "stride", stride)
    geometry = Geometry(shape, window, step, sides(operator, padding), pair(operator, "dilation", dilation))
    geometry.check(operator)
    return geometry


def _check_grid(operator: str, geometry: Geometry, dy: Array) -> None:
    if dy.shape != geometry.grid:
        raise ValueError(f"{operator}: dy is (N, C, P, Q) = {dy.shape}, but an image {geometry.image} makes "
                         f"{geometry.grid}")  # fmt: skip


def _launch(
    device: Device, operator: str, geometry: Geometry, version: str | None, arrays: tuple[Array, ...], x: Array, y: Array,
    *rest: np.int32,
) -> None:  # fmt: skip
    """arrays: the kernel's, in its order; x, y: those of them of the size of the image and of the grid."""
    pack = 16 // x.itemsize
    packed = x.shape[1] % pack == 0 and all(
        lies_as(each, "NHWC") and address(each) % 16 == 0 for each in arrays
    )
    chosen = choose(operator, device.architecture, x.dtype, version, packed=packed)
    width = pack if chosen.name == "packs" else 1
    size = y.size if operator.endswith("forward") else x.size  # of the result
    if size:
        expression = f"{operator}<{c_type(x.dtype)}, {width}>"
        arguments = (*arrays, *rest, *geometry.arguments(x, y))
        device.launch("pooling.cu", expression, ceil_div(size // width, THREADS), THREADS, arguments)


# ---- Examples: random images, windows that overlap, padded --------------------------------------------------------------

EXAMPLE: dict[str, Any] = {"kernel": 3, "stride": 2, "padding": 1, "layout": "NHWC"}


@example("pooling_max_forward", shape="N,H,W,C", default=(2, 9, 7, 16))
def max_forward_example(device: Device, draw: Draw, version: str | None, *shape: int) -> Array:
    return max_forward(device, draw(*shape), **EXAMPLE, version=version)


@example("pooling_max_backward", shape="N,H,W,C", default=(2, 9, 7, 16))
def max_backward_example(device: Device, draw: Draw, version: str | None, *shape: int) -> Array:
    y, winner = max_forward(device, draw(*shape), **EXAMPLE)
    return max_backward(device, draw(*y.shape), winner, size=(shape[1], shape[2]), **EXAMPLE, version=version)


@example("pooling_average_forward", shape="N,H,W,C", default=(2, 9, 7, 16))
def average_forward_example(device: Device, draw: Draw, version: str | None, *shape: int) -> Array:
    return average_forward(device, draw(*shape), **EXAMPLE, count_include_pad=False, version=version)


@example("pooling_average_backward", shape="N,H,W,C", default=(2, 9, 7, 16))
def average_backward_example(device: Device, draw: Draw, version: str | None, *shape: int) -> Array:
    y = average_forward(device, draw(*shape), **EXAMPLE)
    options = {**EXAMPLE, "count_include_pad": False, "version": version}
    return average_backward(device, draw(*y.shape), size=(shape[1], shape[2]), **options)
