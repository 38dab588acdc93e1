"""Pooling layers."""

from __future__ import annotations

from ringleader.runtime.autograd import functional
from ringleader.runtime.autograd.functional.sizes import Pair
from ringleader.runtime.autograd.module import Module
from ringleader.runtime.autograd.tensor import Tensor


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
