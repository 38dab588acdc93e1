"""The affine layer, and Flatten, which comes before it."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import DTypeLike
from ringleader.runtime.autograd import functional
from ringleader.runtime.autograd.layers.weighted import Weighted
from ringleader.runtime.autograd.module import Module
from ringleader.runtime.autograd.tensor import Tensor


class Linear(Weighted):
    """x (..., in_features) -> x weight^T + bias (..., out_features)."""

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *,
        generator: np.random.Generator, dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        super().__init__((out_features, in_features), out_features, bias, generator, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)


class Flatten(Module):
    """x (N, ...) -> (N, product of the rest)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], prod(x.shape[1:]))  # -1 would be undetermined for N = 0
