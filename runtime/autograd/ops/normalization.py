"""Normalisation: groups of elements get mean 0 and variance 1, or mean square 1."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from ringleader.runtime.autograd.op import Array, Function, Shape, op


class Normalization(Function):
    """x, optionally weight, optionally bias -> z weight + bias, z being x with each group normalised.

    The elements of a group differ in ``axes`` alone; the parameters, reshaped to ``spread``, broadcast with
    x. With r = 1 / sqrt(variance + eps), z = (x - mean) r. With h the gradient of z, that of x is
    r (h - mean(h) - z mean(h z)), means over the group (the formulas of Ioffe, Szegedy 2015, section 3, put
    into one): z mean(h z) is the variance's part, mean(h) the mean's.
    """

    axes: tuple[int, ...]
    spread: Shape

    def check(self, x: Shape, parameters: tuple[Shape, ...], wanted: Shape) -> None:
        for name, shape in zip(("weight", "bias"), parameters):
            if shape != wanted:
                raise self.refuse(f"{name} must be {wanted}", x, shape)

    def average(self, x: Array) -> Array:
        """Over the group, with its axes kept; 0 of none."""
        count = prod(x.shape[axis] for axis in self.axes)
        total = x.sum(axis=self.axes, keepdims=True)
        total *= 1 / max(1, count)
        return total

    def standardise(self, x: Array, eps: float) -> Array:
        """z; keeps mean, variance and r."""
        self.mean = self.average(x)
        z = x - self.mean
        self.variance = self.average(z * z)
        self.r = 1 / self.xp.sqrt(self.variance + eps)
        z *= self.r
        return z

    def affine(self, z: Array, parameters: tuple[Array, ...]) -> Array:
        self.z, self.weight = z, None
        self.shapes = [parameter.shape for parameter in parameters]
        if not parameters:
            return z
        self.weight, *bias = [parameter.reshape(self.spread) for parameter in parameters]
        y = z * self.weight
        if bias:
            y += bias[0]
        return y

    def backward(self, g: Array) -> tuple[Array | None, ...]:
        sums = [self._sum(g * self.z), self._sum(g)] if self.shapes else []
        gradients = [total.reshape(shape) for total, shape in zip(sums, self.shapes)]
        h = g if self.weight is None else g * self.weight
        return (self.input_gradient(h) if self.needs[0] else None, *gradients)

    def _sum(self, g: Array) -> Array:
        """Over the axes along which the parameters were broadcast."""
        lead = g.ndim - len(self.spread)
        stretched = (lead + axis for axis, size in enumerate(self.spread) if size == 1)
        return g.sum(axis=(*range(lead), *stretched))

    def input_gradient(self, h: Array) -> Array:
        dx = h - self.average(h)
        dx -= self.z * self.average(h * self.z)
        dx *= self.r
        return dx


@dataclass(eq=False)
class OfTrailingAxes(Normalization):
    normalized_shape: Shape
    eps: float

    def shape(self, x: Shape, *parameters: Shape) -> Shape:
        count = len(self.normalized_shape)
        if count == 0 or x[-count:] != self.normalized_shape:
            raise self.refuse(f"the last axes must be {self.normalized_shape}", x)
        self.check(x, parameters, self.normalized_shape)
        self.axes, self.spread = tuple(range(-count, 0)), self.normalized_shape
        return x


@op("layer_norm")
class LayerNorm(OfTrailingAxes):
    """Over the last axes, of sizes ``normalized_shape`` (Ba, Kiros, Hinton, "Layer normalization", 2016)."""

    def forward(self, x: Array, *parameters: Array) -> Array:
        return self.affine(self.standardise(x, self.eps), parameters)


@op("rms_norm")
class RMSNorm(OfTrailingAxes):
    """Over the last axes, z = x / sqrt(mean(x^2) + eps), without a mean (Zhang, Sennrich 2019)."""

    def forward(self, x: Array, *parameters: Array) -> Array:
        self.r = 1 / self.xp.sqrt(self.average(x * x) + self.eps)
        return self.affine(x * self.r, parameters)

    def input_gradient(self, h: Array) -> Array:
        dx = h - self.z * self.average(h * self.z)
        dx *= self.r
        return dx


@op("group_norm")
@dataclass(eq=False)
class GroupNorm(Normalization):
    """x (N, C, *S), over ``num_groups`` groups of neighbouring channels (Wu, He 2018)."""

    num_groups: int
    eps: float

    def shape(self, x: Shape, *parameters: Shape) -> Shape:
        groups = self.num_groups
        if len(x) < 2 or groups < 1 or x[1] % groups:
            raise self.refuse(f"input must be (N, C, ...) with C a multiple of {groups} groups", x)
        self.check(x, parameters, (x[1],))
        self.source, self.grouped = x, (x[0], groups, x[1] // groups, *x[2:])
        self.axes = tuple(range(2, len(self.grouped)))
        self.spread = (*self.grouped[1:3], *(1 for _ in x[2:]))
        return x

    def forward(self, x: Array, *parameters: Array) -> Array:
        y = self.affine(self.standardise(x.reshape(self.grouped), self.eps), parameters)
        return y.reshape(self.source)

    def backward(self, g: Array) -> tuple[Array | None, ...]:
        dx, *gradients = super().backward(g.reshape(self.grouped))
        return (None if dx is None else dx.reshape(self.source), *gradients)


@op("batch_norm")
@dataclass(eq=False)
class BatchNorm(Normalization):
    """x (N, C, *S), over all but the channels (Ioffe, Szegedy, "Batch normalization", 2015).

    In training, ``running_mean`` and ``running_var`` (C,), if given, move in place by ``momentum`` towards
    mean and unbiased variance of the batch; otherwise they are what x is normalised by, as constants. An
    empty batch leaves them alone.
    """

    running_mean: Array | None
    running_var: Array | None
    training: bool
    momentum: float
    eps: float

    def shape(self, x: Shape, *parameters: Shape) -> Shape:
        if len(x) < 2:
            raise self.refuse("input must be (N, C, ...)", x)
        self.check(x, parameters, x[1:2])
        for name, running in (("running_mean", self.running_mean), ("running_var", self.running_var)):
            if running is not None and running.shape != x[1:2]:
                raise self.refuse(f"{name} must be {x[1:2]}", x, running.shape)
            if running is None and not self.training:
                raise ValueError(f"batch_norm: not in training it needs {name}")
        self.axes, self.count = (0, *range(2, len(x))), prod(x[:1] + x[2:])
        if self.training and self.count == 1:
            raise self.refuse("in training it needs more than 1 value per channel", x)
        self.spread = (x[1], *(1 for _ in x[2:]))
        return x

    def forward(self, x: Array, *parameters: Array) -> Array:
        if self.training:
            z = self.standardise(x, self.eps)
            self._move(self.running_mean, self.mean)
            self._move(self.running_var, self.variance * (self.count / max(1, self.count - 1)))
            return self.affine(z, parameters)
        assert self.running_mean is not None and self.running_var is not None
        mean, variance = (running.astype(x.dtype, copy=False).reshape(self.spread)
                          for running in (self.running_mean, self.running_var))  # fmt: skip
        self.r = 1 / self.xp.sqrt(variance + self.eps)
        return self.affine((x - mean) * self.r, parameters)

    def _move(self, running: Array | None, batch: Array) -> None:
        if running is not None and self.count:
            running += self.momentum * (batch.reshape(-1) - running)

    def input_gradient(self, h: Array) -> Array:
        return super().input_gradient(h) if self.training else h * self.r
