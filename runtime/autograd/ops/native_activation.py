"""Activations by native kernels: one pass over memory each, forward and backward."""

from __future__ import annotations

import numpy as np
from ringleader.runtime.autograd.native import KERNELS, native, takes
from ringleader.runtime.autograd.op import Array
from ringleader.runtime.autograd.ops.activation import GELU, ReLU, ScaledTanh, Sigmoid, SiLU, Tanh
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


class FromInput(Unary):
    """In front of a numpy op that keeps its input ``x`` and more; the kernels keep the input only."""

    def kernel(self) -> str:
        return self.name

    def forward(self, x: Array) -> Array:
        self.by_kernel = takes(x)
        if not self.by_kernel:
            return super().forward(x)
        self.x = x
        return getattr(KERNELS, self.kernel())(x)

    def backward(self, g: Array) -> Array:
        if not self.by_kernel:
            return super().backward(g)
        return getattr(KERNELS, f"{self.kernel()}_backward")(np.asarray(g, order="C"), self.x)


@native("silu")
class NativeSiLU(FromInput, SiLU):
    pass


@native("gelu")
class NativeGELU(FromInput, GELU):
    def kernel(self) -> str:
        return "gelu_tanh" if self.approximate == "tanh" else "gelu"


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
