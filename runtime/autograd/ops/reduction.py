"""Sums and means over axes."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan, prod

import numpy as np
from ringleader.runtime.autograd.op import Array, Function, Shape, op
from ringleader.runtime.autograd.ops.softmax import largest


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
        self.axes, self.count = axes, prod(x[a] for a in axes)
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


class Extremum(Reduction):
    """Equal extrema share the gradient."""

    def shape(self, x: Shape) -> Shape:
        out = super().shape(x)
        if self.count == 0:
            raise self.refuse(f"there are no elements over axis {self.axis}", x)
        return out

    def extreme(self, x: Array, name: str) -> Array:
        """``name``: max or min. Of no results, which CuPy's refuse, there are none."""
        y: Array = getattr(x, name if x.size else "sum")(axis=self.axis, keepdims=self.keepdims)
        if self.needs[0]:
            self.found = x == y.reshape(self.kept)
        return y

    def backward(self, g: Array) -> Array:
        number = self.found.sum(axis=self.axis, keepdims=True, dtype=g.dtype)
        return self.found * (g.reshape(self.kept) / number.reshape(self.kept))


@op("amax")
class Amax(Extremum):
    def forward(self, x: Array) -> Array:
        return self.extreme(x, "max")


@op("amin")
class Amin(Extremum):
    def forward(self, x: Array) -> Array:
        return self.extreme(x, "min")


@op("prod")
class Prod(Reduction):
    def forward(self, x: Array) -> Array:
        self.x: Array = x if self.needs[0] else None
        return x.prod(axis=self.axis, keepdims=self.keepdims)

    def backward(self, g: Array) -> Array:
        """Each element's gradient is the product of those before and after it: right for zeros, too."""
        order = sorted(range(len(self.source)), key=lambda axis: axis in self.axes)
        moved = self.x.transpose(order)
        rows = moved.reshape(-1, self.count) if self.count else moved.reshape(0, 1)
        others = self.xp.ones_like(rows)
        others[:, 1:] = self.xp.cumprod(rows[:, :-1], axis=1)
        others[:, :-1] *= self.xp.cumprod(rows[:, :0:-1], axis=1)[:, ::-1]
        inverse = sorted(range(len(order)), key=order.__getitem__)
        return g.reshape(self.kept) * others.reshape(moved.shape).transpose(inverse)


@dataclass(eq=False)
class Spread(Reduction):
    correction: int = 1

    def variance(self, x: Array) -> Array:
        left = self.count - self.correction
        self.share = 1 / left if left > 0 else inf
        mean = x.sum(axis=self.axis, keepdims=True) * x.dtype.type(1 / self.count if self.count else nan)
        self.distance = x - mean
        square = self.distance * self.distance
        with np.errstate(invalid="ignore"):  # 0 * inf
            return square.sum(axis=self.axis, keepdims=self.keepdims) * x.dtype.type(self.share)


@op("var")
class Var(Spread):
    """The sum of squared distances from the mean, divided by count - correction; inf or NaN if that is not > 0."""

    def forward(self, x: Array) -> Array:
        return self.variance(x)

    def backward(self, g: Array) -> Array:
        return g.reshape(self.kept) * (2 * self.share) * self.distance


@op("std")
class Std(Spread):
    """The root of var. Its gradient at 0 is 0."""

    def forward(self, x: Array) -> Array:
        self.y = self.xp.sqrt(self.variance(x))
        return self.y

    def backward(self, g: Array) -> Array:
        slope = self.xp.where(self.y == 0, 0, g / self.xp.where(self.y == 0, 1, self.y))
        return slope.reshape(self.kept) * self.share * self.distance


@op("norm")
class Norm(Reduction):
    """The root of the sum of squares. Its gradient at 0 is 0."""

    def forward(self, x: Array) -> Array:
        self.x, self.y = x, self.xp.sqrt((x * x).sum(axis=self.axis, keepdims=self.keepdims))
        return self.y

    def backward(self, g: Array) -> Array:
        y = self.xp.where(self.y == 0, 1, self.y)
        return (g / y).reshape(self.kept) * self.x


@op("logsumexp")
class LogSumExp(Reduction):
    """log(sum(exp(x))), moved by the maximum so that exp cannot overflow; -inf over no elements."""

    def forward(self, x: Array) -> Array:
        top = largest(self.xp, x, self.axis)
        top = self.xp.where(self.xp.isfinite(top), top, x.dtype.type(0))
        share = self.xp.exp(x - top)
        total = share.sum(axis=self.axis, keepdims=True)
        with np.errstate(divide="ignore"):
            y = self.xp.log(total) + top
        self.share = share / self.xp.where(total == 0, 1, total) if self.needs[0] else None
        return y if self.keepdims else y.squeeze(tuple(self.axes))

    def backward(self, g: Array) -> Array:
        return g.reshape(self.kept) * self.share


@op("cumsum")
@dataclass(eq=False)
class Cumsum(Function):
    """Sums of the elements so far, along ``axis``."""

    axis: int

    def shape(self, x: Shape) -> Shape:
        if not -len(x) <= self.axis < len(x):
            raise self.refuse(f"there is no axis {self.axis}", x)
        return x

    def forward(self, x: Array) -> Array:
        return self.xp.cumsum(x, axis=self.axis)

    def backward(self, g: Array) -> Array:
        flipped = self.xp.flip(g, self.axis)
        return self.xp.flip(self.xp.cumsum(flipped, axis=self.axis), self.axis)
