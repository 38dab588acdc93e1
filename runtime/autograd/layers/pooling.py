"""Pooling layers."""

from __future__ import annotations

from ringleader.runtime.autograd import functional
from ringleader.runtime.autograd.functional.sizes import Pair, Single
from ringleader.runtime.autograd.module import Module
from ringleader.runtime.autograd.tensor import Tensor


class AvgPool1d(Module):
    def __init__(
        self, kernel_size: Single, stride: Single | None = None, padding: Single = 0, *,
        count_include_pad: bool = True,
    ) -> None:  # fmt: skip
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.count_include_pad = count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool1d(
            x, self.kernel_size, self.stride, self.padding, count_include_pad=self.count_include_pad
        )


class AvgPool2d(Module):
    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        *,
        count_include_pad: bool = True,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.count_include_pad = count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(
            x, self.kernel_size, self.stride, self.padding, count_include_pad=self.count_include_pad
        )


class MaxPool1d(Module):
    def __init__(
        self, kernel_size: Single, stride: Single | None = None, padding: Single = 0, dilation: Single = 1
    ) -> None:
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool1d(x, self.kernel_size, self.stride, self.padding, self.dilation)


class MaxPool2d(Module):
    def __init__(
        self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0, dilation: Pair = 1
    ) -> None:
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation)


class AdaptiveAvgPool2d(Module):
    """To the given output size, which must divide the image's; 1: the mean over the image."""

    def __init__(self, output_size: Pair) -> None:
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(x, self.output_size)
