"""Ops that choose between values, element by element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ringleader.runtime.autograd.op import Array, Shape, op
from ringleader.runtime.autograd.ops.arithmetic import Binary, Unary


class Extremum(Binary):
    """Where both are equal each gets half of the gradient; where one is NaN both get all of it."""

    def forward(self, a: Array, b: Array) -> Array:
        self.a, self.b = a, b
        return self.choose(a, b)

    def choose(self, a: Array, b: Array) -> Array:
        raise NotImplementedError

    def loses(self, a: Array, b: Array) -> Array:
        raise NotImplementedError

    def backward(self, g: Array) -> tuple[Array, Array]:
        shared = self.xp.where(self.a == self.b, g / 2, g)
        return (
            self.xp.where(self.loses(self.a, self.b), 0, shared),
            self.xp.where(self.loses(self.b, self.a), 0, shared),
        )


@op("maximum")
class Maximum(Extremum):
    def choose(self, a: Array, b: Array) -> Array:
        return self.xp.maximum(a, b)

    def loses(self, a: Array, b: Array) -> Array:
        return a < b


@op("minimum")
class Minimum(Extremum):
    def choose(self, a: Array, b: Array) -> Array:
        return self.xp.minimum(a, b)

    def loses(self, a: Array, b: Array) -> Array:
        return a > b


@op("clamp")
@dataclass(eq=False)
class Clamp(Unary):
    """Into [low, high]. The gradient is 1 from low to high, both included, and 0 outside."""

    low: float
    high: float

    def forward(self, x: Array) -> Array:
        self.x: Array = x if self.needs[0] else None
        return self.xp.minimum(self.xp.maximum(x, x.dtype.type(self.low)), x.dtype.type(self.high))

    def backward(self, g: Array) -> Array:
        return g * ((self.x >= self.low) & (self.x <= self.high))


@op("where")
@dataclass(eq=False)
class Where(Binary):
    """a where ``condition``, else b; all three broadcast."""

    condition: Any  # boolean array

    def shape(self, a: Shape, b: Shape) -> Shape:
        if self.condition.dtype.kind != "b":
            raise TypeError(f"where: condition must be boolean, not {self.condition.dtype}")
        try:
            return np.broadcast_shapes(self.condition.shape, a, b)
        except ValueError:
            raise self.refuse("do not broadcast", self.condition.shape, a, b) from None

    def forward(self, a: Array, b: Array) -> Array:
        y = self.xp.where(self.condition, a, b)
        self.condition = self.condition.copy() if True in self.needs else None  # may be changed later
        return y

    def backward(self, g: Array) -> tuple[Array, Array]:
        return self.xp.where(self.condition, g, 0), self.xp.where(self.condition, 0, g)
