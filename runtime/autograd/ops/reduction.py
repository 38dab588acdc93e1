"""Sums and means over axes."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, prod

from ringleader.runtime.autograd.op import Array, Function, Shape, op


@dataclass(eq=False)
class Reduction(Function):
    """Over ``axis`` (None: all axes), which ``keepdims`` leaves with size 1."""

    axis: int | tuple[int, ...] | None = None
    keepdims: bool = False

    def shape(self, x: Shape) -> Shape:
        wanted = (
            range(len(x)) if self.axis is None else self.axis if isinstance(self.axis, tuple) else [self.axis]
        )
        if any(not -len(x) <= a < len(x) for a in wanted) or len({a % len(x) for a in wanted}) < len(wanted):
            raise self.refuse(f"axis {self.axis} is out of range or twice there", x)
        axes = {a % len(x) for a in wanted}
        self.source, self.kept = x, tuple(1 if i in axes else size for i, size in enumerate(x))
        self.count = prod(x[a] for a in axes)
        return self.kept if self.keepdims else tuple(size for i, size in enumerate(x) if i not in axes)

    def spread(self, g: Array) -> Array:
        return self.xp.broadcast_to(g.reshape(self.kept), self.source)


@op("sum")
class Sum(Reduction):
    def forward(self, x: Array) -> Array:
        return x.sum(axis=self.axis, keepdims=self.keepdims)

    def backward(self, g: Array) -> Array:
        return self.spread(g)


@op("mean")
class Mean(Reduction):
    """The mean of no elements is NaN, as in numpy, but without its warning."""

    def forward(self, x: Array) -> Array:
        self.share = 1 / self.count if self.count else nan
        return x.sum(axis=self.axis, keepdims=self.keepdims) * x.dtype.type(self.share)

    def backward(self, g: Array) -> Array:
        return self.spread(g * self.share)
