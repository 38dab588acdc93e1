"""Arithmetic, element by element; two operands broadcast as in numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ringleader.runtime.autograd.op import Array, Function, Shape, op


class Binary(Function):
    def shape(self, a: Shape, b: Shape) -> Shape:
        if a == b:
            return a
        try:
            return np.broadcast_shapes(a, b)
        except ValueError:
            raise self.refuse("do not broadcast", a, b) from None


class Unary(Function):
    def shape(self, x: Shape) -> Shape:
        return x


@op("add")
class Add(Binary):
    def forward(self, a: Array, b: Array) -> Array:
        return a + b

    def backward(self, g: Array) -> tuple[Array, Array]:
        return g, g


@op("sub")
class Sub(Binary):
    def forward(self, a: Array, b: Array) -> Array:
        return a - b

    def backward(self, g: Array) -> tuple[Array, Array | None]:
        return g, -g if self.needs[1] else None


@op("mul")
class Mul(Binary):
    def forward(self, a: Array, b: Array) -> Array:
        self.a: Array = a if self.needs[1] else None
        self.b: Array = b if self.needs[0] else None
        return a * b

    def backward(self, g: Array) -> tuple[Array | None, Array | None]:
        return g * self.b if self.needs[0] else None, g * self.a if self.needs[1] else None


@op("div")
class Div(Binary):
    def forward(self, a: Array, b: Array) -> Array:
        y = a / b
        self.b, self.y = b, y if self.needs[1] else None
        return y

    def backward(self, g: Array) -> tuple[Array, Array | None]:
        da = g / self.b
        return da, -da * self.y if self.needs[1] else None


@op("neg")
class Neg(Unary):
    def forward(self, x: Array) -> Array:
        return -x

    def backward(self, g: Array) -> Array:
        return -g


@op("pow")
@dataclass(eq=False)
class Pow(Unary):
    """x to a constant power. (Of a tensor of exponents: power.)"""

    exponent: float

    def forward(self, x: Array) -> Array:
        self.x = x
        return x**self.exponent

    def backward(self, g: Array) -> Array:
        if self.exponent == 0:
            return g * 0  # x ** -1 would be infinite at 0
        return g * (self.exponent * self.x ** (self.exponent - 1))


@op("power")
class Power(Binary):
    """a ** b, both tensors. Where a is 0, db is 0 for b >= 0, the limit of a ** b log a."""

    def forward(self, a: Array, b: Array) -> Array:
        y = a**b
        self.a, self.b, self.y = a, b, y if self.needs[1] else None
        return y

    def backward(self, g: Array) -> tuple[Array | None, Array | None]:
        xp, a, b = self.xp, self.a, self.b
        da = db = None
        if self.needs[0]:
            da = g * b * a ** xp.where(b == 0, 1, b - 1)  # 0 ** -1 would be infinite
        if self.needs[1]:
            zero = (a == 0) & (b >= 0)
            db = g * self.y * xp.log(xp.where(zero, 1, a))
        return da, db
