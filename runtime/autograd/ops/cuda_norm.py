"""Layer norm and RMS norm by CUDA kernels."""

from __future__ import annotations

from math import prod

from ringleader.csrc.cuda import norm as kernels
from ringleader.runtime.autograd.cuda import cuda, kernel_device, laid_out, takes
from ringleader.runtime.autograd.op import Array
from ringleader.runtime.autograd.ops.normalization import LayerNorm, OfTrailingAxes, RMSNorm


class CudaNorm(OfTrailingAxes):
    """Keeps x and each row's statistics, where the array-module op keeps z, which is x with them applied."""

    most_parameters: int
    rows: Array | None = None  # x (M, D), D being all normalised elements, if forward was a kernel

    def forward(self, x: Array, *parameters: Array) -> Array:
        if not (takes(x, *parameters) and x.size and len(parameters) <= self.most_parameters):
            return super().forward(x, *parameters)
        size = prod(self.normalized_shape)
        self.rows = laid_out(x).reshape(-1, size)
        given = [laid_out(parameter).reshape(size) for parameter in parameters]
        self.weight = given[0] if given else None
        kernel = getattr(kernels, self.name)
        y, *self.statistics = kernel(kernel_device(self.xp), self.rows, *given, eps=self.eps)
        return y.reshape(x.shape)

    def backward(self, g: Array) -> tuple[Array | None, ...]:
        if self.rows is None:
            return super().backward(g)
        kernel, wanted = getattr(kernels, f"{self.name}_backward"), True in self.needs[1:]
        rows = laid_out(g).reshape(self.rows.shape)
        dx, *sums = kernel(kernel_device(self.xp), rows, self.rows, *self.statistics, self.weight, wanted)
        totals = (total.reshape(self.normalized_shape) for total in sums if total is not None)
        return (dx.reshape(g.shape), *totals)[: len(self.needs)] if wanted else (dx.reshape(g.shape), None, None)


@cuda("layer_norm")
class CudaLayerNorm(CudaNorm, LayerNorm):
    most_parameters = 2


@cuda("rms_norm")
class CudaRMSNorm(CudaNorm, RMSNorm):
    most_parameters = 1
