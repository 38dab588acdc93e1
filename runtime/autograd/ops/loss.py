"""Losses. ``reduction``: "mean", "sum", or "none" for the loss of each element."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from ringleader.runtime.autograd.op import Array, Function, Shape, op, to_host
from ringleader.runtime.autograd.ops.activation import sigmoid
from ringleader.runtime.autograd.ops.softmax import largest

REDUCTIONS = ("mean", "sum", "none")


def check_reduction(name: str, reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"{name}: unknown reduction {reduction!r}; known: {', '.join(REDUCTIONS)}")


@dataclass(eq=False)
class ClassLoss(Function):
    """x (N, C, d1, ...) or (C,), integer ``target`` of the same shape without C.

    Where the target is ``ignore_index``, there is neither loss nor gradient. ``weight`` (C,) multiplies the
    loss by the weight of the target's class, and "mean" divides by the sum of these weights: NaN where there
    is nothing to divide by, as in PyTorch; the gradient is 0 then.
    """

    target: Array
    weight: Array | None = None
    ignore_index: int = -100
    reduction: str = "mean"

    def shape(self, x: Shape) -> Shape:
        check_reduction(self.name, self.reduction)
        self.axis = 0 if len(x) == 1 else 1
        wanted = x[: self.axis] + x[self.axis + 1 :]
        if not x or self.target.shape != wanted or x[self.axis] == 0:
            raise self.refuse("input must be (N, C, ...) and target (N, ...)", x, self.target.shape)
        if self.target.dtype.kind not in "iu":
            raise TypeError(f"{self.name}: target must be integers, not {self.target.dtype}")
        classes = x[self.axis]
        if self.weight is not None and self.weight.shape != (classes,):
            raise self.refuse(f"weight must be ({classes},)", x, self.weight.shape)
        self.counts = self.target != self.ignore_index
        self.label = self.xp.where(self.counts, self.target, 0)  # any class will do for what does not count
        wrong = self.label[(self.label < 0) | (self.label >= classes)]
        if wrong.size:
            raise ValueError(
                f"{self.name}: target {wrong[0]} is not one of the {classes} classes 0..{classes - 1}"
            )
        return wanted if self.reduction == "none" else ()

    def weigh(self, dtype: DTypeLike) -> None:
        """Sets the losses' weights (N, ...), and their share in the result."""
        self.weights = self.counts.astype(dtype)
        if self.weight is not None:
            self.weights *= self.weight[self.label]
        self.share_out(self.weights.sum(), dtype)
        ones, sizes = (1,) * self.label.ndim, self.label.shape
        grid = [self.xp.arange(n).reshape(*ones[:i], n, *ones[i + 1 :]) for i, n in enumerate(sizes)]
        self.at_label = (*grid[: self.axis], self.label, *grid[self.axis :])  # x[at_label]: (N, ...)

    def share_out(self, total: Any, dtype: DTypeLike) -> None:
        """Sets the share of a loss in the result; ``total`` is the sum of the weights."""
        total = to_host(total) if self.reduction == "mean" else 1
        self.share = np.dtype(dtype).type(1 / total if total else 0)

    def reduce(self, losses: Array) -> Array:
        if self.reduction == "none":
            return losses
        return losses.sum() * (self.share or losses.dtype.type(nan))


@op("nll_loss")
class NLLLoss(ClassLoss):
    """-x[target], x being log probabilities."""

    def forward(self, x: Array) -> Array:
        self.weigh(x.dtype)
        self.like = x
        return self.reduce(-self.weights * x[self.at_label])

    def backward(self, g: Array) -> Array:
        dx = self.xp.zeros_like(self.like)
        dx[self.at_label] = -self.weights * (g * self.share)
        return dx


@op("cross_entropy")
@dataclass(eq=False)
class CrossEntropy(ClassLoss):
    """-log softmax(x)[target] in one op: with p = softmax(x), its gradient is p - onehot(target).

    ``label_smoothing`` e puts (1 - e) onehot(target) + e / C in the place of onehot(target) (Szegedy,
    Vanhoucke, Ioffe, Shlens, Wojna 2016, section 7), the second part times the ``weight`` of each class.
    """

    label_smoothing: float = 0.0

    def shape(self, x: Shape) -> Shape:
        if not 0 <= self.label_smoothing <= 1:
            raise ValueError(f"cross_entropy: label_smoothing must be in 0..1, it is {self.label_smoothing}")
        return super().shape(x)

    def forward(self, x: Array) -> Array:
        self.weigh(x.dtype)
        z = x - largest(self.xp, x, self.axis)  # (N, C, ...): exp cannot overflow
        at_label, self.smooth = z[self.at_label], self._smooth(x)
        smoothed = None if self.smooth is None else (z * self.smooth).sum(axis=self.axis)
        self.probability = self.xp.exp(z, out=z)
        total = self.probability.sum(axis=self.axis, keepdims=True)
        self.probability /= total
        log_total = self.xp.log(total.squeeze(self.axis))  # -log p = log_total - z
        self.onehot = self.weights * (1 - self.label_smoothing)
        losses = self.onehot * (log_total - at_label)
        if self.smooth is not None:
            losses += self.counts * (self.smooth.sum() * log_total - smoothed)
        return self.reduce(losses)

    def _smooth(self, x: Array) -> Array | None:
        """What smoothing puts on each class, (C, 1, ...) to broadcast with x; None: nothing."""
        if not self.label_smoothing:
            return None
        classes = x.shape[self.axis]
        weight = self.xp.ones(classes) if self.weight is None else self.weight
        ones = (1 for _ in x.shape[self.axis + 1 :])
        return (weight * (self.label_smoothing / classes)).astype(x.dtype).reshape(classes, *ones)

    def backward(self, g: Array) -> Array:
        g = g * self.share
        target, total = self.onehot * g, self.onehot * g  # what the target gets, and all classes together
        if self.smooth is not None:
            total = total + self.smooth.sum() * self.counts * g
        dx = self.probability * self.xp.expand_dims(total, self.axis)
        dx[self.at_label] -= target
        if self.smooth is not None:
            dx -= self.smooth * self.xp.expand_dims(self.counts * g, self.axis)
        return dx


@dataclass(eq=False)
class PairLoss(Function):
    """A loss of x and target of one shape, element by element. Both may need a gradient."""

    reduction: str = "mean"

    def shape(self, x: Shape, target: Shape) -> Shape:
        check_reduction(self.name, self.reduction)
        if x != target:
            raise self.refuse("input and target must have the same shape", x, target)
        return x if self.reduction == "none" else ()

    def reduce(self, losses: Array) -> Array:
        """The mean of no elements is NaN."""
        self.share = 1.0 if self.reduction != "mean" else 1 / losses.size if losses.size else nan
        return losses if self.reduction == "none" else losses.sum() * losses.dtype.type(self.share)


class DifferenceLoss(PairLoss):
    """A function of the difference d of x and target."""

    def loss(self, d: Array) -> Array:
        raise NotImplementedError

    def slope(self, d: Array) -> Array:
        raise NotImplementedError

    def forward(self, x: Array, target: Array) -> Array:
        self.d = x - target
        return self.reduce(self.loss(self.d))

    def backward(self, g: Array) -> tuple[Array, Array | None]:
        dx = self.slope(self.d) * (g * self.share)
        return dx, -dx if self.needs[1] else None


@op("mse_loss")
class MSELoss(DifferenceLoss):
    """d^2."""

    def loss(self, d: Array) -> Array:
        return d * d

    def slope(self, d: Array) -> Array:
        return 2 * d


@op("l1_loss")
class L1Loss(DifferenceLoss):
    """|d|. The gradient at 0 is 0."""

    def loss(self, d: Array) -> Array:
        return self.xp.abs(d)

    def slope(self, d: Array) -> Array:
        return self.xp.sign(d)


@op("huber_loss")
@dataclass(eq=False)
class HuberLoss(DifferenceLoss):
    """d^2 / 2 up to |d| = delta, from there on the tangent delta (|d| - delta / 2) (Huber 1964)."""

    delta: float = 1.0

    def shape(self, x: Shape, target: Shape) -> Shape:
        if self.delta <= 0:
            raise ValueError(f"huber_loss: delta must be positive, it is {self.delta}")
        return super().shape(x, target)

    def loss(self, d: Array) -> Array:
        size = self.xp.abs(d)
        curved = self.xp.minimum(size, self.delta)
        return curved * (size - 0.5 * curved)

    def slope(self, d: Array) -> Array:
        return self.xp.clip(d, -self.delta, self.delta)


@op("binary_cross_entropy_with_logits")
@dataclass(eq=False)
class BinaryCrossEntropyWithLogits(PairLoss):
    """-t log p - (1 - t) log(1 - p), p = sigmoid(x), as (1 - t) x + log(1 + exp(-x)), which is exact for
    any x. ``pos_weight`` w, which broadcasts with x, stands before the first term:
    (1 - t) x + (1 + (w - 1) t) log(1 + exp(-x)). ``weight`` multiplies the loss.
    """

    weight: Array | None = None
    pos_weight: Array | None = None

    def shape(self, x: Shape, target: Shape) -> Shape:
        for name, array in (("weight", self.weight), ("pos_weight", self.pos_weight)):
            if array is not None and not _broadcasts(array.shape, x):
                raise self.refuse(f"{name} must broadcast to the input", x, array.shape)
        return super().shape(x, target)

    def forward(self, x: Array, target: Array) -> Array:
        one = x.dtype.type(1)
        self.x, self.target = x, target
        self.more = one * 0 if self.pos_weight is None else self.pos_weight.astype(x.dtype) - one
        self.factor = one if self.weight is None else self.weight.astype(x.dtype)
        self.soft = self.xp.log1p(self.xp.exp(-self.xp.abs(x))) - self.xp.minimum(x, 0)  # log(1 + exp(-x))
        return self.reduce(self.factor * ((1 - target) * x + (1 + self.more * target) * self.soft))

    def backward(self, g: Array) -> tuple[Array | None, Array | None]:
        g, dx, dt = g * self.share * self.factor, None, None
        if self.needs[0]:
            dx = g * (1 - self.target - (1 + self.more * self.target) * sigmoid(self.xp, -self.x))
        if self.needs[1]:
            dt = g * (self.more * self.soft - self.x)
        return dx, dt


def _broadcasts(small: Shape, large: Shape) -> bool:
    matching = zip(reversed(small), reversed(large))
    return len(small) <= len(large) and all(a in (1, b) for a, b in matching)
