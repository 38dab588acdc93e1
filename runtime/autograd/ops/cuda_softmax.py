"""Softmax and its logarithm by CUDA kernels, which work along the last axis."""

from __future__ import annotations

from ringleader.csrc.cuda import softmax as kernels
from ringleader.runtime.autograd.cuda import cuda, kernel_device, laid_out, takes
from ringleader.runtime.autograd.op import Array
from ringleader.runtime.autograd.ops.softmax import AlongAxis, LogSoftmax, Softmax


class AlongLastAxis(AlongAxis):
    """In front of an op that keeps its output ``y``."""

    def forward(self, x: Array) -> Array:
        if not takes(x):
            return super().forward(x)
        kernel = getattr(kernels, self.name)
        self.y = self._last(kernel(kernel_device(self.xp), laid_out(self._last(x))))
        return self.y

    def backward(self, g: Array) -> Array:
        if not takes(g, self.y):
            return super().backward(g)
        kernel = getattr(kernels, f"{self.name}_backward")
        g, y = (laid_out(self._last(a)) for a in (g, self.y))
        return self._last(kernel(kernel_device(self.xp), g, y))

    def _last(self, x: Array) -> Array:
        """The op's axis in the place of the last one, or back: the same swap."""
        return x.swapaxes(self.dim, -1)


@cuda("softmax")
class CudaSoftmax(AlongLastAxis, Softmax):
    pass


@cuda("log_softmax")
class CudaLogSoftmax(AlongLastAxis, LogSoftmax):
    pass
