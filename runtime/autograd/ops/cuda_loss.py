"""Cross-entropy by a CUDA kernel, which works along rows: classes last."""

from __future__ import annotations

from math import prod

import numpy as np
from ringleader.csrc.cuda import cross_entropy as kernels
from ringleader.csrc.cuda.rows import compute_dtype
from ringleader.runtime.autograd.cuda import cuda, kernel_device, laid_out, takes
from ringleader.runtime.autograd.op import Array
from ringleader.runtime.autograd.ops.loss import CrossEntropy


@cuda("cross_entropy")
class CudaCrossEntropy(CrossEntropy):
    """Keeps x and two numbers a row, where the array-module op keeps its softmax."""

    given: tuple[Array, ...] = ()  # what the kernel was given, if it was taken: x (rows, C), target, weight

    def forward(self, x: Array) -> Array:
        if not (takes(x) and x.size):
            return super().forward(x)
        dtype = compute_dtype(x.dtype)
        target = laid_out(self.target.reshape(-1).astype(np.int64, copy=False))
        weight = None if self.weight is None else laid_out(self.weight.astype(dtype, copy=False))
        self.given = (self._rows(x), target, weight)
        losses, self.statistics = kernels.cross_entropy(
            kernel_device(self.xp), *self.given, self.ignore_index, self.label_smoothing
        )
        counting = self.counts if weight is None else self.counts * weight[self.label]
        self.share_out(counting.sum(), dtype)
        return self.reduce(losses.reshape(self.target.shape)).astype(x.dtype, copy=False)

    def backward(self, g: Array) -> Array:
        if not self.given:
            return super().backward(g)
        x, target, weight = self.given
        each = self.xp.empty(len(x), self.statistics.dtype)
        each[...] = g.reshape(-1) * self.share  # one for all, or one each
        dx = kernels.cross_entropy_backward(kernel_device(self.xp), each, x, self.statistics, target, weight,
                                            self.ignore_index, self.label_smoothing)  # fmt: skip
        sizes = self.target.shape
        return self.xp.moveaxis(dx.reshape(*sizes, x.shape[1]), -1, self.axis)

    def _rows(self, x: Array) -> Array:
        """(N, C, d1, ...) -> (N d1 ..., C), contiguous."""
        last = self.xp.moveaxis(x, self.axis, -1)
        return laid_out(last).reshape(prod(last.shape[:-1]), last.shape[-1])
