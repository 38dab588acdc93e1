"""Rows of a table by number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ringleader.runtime.autograd.op import Array, Function, Shape, op


@op("embedding")
@dataclass(eq=False)
class Embedding(Function):
    """weight (V, D) -> weight[indices] (..., D) for integer ``indices`` (...) of 0..V-1.

    The row ``padding_idx`` (may count from the end) gets no gradient. The gradient, a sum of the rows of g
    (M, D) that came from the same row, is the product of a sparse (V, M) matrix of ones with g: SciPy's adds
    row by row and is 10 to 30 times as fast as np.add.at, or as sorting and np.add.reduceat.
    """

    indices: Array
    padding_idx: int | None = None

    def shape(self, weight: Shape) -> Shape:
        if len(weight) != 2:
            raise self.refuse("weight must be (V, D)", weight)
        rows = weight[0]
        if self.indices.dtype.kind not in "iu":
            raise TypeError(f"embedding: indices must be integers, not {self.indices.dtype}")
        if self.indices.size and not 0 <= self.indices.min() <= self.indices.max() < rows:
            wrong = self.indices[(self.indices < 0) | (self.indices >= rows)]
            raise IndexError(f"embedding: index {wrong[0]} is not one of the {rows} rows 0..{rows - 1}")
        if self.padding_idx is not None and not -rows <= self.padding_idx < rows:
            raise ValueError(f"embedding: padding_idx {self.padding_idx} is not one of the {rows} rows")
        return (*self.indices.shape, weight[1])

    def forward(self, weight: Array) -> Array:
        self.table = weight.shape
        return weight[self.indices]

    def backward(self, g: Array) -> Array:
        dw = self.sum_rows(g.reshape(self.indices.size, self.table[1]))
        if self.padding_idx is not None:
            dw[self.padding_idx] = 0
        return dw

    def sum_rows(self, g: Array) -> Array:
        """Rows of g (M, D), each added to the row of (V, D) that it came from."""
        from scipy.sparse import csc_array  # takes a while to import, and only this needs it

        count = len(g)
        g = g.astype(np.result_type(g, np.float32), copy=False)  # SciPy has no 16 bits
        ones, one_each = np.ones(count, g.dtype), np.arange(count + 1)
        pick = csc_array((ones, self.indices.reshape(-1), one_each), shape=(self.table[0], count))
        dw: Array = pick @ g  # (V, M) (M, D)
        return dw
