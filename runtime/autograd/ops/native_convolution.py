"""Convolution by native kernels: direct, without columns in memory."""

from __future__ import annotations

from math import prod

import numpy as np
from ringleader.runtime.autograd.native import KERNELS, matmul, native, takes
from ringleader.runtime.autograd.op import Array
from ringleader.runtime.autograd.ops.convolution import Conv2d

# Up to how many channels, of image and output, the kernels are faster than numpy's op with OpenBLAS, forward and backward
# together, on one core with AVX-512 or AVX2: in outputs of at least so many pixels, and in smaller ones.
MOST_CHANNELS, PIXELS, MOST_IN_SMALL = 64, 49, 32


@native("conv2d")
class NativeConv2d(Conv2d):
    """With stride 1, the same padding at both ends, and few channels: with more, the numpy op's product of
    matrices is as fast or faster."""

    matmul = staticmethod(matmul)
    direct = False  # forward went to the kernel, and backward has to

    def suits(self) -> bool:
        """Is this a convolution that the kernels do, and do fast?"""
        w, one = self.windows, (1, 1)
        out = tuple(size + 2 * before - k + 1 for size, before, k in zip(w.image, w.before, w.kernel))
        plain = (self.groups, w.stride, w.dilation, w.out) == (1, one, one, out)
        most = MOST_CHANNELS if prod(out) >= PIXELS else MOST_IN_SMALL
        o, c = self.weight_shape[:2]
        return plain and not self.whole and min(o, c) > 0 and max(o, c) <= most

    def forward(self, x: Array, weight: Array, *bias: Array) -> Array:
        self.direct = self.suits() and takes(x, weight, *bias)
        if not self.direct:
            return super().forward(x, weight, *bias)
        self.x, self.weight = x if self.needs[1] else None, weight if self.needs[0] else None
        return KERNELS.conv2d(x, weight, bias[0] if bias else None, self.windows.before)

    def backward(self, g: Array) -> tuple[Array | None, ...]:
        if not self.direct:
            return super().backward(g)
        g = np.require(g, requirements=("C", "A"))
        pad, dx, dw, db = self.windows.before, None, None, None
        if self.needs[0]:
            x_shape = (len(g), self.weight_shape[1], *self.windows.image)
            dx = KERNELS.conv2d_backward_data(g, self.weight, x_shape, pad)
        if self.needs[1]:
            dw, db = KERNELS.conv2d_backward_weight(g, self.x, self.weight_shape, pad)
        if len(self.needs) == 2:
            return dx, dw
        return dx, dw, g.sum(axis=(0, 2, 3)) if db is None else db
