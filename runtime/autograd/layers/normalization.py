"""Normalisation layers. Weights start as ones, biases as zeros: nothing is drawn."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike
from ringleader.runtime.autograd import functional
from ringleader.runtime.autograd.module import Module, Parameter
from ringleader.runtime.autograd.op import Array, ShapeError
from ringleader.runtime.autograd.tensor import Tensor

Shape = int | tuple[int, ...]


def ones(wanted: bool, shape: tuple[int, ...], dtype: DTypeLike) -> Parameter | None:
    return Parameter(np.ones(shape, dtype)) if wanted else None


def zeros(wanted: bool, shape: tuple[int, ...], dtype: DTypeLike) -> Parameter | None:
    return Parameter(np.zeros(shape, dtype)) if wanted else None


class LayerNorm(Module):
    """Over the last axes of x (..., *normalized_shape), see functional.layer_norm."""

    def __init__(
        self, normalized_shape: Shape, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True, *,
        dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps = shape, eps
        self.weight = ones(elementwise_affine, shape, dtype)
        self.bias = zeros(elementwise_affine and bias, shape, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(Module):
    """Over the last axes of x (..., *normalized_shape), see functional.rms_norm."""

    def __init__(
        self, normalized_shape: Shape, eps: float | None = None, elementwise_affine: bool = True, *,
        dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps = shape, eps
        self.weight = ones(elementwise_affine, shape, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.normalized_shape, self.weight, self.eps)


class GroupNorm(Module):
    """Over groups of the channels of x (N, num_channels, ...), see functional.group_norm."""

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, *,
        dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(f"num_channels {num_channels} must be a multiple of num_groups {num_groups}")
        self.num_groups, self.eps = num_groups, eps
        self.weight = ones(affine, (num_channels,), dtype)
        self.bias = zeros(affine, (num_channels,), dtype)

    def forward(self, x: Tensor) -> Tensor:
        return functional.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class BatchNorm(Module):
    """Over all of x but its channels, see functional.batch_norm.

    Buffers as in PyTorch: running_mean, running_var, and num_batches_tracked, which counts the batches in
    training. ``momentum`` None: the running statistics are the plain mean of all batches'. Without
    ``track_running_stats`` there are no buffers, and the batch's statistics are used in evaluation too.
    """

    ranks: ClassVar[dict[int, str]]
    running_mean: Array | None
    running_var: Array | None
    num_batches_tracked: Array | None

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, *, dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        self.eps, self.momentum, shape = eps, momentum, (num_features,)
        self.weight, self.bias = ones(affine, shape, dtype), zeros(affine, shape, dtype)
        self.track_running_stats = track_running_stats
        self.register_buffer("running_mean", np.zeros(shape, dtype) if track_running_stats else None)
        self.register_buffer("running_var", np.ones(shape, dtype) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if track_running_stats else None)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim not in self.ranks:
            raise ShapeError(
                f"{type(self).__name__}: shape {x.shape}: must be {' or '.join(self.ranks.values())}"
            )
        momentum = 0.0 if self.momentum is None else self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            if self.momentum is None:
                momentum = 1 / int(self.num_batches_tracked)
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or not self.track_running_stats, momentum, self.eps,
        )  # fmt: skip


class BatchNorm1d(BatchNorm):
    ranks: ClassVar[dict[int, str]] = {2: "(N, C)", 3: "(N, C, L)"}


class BatchNorm2d(BatchNorm):
    ranks: ClassVar[dict[int, str]] = {4: "(N, C, H, W)"}
