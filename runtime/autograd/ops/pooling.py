"""Pooling over windows of an image, without padding; rows and columns that fill no window are left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ringleader.runtime.autograd.op import Array, Function, Shape, op
from ringleader.runtime.autograd.ops.convolution import windows


@dataclass(eq=False)
class Pool2d(Function):
    """x (N, C, H, W) -> (N, C, (H - kh) // stride + 1, (W - kw) // stride + 1)."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int]

    def shape(self, x: Shape) -> Shape:
        if len(x) != 4:
            raise self.refuse("input must be (N, C, H, W)", x)
        if min(self.stride) < 1 or min(self.kernel_size) < 1:
            raise self.refuse(f"kernel {self.kernel_size} and stride {self.stride} must be positive", x)
        room = [x[i + 2] - self.kernel_size[i] for i in (0, 1)]
        if min(room) < 0:
            raise self.refuse(f"the kernel {self.kernel_size} is larger than the image", x)
        self.out = (room[0] // self.stride[0] + 1, room[1] // self.stride[1] + 1)
        return (*x[:2], *self.out)

    def places(self, x: Array) -> list[Array]:
        """For each place of the kernel, row by row: the pixels (N, C, P, Q) that it meets, as a view."""
        return [x[:, :, rows, cols] for _, _, rows, cols in windows(self.kernel_size, self.stride, self.out)]


@op("avg_pool2d")
class AvgPool2d(Pool2d):
    def forward(self, x: Array) -> Array:
        self.like = x
        first, *others = self.places(x)
        y = first.copy(order="K")
        for pixels in others:
            y += pixels
        y *= 1 / (self.kernel_size[0] * self.kernel_size[1])
        return y

    def backward(self, g: Array) -> Array:
        dx = np.zeros_like(self.like)
        share = g * (1 / (self.kernel_size[0] * self.kernel_size[1]))
        for pixels in self.places(dx):
            pixels += share
        return dx


@op("max_pool2d")
class MaxPool2d(Pool2d):
    """Of equal maxima in a window the first, row by row, gets the gradient."""

    def forward(self, x: Array) -> Array:
        self.like = x
        first, *others = self.places(x)
        y = first.copy(order="K")
        self.winner = np.zeros_like(y, dtype=np.intp)  # (N, C, P, Q): place in the kernel
        for place, pixels in enumerate(others, start=1):
            self.winner[pixels > y] = place
            np.maximum(y, pixels, out=y)  # lets NaN through
        return y

    def backward(self, g: Array) -> Array:
        dx = np.zeros_like(self.like)
        for place, pixels in enumerate(self.places(dx)):
            pixels += g * (self.winner == place)
        return dx
