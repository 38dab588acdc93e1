"""Layers. Weights come from the generator that is passed in; names and initial weights are PyTorch's."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import DTypeLike
from ringleader.runtime.autograd import functional
from ringleader.runtime.autograd.functional import Pair, pair
from ringleader.runtime.autograd.module import Module, Parameter
from ringleader.runtime.autograd.op import Array
from ringleader.runtime.autograd.tensor import Tensor


def uniform(generator: np.random.Generator, bound: float, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Uniform in [-bound, bound). Drawn in float64, so that both dtypes start from the same weights."""
    drawn: Array = generator.uniform(-bound, bound, shape).astype(dtype)
    return drawn


class _Weighted(Module):
    """weight (out, ...) and bias (out,) or None, both uniform in +-1/sqrt(fan-in)."""

    def __init__(
        self, shape: tuple[int, ...], bias: bool, generator: np.random.Generator, dtype: DTypeLike
    ) -> None:
        bound = 1 / max(1, prod(shape[1:])) ** 0.5
        self.weight = Parameter(uniform(generator, bound, shape, dtype))
        self.bias = Parameter(uniform(generator, bound, shape[:1], dtype)) if bias else None


class Linear(_Weighted):
    """x (N, in_features) -> x weight^T + bias (N, out_features)."""

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *,
        generator: np.random.Generator, dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        super().__init__((out_features, in_features), bias, generator, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)


class Conv2d(_Weighted):
    """x (N, in_channels, H, W) -> (N, out_channels, P, Q), see functional.conv2d."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Pair, stride: Pair = 1, padding: Pair = 0,
        bias: bool = True, *, generator: np.random.Generator, dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        super().__init__((out_channels, in_channels, *pair(kernel_size)), bias, generator, dtype)
        self.stride, self.padding = pair(stride), pair(padding)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class AvgPool2d(Module):
    def __init__(self, kernel_size: Pair, stride: Pair | None = None) -> None:
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, self.kernel_size, self.stride)


class MaxPool2d(Module):
    def __init__(self, kernel_size: Pair, stride: Pair | None = None) -> None:
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(x, self.kernel_size, self.stride)


class Tanh(Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.tanh()


class Sigmoid(Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sigmoid()


class ReLU(Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu()


class Flatten(Module):
    """x (N, ...) -> (N, product of the rest)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], prod(x.shape[1:]))  # -1 would be undetermined for N = 0


class Sequential(Module):
    """One module after the other; their names are "0", "1", ..."""

    def __init__(self, *modules: Module) -> None:
        for i, module in enumerate(modules):
            setattr(self, str(i), module)

    def forward(self, x: Tensor) -> Tensor:
        for _, module in self.named_children():
            x = module(x)
        return x
