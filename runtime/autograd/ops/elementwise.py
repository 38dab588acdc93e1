"""Functions of one tensor, element by element."""

from __future__ import annotations

from math import log, pi, sqrt

from ringleader.runtime.autograd.op import Array, op
from ringleader.runtime.autograd.ops.activation import erf
from ringleader.runtime.autograd.ops.arithmetic import Unary


class Smooth(Unary):
    """Its gradient is a function of its input, which is kept."""

    def value(self, x: Array) -> Array:
        raise NotImplementedError

    def slope(self, x: Array) -> Array:
        raise NotImplementedError

    def forward(self, x: Array) -> Array:
        self.x: Array = x if self.needs[0] else None
        return self.value(x)

    def backward(self, g: Array) -> Array:
        return g * self.slope(self.x)


@op("exp")
class Exp(Unary):
    def forward(self, x: Array) -> Array:
        self.y = self.xp.exp(x)
        return self.y

    def backward(self, g: Array) -> Array:
        return g * self.y


@op("expm1")
class Expm1(Unary):
    def forward(self, x: Array) -> Array:
        self.y = self.xp.expm1(x)
        return self.y

    def backward(self, g: Array) -> Array:
        return g * (self.y + 1)


@op("log")
class Log(Smooth):
    def value(self, x: Array) -> Array:
        return self.xp.log(x)

    def backward(self, g: Array) -> Array:
        return g / self.x


@op("log1p")
class Log1p(Smooth):
    def value(self, x: Array) -> Array:
        return self.xp.log1p(x)

    def backward(self, g: Array) -> Array:
        return g / (self.x + 1)


@op("log2")
class Log2(Smooth):
    def value(self, x: Array) -> Array:
        return self.xp.log2(x)

    def backward(self, g: Array) -> Array:
        return g / (self.x * log(2))


@op("sqrt")
class Sqrt(Unary):
    def forward(self, x: Array) -> Array:
        self.y = self.xp.sqrt(x)
        return self.y

    def backward(self, g: Array) -> Array:
        return g / (2 * self.y)


@op("rsqrt")
class Rsqrt(Unary):
    """1 / sqrt(x)."""

    def forward(self, x: Array) -> Array:
        self.y = 1 / self.xp.sqrt(x)
        return self.y

    def backward(self, g: Array) -> Array:
        return g * (-0.5 * self.y * self.y * self.y)


@op("square")
class Square(Smooth):
    def value(self, x: Array) -> Array:
        return x * x

    def slope(self, x: Array) -> Array:
        return 2 * x


@op("sin")
class Sin(Smooth):
    def value(self, x: Array) -> Array:
        return self.xp.sin(x)

    def slope(self, x: Array) -> Array:
        return self.xp.cos(x)


@op("cos")
class Cos(Smooth):
    def value(self, x: Array) -> Array:
        return self.xp.cos(x)

    def slope(self, x: Array) -> Array:
        return -self.xp.sin(x)


@op("tan")
class Tan(Unary):
    def forward(self, x: Array) -> Array:
        self.y = self.xp.tan(x)
        return self.y

    def backward(self, g: Array) -> Array:
        return g * (1 + self.y * self.y)


@op("asin")
class Asin(Smooth):
    def value(self, x: Array) -> Array:
        return self.xp.arcsin(x)

    def slope(self, x: Array) -> Array:
        return 1 / self.xp.sqrt((1 - x) * (1 + x))


@op("acos")
class Acos(Smooth):
    def value(self, x: Array) -> Array:
        return self.xp.arccos(x)

    def slope(self, x: Array) -> Array:
        return -1 / self.xp.sqrt((1 - x) * (1 + x))


@op("atan")
class Atan(Smooth):
    def value(self, x: Array) -> Array:
        return self.xp.arctan(x)

    def slope(self, x: Array) -> Array:
        return 1 / (1 + x * x)


@op("sinh")
class Sinh(Smooth):
    def value(self, x: Array) -> Array:
        return self.xp.sinh(x)

    def slope(self, x: Array) -> Array:
        return self.xp.cosh(x)


@op("cosh")
class Cosh(Smooth):
    def value(self, x: Array) -> Array:
        return self.xp.cosh(x)

    def slope(self, x: Array) -> Array:
        return self.xp.sinh(x)


@op("asinh")
class Asinh(Smooth):
    def value(self, x: Array) -> Array:
        return self.xp.arcsinh(x)

    def slope(self, x: Array) -> Array:
        return 1 / self.xp.hypot(x, 1)


@op("acosh")
class Acosh(Smooth):
    def value(self, x: Array) -> Array:
        return self.xp.arccosh(x)

    def slope(self, x: Array) -> Array:
        return 1 / (self.xp.sqrt(x - 1) * self.xp.sqrt(x + 1))


@op("atanh")
class Atanh(Smooth):
    def value(self, x: Array) -> Array:
        return self.xp.arctanh(x)

    def slope(self, x: Array) -> Array:
        return 1 / ((1 - x) * (1 + x))


@op("erf")
class Erf(Smooth):
    """The error function, SciPy's: numpy has none."""

    def value(self, x: Array) -> Array:
        return erf(self.xp, x)

    def slope(self, x: Array) -> Array:
        return (2 / sqrt(pi)) * self.xp.exp(-x * x)


@op("abs")
class Abs(Smooth):
    """The gradient at 0 is 0."""

    def value(self, x: Array) -> Array:
        return self.xp.abs(x)

    def slope(self, x: Array) -> Array:
        return self.xp.sign(x)


@op("clone")
class Clone(Unary):
    def forward(self, x: Array) -> Array:
        return x.copy()

    def backward(self, g: Array) -> Array:
        return g


class Step(Unary):
    """Constant between its jumps: the gradient is 0."""

    def backward(self, g: Array) -> Array:
        return self.xp.zeros_like(g)


@op("sign")
class Sign(Step):
    def forward(self, x: Array) -> Array:
        return self.xp.sign(x)


@op("floor")
class Floor(Step):
    def forward(self, x: Array) -> Array:
        return self.xp.floor(x)


@op("ceil")
class Ceil(Step):
    def forward(self, x: Array) -> Array:
        return self.xp.ceil(x)


@op("round")
class Round(Step):
    """Halves go to the even neighbour."""

    def forward(self, x: Array) -> Array:
        return self.xp.rint(x)
