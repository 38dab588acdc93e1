"""Ops that move elements without changing them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from ringleader.runtime.autograd.op import Array, Function, Shape, op


@op("reshape")
@dataclass(eq=False)
class Reshape(Function):
    """To ``target``, in C order; one of its sizes may be -1."""

    target: Shape

    def shape(self, x: Shape) -> Shape:
        self.source, unknown = x, self.target.count(-1)
        rest = prod(size for size in self.target if size != -1)
        count = prod(x)
        fits = count == rest if unknown == 0 else unknown == 1 and rest > 0 and count % rest == 0
        if not fits or min(self.target, default=0) < -1:
            raise self.refuse("sizes do not match, or are not determined", x, self.target)
        return tuple(count // rest if size == -1 else size for size in self.target)

    def forward(self, x: Array) -> Array:
        return x.reshape(self.target)

    def backward(self, g: Array) -> Array:
        return g.reshape(self.source)


@op("permute")
@dataclass(eq=False)
class Permute(Function):
    """Axis ``i`` of the output is axis ``dims[i]`` of the input."""

    dims: Shape

    def shape(self, x: Shape) -> Shape:
        if sorted(d % len(x) if x else d for d in self.dims) != list(range(len(x))):
            raise self.refuse(f"dims {self.dims} are not an order of its {len(x)} axes", x)
        return tuple(x[d] for d in self.dims)

    def forward(self, x: Array) -> Array:
        self.inverse = self.xp.argsort([d % x.ndim for d in self.dims])
        return x.transpose(self.dims)

    def backward(self, g: Array) -> Array:
        return g.transpose(self.inverse)
