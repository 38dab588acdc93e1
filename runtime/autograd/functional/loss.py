"""Losses. ``reduction`` is "mean", "sum", or "none" for the loss of each element; ValueError if another.

The mean of no elements is NaN, the sum 0.
"""

from __future__ import annotations

import numpy as np
from ringleader.runtime.autograd.op import Array, to_host
from ringleader.runtime.autograd.tensor import Tensor, apply

Target = Array | Tensor


def cross_entropy(
    x: Tensor, target: Target, weight: Target | None = None, *, ignore_index: int = -100,
    reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """-log softmax(x)[target]: logits x (N, C, d1, ...) or (C,), integer target (N, d1, ...) or ().

    ``weight`` (C,), a constant, multiplies the loss by the weight of the target's class. Where the target is
    ``ignore_index``, there is neither loss nor gradient. "mean" divides by the sum of the weights of the
    targets that count: NaN if all are ignored, as in PyTorch. ``label_smoothing`` e: the wanted distribution
    is e / C everywhere and 1 - e more at the target. ShapeError; ValueError: a target that is no class;
    TypeError: targets that are not integers.
    """
    return apply("cross_entropy", x, target=x.beside(target), weight=_constant(weight, x),
                 ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing)  # fmt: skip


def nll_loss(
    x: Tensor, target: Target, weight: Target | None = None, *, ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """-x[target]: log probabilities x, the rest as in cross_entropy."""
    return apply("nll_loss", x, target=x.beside(target), weight=_constant(weight, x), ignore_index=ignore_index,
                 reduction=reduction)  # fmt: skip


def binary_cross_entropy_with_logits(
    x: Tensor, target: Target, weight: Target | None = None, *, reduction: str = "mean",
    pos_weight: Target | None = None,
) -> Tensor:  # fmt: skip
    """-pos_weight t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)), x and t of one shape, t in 0..1.

    ``weight`` of the elements' losses, ``pos_weight``: constants that broadcast with x. ShapeError.
    """
    return apply("binary_cross_entropy_with_logits", x, _tensor(target, x), weight=_constant(weight, x),
                 pos_weight=_constant(pos_weight, x), reduction=reduction)  # fmt: skip


def mse_loss(x: Tensor, target: Target, *, reduction: str = "mean") -> Tensor:
    """(x - target)^2. ShapeError: they do not have the same shape (nothing is broadcast)."""
    return apply("mse_loss", x, _tensor(target, x), reduction=reduction)


def l1_loss(x: Tensor, target: Target, *, reduction: str = "mean") -> Tensor:
    """|x - target|. ShapeError."""
    return apply("l1_loss", x, _tensor(target, x), reduction=reduction)


def huber_loss(x: Tensor, target: Target, *, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """(x - target)^2 / 2 up to a difference of delta, from there on its tangent. ShapeError."""
    return apply("huber_loss", x, _tensor(target, x), reduction=reduction, delta=delta)


def smooth_l1_loss(x: Tensor, target: Target, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """huber_loss / beta: |x - target| - beta / 2 from a difference of beta on (Girshick 2015)."""
    return huber_loss(x, target, reduction=reduction, delta=beta) / beta


def _constant(weight: Target | None, x: Tensor) -> Array | None:
    return None if weight is None else x.beside(weight)


def _tensor(target: Target, like: Tensor) -> Tensor:
    """An array becomes a tensor with the dtype and the device of ``like``."""
    if isinstance(target, Tensor):
        return target
    return Tensor(np.asarray(to_host(target), like.dtype), device=like.device)
