"""Dropout."""

from __future__ import annotations

from dataclasses import dataclass

from ringleader.runtime.autograd.op import Array, Function, Shape, op


@op("dropout")
@dataclass(eq=False)
class Dropout(Function):
    """x where ``keep`` (boolean, of x's shape), else 0, times ``scale``, which keeps the expectation
    (Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov 2014; scaled in training, not afterwards)."""

    keep: Array
    scale: float

    def shape(self, x: Shape) -> Shape:
        if self.keep.shape != x:
            raise self.refuse("the mask must have the input's shape", x, self.keep.shape)
        return x

    def forward(self, x: Array) -> Array:
        self.factor = self.keep * x.dtype.type(self.scale)
        return x * self.factor

    def backward(self, g: Array) -> Array:
        return g * self.factor
