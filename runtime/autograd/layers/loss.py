"""Losses as layers: called with logits (or predictions) and targets."""

from __future__ import annotations

from ringleader.runtime.autograd import functional
from ringleader.runtime.autograd.functional.loss import Target
from ringleader.runtime.autograd.module import Module
from ringleader.runtime.autograd.tensor import Tensor


class CrossEntropyLoss(Module):
    """See functional.cross_entropy."""

    def __init__(
        self, weight: Target | None = None, *, ignore_index: int = -100, reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:  # fmt: skip
        self.weight, self.ignore_index = weight, ignore_index
        self.reduction, self.label_smoothing = reduction, label_smoothing

    def forward(self, x: Tensor, target: Target) -> Tensor:
        return functional.cross_entropy(
            x, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )  # fmt: skip


class BCEWithLogitsLoss(Module):
    """See functional.binary_cross_entropy_with_logits."""

    def __init__(
        self, weight: Target | None = None, *, reduction: str = "mean", pos_weight: Target | None = None
    ) -> None:
        self.weight, self.reduction, self.pos_weight = weight, reduction, pos_weight

    def forward(self, x: Tensor, target: Target) -> Tensor:
        return functional.binary_cross_entropy_with_logits(
            x, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


class MSELoss(Module):
    """See functional.mse_loss."""

    def __init__(self, *, reduction: str = "mean") -> None:
        self.reduction = reduction

    def forward(self, x: Tensor, target: Target) -> Tensor:
        return functional.mse_loss(x, target, reduction=self.reduction)
