"""Convolution layers."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import DTypeLike
from ringleader.runtime.autograd import functional
from ringleader.runtime.autograd.functional.sizes import sizes
from ringleader.runtime.autograd.layers.weighted import Weighted
from ringleader.runtime.autograd.tensor import Tensor

Each = TypeVar("Each", bound=tuple[int, ...])  # one number for each axis of an image


class Convolution(Weighted, Generic[Each]):
    """weight (out_channels, in_channels / groups, *kernel_size), bias (out_channels,).

    ValueError: groups do not divide the channels, or an option is not one number or one for each axis.
    """

    axes: ClassVar[int]
    transposed: ClassVar[bool] = False  # then in_channels and out_channels of the weight are swapped

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int | Each, stride: int | Each = 1,
        padding: int | Each | str = 0, dilation: int | Each = 1, groups: int = 1, bias: bool = True, *,
        generator: np.random.Generator, dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        for name, channels in (("out_channels", out_channels), ("in_channels", in_channels)):
            if groups < 1 or channels % groups:
                raise ValueError(f"{name} {channels} must be a multiple of groups {groups}")
        ends = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        shape = (ends[0], ends[1] // groups, *sizes("kernel_size", kernel_size, self.axes))
        super().__init__(shape, out_channels, bias, generator, dtype)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups


class Conv1d(Convolution[tuple[int]]):
    """x (N, in_channels, L) -> (N, out_channels, P), see functional.conv1d."""

    axes = 1

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv1d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class Conv2d(Convolution[tuple[int, int]]):
    """x (N, in_channels, H, W) -> (N, out_channels, P, Q), see functional.conv2d."""

    axes = 2

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class ConvTranspose(Convolution[Each]):
    """weight (in_channels, out_channels / groups, *kernel_size), bias (out_channels,). ValueError as there."""

    transposed = True
    padding: int | Each

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int | Each, stride: int | Each = 1,
        padding: int | Each = 0, output_padding: int | Each = 0, groups: int = 1, bias: bool = True,
        dilation: int | Each = 1, *, generator: np.random.Generator, dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
                         generator=generator, dtype=dtype)  # fmt: skip
        self.output_padding = output_padding


class ConvTranspose1d(ConvTranspose[tuple[int]]):
    """x (N, in_channels, P) -> (N, out_channels, L), see functional.conv_transpose1d."""

    axes = 1

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv_transpose1d(x, self.weight, self.bias, self.stride, self.padding,
                                           self.output_padding, self.groups, self.dilation)  # fmt: skip


class ConvTranspose2d(ConvTranspose[tuple[int, int]]):
    """x (N, in_channels, P, Q) -> (N, out_channels, H, W), see functional.conv_transpose2d."""

    axes = 2

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv_transpose2d(x, self.weight, self.bias, self.stride, self.padding,
                                           self.output_padding, self.groups, self.dilation)  # fmt: skip
