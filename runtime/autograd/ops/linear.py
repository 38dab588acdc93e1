"""The affine map."""

from __future__ import annotations

from math import prod

from ringleader.runtime.autograd.op import Array, Function, Shape, op


@op("linear")
class Linear(Function):
    """x (..., in), weight (out, in), optionally bias (out,) -> x weight^T + bias (..., out).

    All leading axes are one in the matrix products, M rows: one call of BLAS each, and the gradient of the
    weights needs no sum over a broadcast.
    """

    def shape(self, x: Shape, weight: Shape, *bias: Shape) -> Shape:
        if len(x) < 1 or len(weight) != 2:
            raise self.refuse("input must be (..., in) and weight (out, in)", x, weight)
        if x[-1] != weight[1]:
            raise self.refuse(f"input has {x[-1]} features, weight expects {weight[1]}", x, weight)
        if bias and bias[0] != weight[:1]:
            raise self.refuse(f"bias must be ({weight[0]},)", weight, bias[0])
        return (*x[:-1], weight[0])

    def forward(self, x: Array, weight: Array, *bias: Array) -> Array:
        self.lead, self.weight = x.shape[:-1], weight
        self.rows = x.reshape(prod(self.lead), x.shape[-1])  # (M, in); a view where x is contiguous
        y = self.rows @ weight.T  # (M, in) (in, out)
        if bias:
            y += bias[0]
        return y.reshape(*self.lead, len(weight))

    def backward(self, g: Array) -> tuple[Array | None, ...]:
        rows, dx, dw = g.reshape(prod(self.lead), g.shape[-1]), None, None
        if self.needs[0]:
            dx = (rows @ self.weight).reshape(*self.lead, self.weight.shape[1])  # (M, out) (out, in)
        if self.needs[1]:
            dw = rows.T @ self.rows  # (out, M) (M, in)
        return (dx, dw, rows.sum(axis=0)) if len(self.needs) == 3 else (dx, dw)
