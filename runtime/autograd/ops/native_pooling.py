"""Pooling by native kernels: windows of 2 x 2 that lie side by side."""

from __future__ import annotations

from ringleader.runtime.autograd.native import KERNELS, native, takes
from ringleader.runtime.autograd.op import Array
from ringleader.runtime.autograd.ops.pooling import AvgPool2d, MaxPool2d, Pool


def halves(pool: Pool) -> bool:
    """Is this the pooling that the kernels do?"""
    two, one = (2, 2), (1, 1)
    return (pool.kernel_size, pool.stride, pool.padding, pool.dilation) == (two, two, (0, 0), one)


@native("avg_pool2d")
class NativeAvgPool2d(AvgPool2d):
    def forward(self, x: Array) -> Array:
        return KERNELS.avg_pool2x2(x) if halves(self) and takes(x) else super().forward(x)

    def backward(self, g: Array) -> Array:
        if not (halves(self) and takes(g)):
            return super().backward(g)
        return KERNELS.avg_pool2x2_backward(g, (*g.shape[:2], *self.windows.image))


@native("max_pool2d")
class NativeMaxPool2d(MaxPool2d):
    def forward(self, x: Array) -> Array:
        if not (halves(self) and takes(x)):
            return super().forward(x)
        y, self.winner = KERNELS.max_pool2x2(x)
        return y

    def backward(self, g: Array) -> Array:
        if not (halves(self) and takes(g) and self.winner.flags.c_contiguous):
            return super().backward(g)
        return KERNELS.max_pool2x2_backward(g, self.winner, (*g.shape[:2], *self.windows.image))
