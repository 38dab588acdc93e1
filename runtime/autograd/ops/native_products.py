"""The affine map by native products: faster than BLAS where there are few rows or columns, the bias added on the way."""

from __future__ import annotations

from math import prod

from ringleader.runtime.autograd.native import matmul, native, sum_of_rows
from ringleader.runtime.autograd.op import Array
from ringleader.runtime.autograd.ops.linear import Linear


@native("linear")
class NativeLinear(Linear):
    def forward(self, x: Array, weight: Array, *bias: Array) -> Array:
        self.lead, self.weight = x.shape[:-1], weight
        self.rows = x.reshape(prod(self.lead), x.shape[-1])
        return matmul(self.rows, weight.T, *bias).reshape(*self.lead, len(weight))

    def backward(self, g: Array) -> tuple[Array | None, ...]:
        rows, dx, dw = g.reshape(prod(self.lead), g.shape[-1]), None, None
        if self.needs[0]:
            dx = matmul(rows, self.weight).reshape(*self.lead, self.weight.shape[1])
        if self.needs[1]:
            dw = matmul(rows.T, self.rows)
        if len(self.needs) == 2:
            return dx, dw
        return dx, dw, sum_of_rows(rows)
