"""Convolution by native kernels: direct, without columns in memory."""

from __future__ import annotations

import numpy as np
from ringleader.runtime.autograd.native import KERNELS, native, takes
from ringleader.runtime.autograd.op import Array
from ringleader.runtime.autograd.ops.convolution import Conv2d


@native("conv2d")
class NativeConv2d(Conv2d):
    """With stride 1 and few channels: else the matrix product of the numpy op is as fast or faster."""

    direct = False

    def suits(self, weight: Array) -> bool:
        """Is this a convolution that the kernels do, and do fast?"""
        w = self.windows
        one = (1, 1)
        filled = tuple(p + 2 * b - k + 1 for p, b, k in zip(w.image, w.before, w.kernel))
        return (self.groups, w.stride, w.dilation) == (1, one, one) and filled == w.out and not self.whole

    def forward(self, x: Array, weight: Array, *bias: Array) -> Array:
        self.direct = self.suits(weight) and takes(x, weight, *bias)
        if not self.direct:
            return super().forward(x, weight, *bias)
        self.x = x if self.needs[1] else None
        self.weight = weight
        return KERNELS.conv2d(x, weight, bias[0] if bias else None, self.windows.before)

    def backward(self, g: Array) -> tuple[Array | None, ...]:
        if not self.direct:
            return super().backward(g)
        g = np.require(g, requirements="CA")
        pad, dx, dw, db = self.windows.before, None, None, None
        if self.needs[0]:
            x_shape = (len(g), self.weight.shape[1], *self.windows.image)
            dx = KERNELS.conv2d_backward_data(g, self.weight, x_shape, pad)
        if self.needs[1]:
            dw, db = KERNELS.conv2d_backward_weight(g, self.x, self.weight.shape, pad)
        if len(self.needs) == 2:
            return dx, dw
        return dx, dw, g.sum(axis=(0, 2, 3)) if db is None else db
