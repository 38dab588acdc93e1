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
        self.inverse = sorted(range(x.ndim), key=[d % x.ndim for d in self.dims].__getitem__)
        return x.transpose(self.dims)

    def backward(self, g: Array) -> Array:
        return g.transpose(self.inverse)


@op("expand")
@dataclass(eq=False)
class Expand(Function):
    """A view in which axes of size 1 have the sizes of ``target``; -1 leaves a size as it is."""

    target: Shape

    def shape(self, x: Shape) -> Shape:
        lead = len(self.target) - len(x)
        if lead < 0 or -1 in self.target[:lead]:
            raise self.refuse("the target has fewer axes, or -1 for a new one", x, self.target)
        whole = (1,) * lead + x
        self.sizes = tuple(n if size == -1 else size for n, size in zip(whole, self.target))
        if any(n not in (1, size) or size < 0 for n, size in zip(whole, self.sizes)):
            raise self.refuse("only axes of size 1 can be expanded", x, self.target)
        return self.sizes

    def forward(self, x: Array) -> Array:
        return self.xp.broadcast_to(x, self.sizes)

    def backward(self, g: Array) -> Array:
        return g  # the engine sums it down


@op("cat")
@dataclass(eq=False)
class Cat(Function):
    """One after the other along ``dim``."""

    dim: int

    def shape(self, *shapes: Shape) -> Shape:
        first = shapes[0]
        if not -len(first) <= self.dim < len(first):
            raise self.refuse(f"there is no axis {self.dim}", first)
        self.at = self.dim % len(first)
        for other in shapes[1:]:
            if other[: self.at] + other[self.at + 1 :] != first[: self.at] + first[self.at + 1 :]:
                raise self.refuse(f"sizes differ, other than along axis {self.dim}", first, other)
            if len(other) != len(first):
                raise self.refuse("as many axes are needed", first, other)
        self.sizes = [shape[self.at] for shape in shapes]
        return (*first[: self.at], sum(self.sizes), *first[self.at + 1 :])

    def forward(self, *arrays: Array) -> Array:
        return self.xp.concatenate(arrays, axis=self.at)

    def backward(self, g: Array) -> tuple[Array, ...]:
        ends = [sum(self.sizes[: i + 1]) for i in range(len(self.sizes))]
        before = (slice(None),) * self.at
        return tuple(g[before + (slice(end - n, end),)] for n, end in zip(self.sizes, ends))


@op("pad")
@dataclass(eq=False)
class Pad(Function):
    """``value`` around x: widths[i] = (before, after) for axis i."""

    widths: tuple[tuple[int, int], ...]
    value: float = 0

    def shape(self, x: Shape) -> Shape:
        if len(self.widths) != len(x):
            raise self.refuse(f"pad widths for {len(self.widths)} axes", x)
        if any(n < 0 for pair in self.widths for n in pair):
            raise ValueError(f"pad: widths {self.widths} must not be negative; slice the tensor instead")
        return tuple(n + before + after for n, (before, after) in zip(x, self.widths))

    def forward(self, x: Array) -> Array:
        sizes = tuple(n + before + after for n, (before, after) in zip(x.shape, self.widths))
        self.inner = tuple(slice(before, before + n) for n, (before, _) in zip(x.shape, self.widths))
        y = self.xp.full(sizes, self.value, x.dtype)
        y[self.inner] = x
        return y

    def backward(self, g: Array) -> Array:
        return g[self.inner]


@dataclass(eq=False)
class Triangle(Function):
    """Zero on one side of a diagonal of the last two axes."""

    diagonal: int = 0

    def shape(self, x: Shape) -> Shape:
        if len(x) < 2:
            raise self.refuse("at least 2 axes are needed", x)
        return x


@op("tril")
class Tril(Triangle):
    def forward(self, x: Array) -> Array:
        return self.xp.tril(x, self.diagonal)

    def backward(self, g: Array) -> Array:
        return self.xp.tril(g, self.diagonal)


@op("triu")
class Triu(Triangle):
    def forward(self, x: Array) -> Array:
        return self.xp.triu(x, self.diagonal)

    def backward(self, g: Array) -> Array:
        return self.xp.triu(g, self.diagonal)
