"""Convolution layers."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike
from ringleader.runtime.autograd import functional
from ringleader.runtime.autograd.functional.sizes import Pair, Single, sizes
from ringleader.runtime.autograd.layers.weighted import Weighted
from ringleader.runtime.autograd.tensor import Tensor


def share(name: str, channels: int, groups: int) -> int:
    """Channels in a group. ValueError: they are not equally many."""
    if groups < 1 or channels % groups:
        raise ValueError(f"{name} {channels} must be a multiple of groups {groups}")
    return channels // groups


class Conv1d(Weighted):
    """x (N, in_channels, L) -> (N, out_channels, P), see functional.conv1d."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Single, stride: Single = 1,
        padding: Single | str = 0, dilation: Single = 1, groups: int = 1, bias: bool = True, *,
        generator: np.random.Generator, dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        share("out_channels", out_channels, groups)
        shape = (
            out_channels,
            share("in_channels", in_channels, groups),
            *sizes("kernel_size", kernel_size, 1),
        )
        super().__init__(shape, out_channels, bias, generator, dtype)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv1d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class Conv2d(Weighted):
    """x (N, in_channels, H, W) -> (N, out_channels, P, Q), see functional.conv2d."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Pair, stride: Pair = 1,
        padding: Pair | str = 0, dilation: Pair = 1, groups: int = 1, bias: bool = True, *,
        generator: np.random.Generator, dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        share("out_channels", out_channels, groups)
        shape = (
            out_channels,
            share("in_channels", in_channels, groups),
            *sizes("kernel_size", kernel_size, 2),
        )
        super().__init__(shape, out_channels, bias, generator, dtype)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class ConvTranspose1d(Weighted):
    """x (N, in_channels, P) -> (N, out_channels, L), see functional.conv_transpose1d."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Single, stride: Single = 1,
        padding: Single = 0, output_padding: Single = 0, groups: int = 1, bias: bool = True,
        dilation: Single = 1, *, generator: np.random.Generator, dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        share("in_channels", in_channels, groups)
        shape = (
            in_channels,
            share("out_channels", out_channels, groups),
            *sizes("kernel_size", kernel_size, 1),
        )
        super().__init__(shape, out_channels, bias, generator, dtype)
        self.stride, self.padding, self.output_padding = stride, padding, output_padding
        self.groups, self.dilation = groups, dilation

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv_transpose1d(x, self.weight, self.bias, self.stride, self.padding,
                                           self.output_padding, self.groups, self.dilation)  # fmt: skip


class ConvTranspose2d(Weighted):
    """x (N, in_channels, P, Q) -> (N, out_channels, H, W), see functional.conv_transpose2d."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Pair, stride: Pair = 1,
        padding: Pair = 0, output_padding: Pair = 0, groups: int = 1, bias: bool = True,
        dilation: Pair = 1, *, generator: np.random.Generator, dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        share("in_channels", in_channels, groups)
        shape = (
            in_channels,
            share("out_channels", out_channels, groups),
            *sizes("kernel_size", kernel_size, 2),
        )
        super().__init__(shape, out_channels, bias, generator, dtype)
        self.stride, self.padding, self.output_padding = stride, padding, output_padding
        self.groups, self.dilation = groups, dilation

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv_transpose2d(x, self.weight, self.bias, self.stride, self.padding,
                                           self.output_padding, self.groups, self.dilation)  # fmt: skip
