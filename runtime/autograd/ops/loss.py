"""Losses."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
from ringleader.runtime.autograd.op import Array, Function, Shape, op

REDUCTIONS = ("mean", "sum", "none")


@op("cross_entropy")
@dataclass(eq=False)
class CrossEntropy(Function):
    """-log softmax(x)[target] of x (N, C) and integer ``target`` (N,): (N,) if "none", else a number."""

    target: Array
    reduction: str = "mean"

    def shape(self, x: Shape) -> Shape:
        if self.reduction not in REDUCTIONS:
            raise ValueError(
                f"cross_entropy: unknown reduction {self.reduction!r}; known: {', '.join(REDUCTIONS)}"
            )
        if len(x) != 2 or self.target.shape != x[:1] or x[1] == 0:
            raise self.refuse("input must be (N, C) and target (N,)", x, self.target.shape)
        if self.target.dtype.kind not in "iu":
            raise TypeError(f"cross_entropy: target must be integers, not {self.target.dtype}")
        wrong = self.target[(self.target < 0) | (self.target >= x[1])]
        if wrong.size:
            raise ValueError(
                f"cross_entropy: target {wrong[0]} is not one of the {x[1]} classes 0..{x[1] - 1}"
            )
        return x[:1] if self.reduction == "none" else ()

    def forward(self, x: Array) -> Array:
        z = x - x.max(axis=1, keepdims=True)  # (N, C): exp cannot overflow
        self.rows, self.probability = np.arange(len(x)), np.exp(z)
        total = self.probability.sum(axis=1, keepdims=True)  # (N, 1)
        losses: Array = np.log(total[:, 0]) - z[self.rows, self.target]
        self.probability /= total
        if self.reduction == "none":
            return losses
        self.share = 1.0 if self.reduction == "sum" else 1 / len(x) if len(x) else nan
        return losses.sum() * x.dtype.type(self.share)

    def backward(self, g: Array) -> Array:
        dx = self.probability.copy()
        dx[self.rows, self.target] -= 1
        dx *= g[:, None] if self.reduction == "none" else g * self.share
        return dx
