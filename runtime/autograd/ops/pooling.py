"""Pooling over windows of an image; rows and columns at its end that fill no window are left out."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from ringleader.runtime.autograd.op import Array, Function, Shape, op
from ringleader.runtime.autograd.ops.windows import Windows, window_counts

IMAGES = {1: "(N, C, L)", 2: "(N, C, H, W)"}


@dataclass(eq=False)
class Pool(Function):
    """x (N, C, *S) -> (N, C, *P), P = (S + 2 padding - dilation (K - 1) - 1) // stride + 1.

    The padding, at most half a kernel, counts neither as maximum nor, unless asked for, in a mean.
    """

    kernel_size: Shape
    stride: Shape
    padding: Shape
    dilation: Shape

    def shape(self, x: Shape) -> Shape:
        kernel, padding = self.kernel_size, self.padding
        if len(x) != len(kernel) + 2:
            raise self.refuse(f"input must be {IMAGES[len(kernel)]}", x)
        if min(self.stride) < 1 or min(kernel) < 1 or min(self.dilation) < 1:
            raise self.refuse(f"kernel {kernel}, stride {self.stride} and dilation {self.dilation} must be "
                              "positive", x)  # fmt: skip
        if any(not 0 <= 2 * p <= d * (k - 1) + 1 for p, d, k in zip(padding, self.dilation, kernel)):
            raise self.refuse(f"padding {padding} must be from 0 to half of the kernel {kernel}", x)
        out = window_counts(kernel, self.stride, self.dilation, tuple(2 * p for p in padding), x[2:])
        if min(out) < 1:
            raise self.refuse(f"the kernel {kernel} is larger than the image", x)
        self.windows = Windows(kernel, self.stride, self.dilation, padding, x[2:], out)
        return (*x[:2], *out)

    def filled(self, x: Array, value: float) -> Array:
        """An output full of ``value``, in the memory layout of x."""
        return self.xp.full_like(x, value, shape=(*x.shape[:2], *self.windows.out))

    def image(self, g: Array) -> Array:
        """Zeros for the gradient of the image, in the memory layout of g."""
        return self.xp.zeros_like(g, shape=(*g.shape[:2], *self.windows.image))


@dataclass(eq=False)
class AvgPool(Pool):
    """With ``count_include_pad``, zeros of the padding count in the mean."""

    count_include_pad: bool = True

    def forward(self, x: Array) -> Array:
        y = self.filled(x, 0)
        for _, inside, pixels in self.windows.places():
            y[inside] += x[pixels]
        y *= self._share(x)
        return y

    def _share(self, x: Array) -> Array:
        """What a pixel counts in the mean of a window: a number, or (*P,)."""
        if self.count_include_pad or not self.windows.clipped():
            return x.dtype.type(1 / prod(self.kernel_size))
        counts = self.xp.zeros(self.windows.out, x.dtype)
        for _, inside, _ in self.windows.places():
            counts[inside] += 1
        return 1 / counts

    def backward(self, g: Array) -> Array:
        dx, share = self.image(g), g * self._share(g)
        for _, inside, pixels in self.windows.places():
            dx[pixels] += share[inside]
        return dx


class MaxPool(Pool):
    """Of equal maxima in a window the first, row by row, gets the gradient. NaN goes through."""

    def forward(self, x: Array) -> Array:
        y = self.filled(x, -np.inf)
        self.winner = self.xp.zeros_like(y, dtype=np.min_scalar_type(prod(self.kernel_size)))
        places = enumerate(self.windows.places())
        for number, (_, inside, pixels) in reversed(list(places)):  # backwards: the first of equals stays
            mine, best, winner = x[pixels], y[inside], self.winner[inside]
            self.xp.copyto(winner, winner.dtype.type(number), where=mine >= best)
            self.xp.maximum(mine, best, out=best)  # lets NaN through
        return y

    def backward(self, g: Array) -> Array:
        dx = self.image(g)
        for number, (_, inside, pixels) in enumerate(self.windows.places()):
            dx[pixels] += g[inside] * (self.winner[inside] == number)
        return dx


@op("avg_pool1d")
@dataclass(eq=False)
class AvgPool1d(AvgPool):
    padding: Shape = (0,)
    dilation: Shape = (1,)


@op("avg_pool2d")
@dataclass(eq=False)
class AvgPool2d(AvgPool):
    padding: Shape = (0, 0)
    dilation: Shape = (1, 1)


@op("max_pool1d")
@dataclass(eq=False)
class MaxPool1d(MaxPool):
    padding: Shape = (0,)
    dilation: Shape = (1,)


@op("max_pool2d")
@dataclass(eq=False)
class MaxPool2d(MaxPool):
    padding: Shape = (0, 0)
    dilation: Shape = (1, 1)
