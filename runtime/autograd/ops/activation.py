"""Activations, element by element. Where the gradient is a function of the output, that is what is kept."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from math import pi, sqrt
from typing import Any

import numpy as np
from ringleader.runtime.autograd.op import Array, Shape, op
from ringleader.runtime.autograd.ops.arithmetic import Unary


@op("tanh")
class Tanh(Unary):
    def forward(self, x: Array) -> Array:
        self.y = self.xp.tanh(x)
        return self.y

    def backward(self, g: Array) -> Array:
        return g * (1 - self.y * self.y)


@op("scaled_tanh")
@dataclass(eq=False)
class ScaledTanh(Unary):
    """alpha tanh(beta x), LeCun's squashing function."""

    alpha: float
    beta: float

    def shape(self, x: Shape) -> Shape:
        if self.alpha == 0:
            raise ValueError("scaled_tanh: alpha must not be 0")
        return x

    def forward(self, x: Array) -> Array:
        self.y = self.xp.tanh(x * self.beta) * self.alpha
        return self.y

    def backward(self, g: Array) -> Array:
        return g * (self.alpha * self.beta - self.y * self.y * (self.beta / self.alpha))


@op("sigmoid")
class Sigmoid(Unary):
    def forward(self, x: Array) -> Array:
        self.y = sigmoid(self.xp, x)
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


@op("relu6")
class ReLU6(Unary):
    """min(max(x, 0), 6) (Howard et al., "MobileNets", 2017). The gradient at 0 and 6 is 0."""

    def forward(self, x: Array) -> Array:
        self.y = self.xp.clip(x, 0, 6)
        return self.y

    def backward(self, g: Array) -> Array:
        return g * ((self.y > 0) & (self.y < 6))


@op("leaky_relu")
@dataclass(eq=False)
class LeakyReLU(Unary):
    """x, but negative_slope x where x <= 0 (Maas, Hannun, Ng, "Rectifier nonlinearities", 2013)."""

    negative_slope: float = 0.01

    def forward(self, x: Array) -> Array:
        self.positive = x > 0
        return self.xp.where(self.positive, x, x * self.negative_slope)

    def backward(self, g: Array) -> Array:
        return self.xp.where(self.positive, g, g * self.negative_slope)


@op("elu")
@dataclass(eq=False)
class ELU(Unary):
    """x, but alpha (exp(x) - 1) where x <= 0 (Clevert, Unterthiner, Hochreiter 2016)."""

    alpha: float = 1.0

    def forward(self, x: Array) -> Array:
        self.positive = x > 0
        self.y = self.xp.where(self.positive, x, self.alpha * self.xp.expm1(self.xp.minimum(x, 0)))
        return self.y

    def backward(self, g: Array) -> Array:
        return self.xp.where(self.positive, g, g * (self.y + self.alpha))


@op("softplus")
@dataclass(eq=False)
class Softplus(Unary):
    """log(1 + exp(beta x)) / beta, a smooth relu (Dugas et al. 2001); x itself where beta x > threshold."""

    beta: float = 1.0
    threshold: float = 20.0

    def shape(self, x: Shape) -> Shape:
        if self.beta <= 0:
            raise ValueError(f"softplus: beta must be positive, it is {self.beta}")
        return x

    def forward(self, x: Array) -> Array:
        self.scaled = x * self.beta
        curved = self.xp.log1p(self.xp.exp(self.xp.minimum(self.scaled, self.threshold))) / self.beta
        return self.xp.where(self.scaled > self.threshold, x, curved)

    def backward(self, g: Array) -> Array:
        return self.xp.where(self.scaled > self.threshold, g, g * sigmoid(self.xp, self.scaled))


@op("silu")
class SiLU(Unary):
    """x sigmoid(x) (Hendrycks, Gimpel 2016; Elfwing, Uchibe, Doya 2018), also called swish."""

    def forward(self, x: Array) -> Array:
        self.x, self.gate = x, sigmoid(self.xp, x)
        return x * self.gate

    def backward(self, g: Array) -> Array:
        return g * (self.gate * (1 + self.x * (1 - self.gate)))


@op("gelu")
@dataclass(eq=False)
class GELU(Unary):
    """x Phi(x), Phi the normal distribution's function (Hendrycks, Gimpel, "Gaussian error linear units",
    2016). ``approximate``: "none", or "tanh" for their Phi(x) = (1 + tanh(inner(x))) / 2."""

    approximate: str = "none"

    def shape(self, x: Shape) -> Shape:
        if self.approximate not in ("none", "tanh"):
            raise ValueError(f"gelu: approximate must be 'none' or 'tanh', not {self.approximate!r}")
        return x

    def forward(self, x: Array) -> Array:
        self.x = x
        self.phi = 0.5 + 0.5 * (
            self.xp.tanh(self._inner(x)) if self.approximate == "tanh" else erf(self.xp, x * sqrt(0.5))
        )
        return x * self.phi

    def _inner(self, x: Array) -> Array:
        return (x + 0.044715 * (x * x * x)) * sqrt(2 / pi)

    def backward(self, g: Array) -> Array:
        x, phi = self.x, self.phi
        if self.approximate == "tanh":  # with t = 2 Phi - 1: (1 - t^2) / 2 = 2 Phi (1 - Phi)
            density = 2 * phi * (1 - phi) * ((1 + 3 * 0.044715 * (x * x)) * sqrt(2 / pi))
        else:
            density = self.xp.exp(-0.5 * (x * x)) * (1 / sqrt(2 * pi))
        return g * (phi + x * density)


def sigmoid(xp: Any, x: Array) -> Array:
    """1 / (1 + exp(-x)), in a form that cannot overflow and keeps its digits where it is next to 0."""
    small = xp.exp(-xp.abs(x))
    return xp.maximum(small, x >= 0) / (1 + small)


def erf(xp: Any, x: Array) -> Array:
    """The error function: SciPy's, or CuPy's copy of it. They take a while to import, and only this needs them."""
    return import_module("scipy.special" if xp is np else "cupyx.scipy.special").erf(x)
