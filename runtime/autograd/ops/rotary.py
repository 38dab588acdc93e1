"""Rotary positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ringleader.runtime.autograd.op import Array, Function, Shape, op


@op("rotary")
@dataclass(eq=False)
class Rotary(Function):
    """x (..., T, E), its elements in pairs 2 i, 2 i + 1, each turned by an angle: cos and sin (..., T, E / 2).

    Su et al. 2021, equation 34. A pair is a complex number, and turning it one product; the gradient is
    turned back.
    """

    cos: Array
    sin: Array

    def shape(self, x: Shape) -> Shape:
        if len(x) < 2 or x[-1] % 2:
            raise self.refuse("must be (..., T, E) with an even E", x)
        pairs = (*x[:-1], x[-1] // 2)
        for angles in (self.cos.shape, self.sin.shape):
            if len(angles) > len(pairs) or any(a not in (1, p) for a, p in zip(angles[::-1], pairs[::-1])):
                raise self.refuse(f"cos and sin must broadcast to {pairs}", x, angles)
        return x

    def forward(self, x: Array) -> Array:
        self.turn = (self.cos + 1j * self.sin).astype(np.result_type(x.dtype, np.complex64))
        return self._turned(x, self.turn)

    def backward(self, g: Array) -> Array:
        return self._turned(g, self.turn.conj())

    def _turned(self, x: Array, turn: Array) -> Array:
        real = turn.real.dtype  # float32 for 16 bits, which have no complex numbers
        pairs = self.xp.ascontiguousarray(x, real).view(turn.dtype)
        return (pairs * turn).view(real)
