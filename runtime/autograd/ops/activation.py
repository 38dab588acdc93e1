"""Activations, element by element. Each keeps its output: the gradient is a function of it."""

from __future__ import annotations

from ringleader.runtime.autograd.op import Array, op
from ringleader.runtime.autograd.ops.arithmetic import Unary


@op("tanh")
class Tanh(Unary):
    def forward(self, x: Array) -> Array:
        self.y = self.xp.tanh(x)
        return self.y

    def backward(self, g: Array) -> Array:
        return g * (1 - self.y * self.y)


@op("sigmoid")
class Sigmoid(Unary):
    def forward(self, x: Array) -> Array:
        self.y = 0.5 * self.xp.tanh(0.5 * x) + 0.5  # = 1 / (1 + exp(-x)), and cannot overflow
        return self.y

    def backward(self, g: Array) -> Array:
        return g * (self.y * (1 - self.y))


@op("relu")
class ReLU(Unary):
    """The gradient at 0 is 0."""

    def forward(self, x: Array) -> Array:
        self.y = self.xp.maximum(x, 0)
        return self.y

    def backward(self, g: Array) -> Array:
        return g * (self.y > 0)
