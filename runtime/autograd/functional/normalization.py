"""Normalisation."""

from __future__ import annotations

import numpy as np
from ringleader.runtime.autograd.op import Array, Shape
from ringleader.runtime.autograd.tensor import Tensor, apply


def layer_norm(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """(x - mean) / sqrt(variance + eps) * weight + bias, mean and variance over the last axes.

    x (..., *normalized_shape); weight and bias of ``normalized_shape``. ShapeError.
    """
    options = {"normalized_shape": tuple(normalized_shape), "eps": eps}
    return apply("layer_norm", x, *_parameters("layer_norm", weight, bias), **options)


def rms_norm(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight, the mean over the last axes, of sizes ``normalized_shape``.

    ``eps``: the dtype's epsilon if not given. ShapeError.
    """
    small = float(np.finfo(x.dtype).eps) if eps is None else eps
    options = {"normalized_shape": tuple(normalized_shape), "eps": small}
    return apply("rms_norm", x, *_parameters("rms_norm", weight, None), **options)


def batch_norm(
    x: Tensor, running_mean: Array | None, running_var: Array | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """(x - mean) / sqrt(variance + eps) * weight + bias for each channel; x (N, C, ...), the others (C,).

    In ``training``, mean and variance are the batch's, and the running ones, where given, move towards them
    in place by ``momentum``, the variance towards n / (n - 1) times the batch's; otherwise they are the
    running ones. ShapeError: shapes, or one value a channel in training. ValueError: nothing running where
    it is needed.
    """
    return apply("batch_norm", x, *_parameters("batch_norm", weight, bias), running_mean=running_mean,
                 running_var=running_var, training=training, momentum=momentum, eps=eps)  # fmt: skip


def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias, mean and variance of each image's groups of
    C / num_groups channels; x (N, C, ...), weight and bias (C,). ShapeError."""
    return apply("group_norm", x, *_parameters("group_norm", weight, bias), num_groups=num_groups, eps=eps)


def _parameters(name: str, weight: Tensor | None, bias: Tensor | None) -> list[Tensor]:
    if weight is None and bias is not None:
        raise ValueError(f"{name}: a bias needs a weight with it")
    return [parameter for parameter in (weight, bias) if parameter is not None]
