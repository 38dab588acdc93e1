"""Softmax and its logarithm along one axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ringleader.runtime.autograd.op import Array, Function, Shape, op


def largest(xp: Any, x: Array, axis: int | tuple[int, ...] | None) -> Array:
    """Over ``axis``, which is kept with size 1; -inf over no elements."""
    if x.size:
        return x.max(axis=axis, keepdims=True)
    return xp.full(x.sum(axis=axis, keepdims=True).shape, -xp.inf, x.dtype)  # CuPy's max has no initial=


@dataclass(eq=False)
class AlongAxis(Function):
    dim: int

    def shape(self, x: Shape) -> Shape:
        if not -len(x) <= self.dim < len(x):
            raise self.refuse(f"dim {self.dim} is out of range", x)
        return x

    def below_zero(self, x: Array) -> Array:
        """x minus its maximum along the axis: exp cannot overflow, and one term of its sum is 1."""
        return x - largest(self.xp, x, self.dim)

    def total(self, x: Array) -> Array:
        return x.sum(axis=self.dim, keepdims=True)


@op("softmax")
class Softmax(AlongAxis):
    """exp(x) / sum exp(x) (Bridle 1990). NaN where all of x is -inf."""

    def forward(self, x: Array) -> Array:
        self.y = self.below_zero(x)
        self.xp.exp(self.y, out=self.y)
        self.y /= self.total(self.y)
        return self.y

    def backward(self, g: Array) -> Array:
        dx = g * self.y
        dx -= self.y * self.total(dx)
        return dx


@op("log_softmax")
class LogSoftmax(AlongAxis):
    """x - log sum exp(x), without the loss of small probabilities that log(softmax(x)) has."""

    def forward(self, x: Array) -> Array:
        self.y = self.below_zero(x)
        if x.size:  # the sum of no terms is 0, and has no logarithm
            self.y -= self.xp.log(self.total(self.xp.exp(self.y)))
        return self.y

    def backward(self, g: Array) -> Array:
        return g - self.xp.exp(self.y) * self.total(g)
