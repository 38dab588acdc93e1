"""Parts of tensors, and tensors joined: what layers of several states and directions need."""

from __future__ import annotations

from dataclasses import dataclass

from ringleader.runtime.autograd.op import Array, Function, Shape, op


@op("rows")
@dataclass(eq=False)
class Rows(Function):
    """x[start:stop]."""

    start: int
    stop: int

    def shape(self, x: Shape) -> Shape:
        if not x or not 0 <= self.start <= self.stop <= x[0]:
            raise self.refuse(f"has no rows {self.start}..{self.stop}", x)
        self.source = x
        return (self.stop - self.start, *x[1:])

    def forward(self, x: Array) -> Array:
        return x[self.start : self.stop]

    def backward(self, g: Array) -> Array:
        dx = self.xp.zeros(self.source, g.dtype)
        dx[self.start : self.stop] = g
        return dx


@op("joined")
@dataclass(eq=False)
class Joined(Function):
    """One after the other along axis ``dim``."""

    dim: int

    def shape(self, *shapes: Shape) -> Shape:
        around = [(*s[: self.dim], *s[self.dim + 1 :]) for s in shapes]
        if any(len(s) <= self.dim for s in shapes) or any(a != around[0] for a in around):
            raise self.refuse(f"sizes differ beside axis {self.dim}, or it is not there", *shapes)
        self.sizes = [s[self.dim] for s in shapes]
        return (*shapes[0][: self.dim], sum(self.sizes), *shapes[0][self.dim + 1 :])

    def forward(self, *arrays: Array) -> Array:
        return self.xp.concatenate(arrays, axis=self.dim)

    def backward(self, g: Array) -> tuple[Array, ...]:
        ends = [sum(self.sizes[: i + 1]) for i in range(len(self.sizes) - 1)]
        return tuple(self.xp.split(g, ends, axis=self.dim))
