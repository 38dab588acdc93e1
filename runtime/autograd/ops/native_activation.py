"""Activations by native kernels: one pass over memory each, forward and backward."""

from __future__ import annotations

from ringleader.runtime.autograd.native import KERNELS, native, takes
from ringleader.runtime.autograd.op import Array
from ringleader.runtime.autograd.ops.activation import ReLU, ScaledTanh, Sigmoid, Tanh
from ringleader.runtime.autograd.ops.arithmetic import Unary


class FromOutput(Unary):
    """In front of a numpy op that keeps its output ``y``; the kernels are called as the op is."""

    def forward(self, x: Array) -> Array:
        if not takes(x):
            return super().forward(x)
        self.y = getattr(KERNELS, self.name)(x)
        return self.y

    def backward(self, g: Array) -> Array:
        if not takes(g, self.y):
            return super().backward(g)
        return getattr(KERNELS, f"{self.name}_backward")(g, self.y)


@native("tanh")
class NativeTanh(FromOutput, Tanh):
    pass


@native("sigmoid")
class NativeSigmoid(FromOutput, Sigmoid):
    pass


@native("relu")
class NativeReLU(FromOutput, ReLU):
    pass


@native("scaled_tanh")
class NativeScaledTanh(ScaledTanh):
    def forward(self, x: Array) -> Array:
        if not takes(x):
            return super().forward(x)
        self.y = KERNELS.scaled_tanh(x, self.alpha, self.beta)
        return self.y

    def backward(self, g: Array) -> Array:
        if not takes(g, self.y):
            return super().backward(g)
        return KERNELS.scaled_tanh_backward(g, self.y, self.alpha, self.beta)
