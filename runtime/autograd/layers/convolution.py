"""Convolution layers."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike
from ringleader.runtime.autograd import functional
from ringleader.runtime.autograd.functional.sizes import Pair, pair
from ringleader.runtime.autograd.layers.weighted import Weighted
from ringleader.runtime.autograd.tensor import Tensor


class Conv2d(Weighted):
    """x (N, in_channels, H, W) -> (N, out_channels, P, Q), see functional.conv2d."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Pair, stride: Pair = 1, padding: Pair = 0,
        bias: bool = True, *, generator: np.random.Generator, dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        super().__init__((out_channels, in_channels, *pair(kernel_size)), bias, generator, dtype)
        self.stride, self.padding = pair(stride), pair(padding)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight, self.bias, self.stride, self.padding)
