"""Matrix product."""

from __future__ import annotations

import numpy as np
from ringleader.runtime.autograd.op import Array, Function, Shape, op


def product(a: Array, b: Array, add: Array | None = None) -> Array:
    """a b + add, for matrices a and b and a vector to add to each row."""
    y = a @ b
    if add is not None:
        y += add
    return y


@op("matmul")
class Matmul(Function):
    """a (..., m, k) @ b (..., k, n) -> (..., m, n). The leading axes broadcast.

    As in numpy, one axis is a row (1, k) on the left or a column (k, 1) on the right, without that 1 in the
    result.
    """

    def shape(self, a: Shape, b: Shape) -> Shape:
        if not a or not b:
            raise self.refuse("both operands need at least 1 axis", a, b)
        left, right = (1, *a) if len(a) == 1 else a, (*b, 1) if len(b) == 1 else b
        if left[-1] != right[-2]:
            raise self.refuse(f"the inner sizes {left[-1]} and {right[-2]} differ", a, b)
        try:
            lead = np.broadcast_shapes(left[:-2], right[:-2])
        except ValueError:
            raise self.refuse("the leading axes do not broadcast", a, b) from None
        return (*lead, *(left[-2:-1] if len(a) > 1 else ()), *(right[-1:] if len(b) > 1 else ()))

    def forward(self, a: Array, b: Array) -> Array:
        self.a: Array = a if self.needs[1] else None
        self.b: Array = b if self.needs[0] else None
        self.row, self.column = a.ndim == 1, b.ndim == 1
        return a @ b

    def backward(self, g: Array) -> tuple[Array | None, Array | None]:
        if self.column:
            g = g[..., None]
        if self.row:
            g = g[..., None, :]
        return self.left(g) if self.needs[0] else None, self.right(g) if self.needs[1] else None

    def left(self, g: Array) -> Array:
        """g (..., m, n) -> da."""
        da = g @ (self.b[None] if self.column else self.b.swapaxes(-1, -2))  # (..., m, n) (..., n, k)
        return da[..., 0, :] if self.row else da

    def right(self, g: Array) -> Array:
        """g (..., m, n) -> db."""
        db = (self.a[:, None] if self.row else self.a.swapaxes(-1, -2)) @ g  # (..., k, m) (..., m, n)
        return db[..., 0] if self.column else db
