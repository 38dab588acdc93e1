"""Matrix product."""

from __future__ import annotations

import numpy as np
from ringleader.runtime.autograd.op import Array, Function, Shape, op


@op("matmul")
class Matmul(Function):
    """a (..., m, k) @ b (..., k, n) -> (..., m, n). The leading axes broadcast."""

    def shape(self, a: Shape, b: Shape) -> Shape:
        if len(a) < 2 or len(b) < 2:
            raise self.refuse("both operands need at least 2 axes", a, b)
        if a[-1] != b[-2]:
            raise self.refuse(f"the inner sizes {a[-1]} and {b[-2]} differ", a, b)
        try:
            return (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])
        except ValueError:
            raise self.refuse("the leading axes do not broadcast", a, b) from None

    def forward(self, a: Array, b: Array) -> Array:
        self.a, self.b = a, b
        return a @ b

    def backward(self, g: Array) -> tuple[Array | None, Array | None]:
        da = g @ self.b.swapaxes(-1, -2) if self.needs[0] else None  # (..., m, n) (..., n, k)
        db = self.a.swapaxes(-1, -2) @ g if self.needs[1] else None  # (..., k, m) (..., m, n)
        return da, db
