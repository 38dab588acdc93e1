"""Reading and writing at places given by indices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from ringleader.runtime.autograd.op import Array, Function, Shape, moved, op, to_host


def is_basic(index: Any) -> bool:
    """Integers, slices, None and ... only: numpy gives a view, and no element twice."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        part is None or part is ... or (isinstance(part, slice | int | np.integer) and type(part) is not bool)
        for part in parts
    )


def arrays_of(index: Any, change: Callable[[Array], Array]) -> Any:
    """An index with ``change`` applied to the arrays in it."""
    if isinstance(index, tuple):
        return tuple(arrays_of(part, change) for part in index)
    return change(index) if hasattr(index, "strides") else index


def copied(index: Any) -> Any:
    """An index that stays the same if the caller changes the arrays in it."""
    return arrays_of(index, lambda array: array.copy())


@dataclass(eq=False)
class Indexed(Function):
    index: Any

    def on_device(self) -> Any:
        """The index, its arrays on the device."""
        return self.index if self.xp is np else arrays_of(self.index, lambda array: moved(array, self.xp))

    def indexed_axes(self, x: Shape) -> int:
        """So many leading axes are touched by the index; those behind them stay as they are."""
        parts = self.index if isinstance(self.index, tuple) else (self.index,)
        if any(part is ... for part in parts):
            return len(x)
        arrays = [
            part if hasattr(part, "ndim") else np.asarray(part)
            for part in parts if part is not None and not isinstance(part, slice)
        ]  # fmt: skip
        return sum(isinstance(part, slice) for part in parts) + sum(
            a.ndim if a.dtype.kind == "b" else 1 for a in arrays
        )

    def place_shape(self, x: Shape) -> Shape:
        """Of x[index]. Tried out on the touched axes of a stand-in that takes no memory."""
        touched = self.indexed_axes(x)
        standin = np.broadcast_to(np.False_, x[:touched])
        try:
            return (*standin[arrays_of(self.index, to_host)].shape, *x[touched:])
        except IndexError as error:
            raise IndexError(f"{self.name}: shape {x}: {error}") from None


@op("getitem")
@dataclass(eq=False)
class GetItem(Indexed):
    """x[index]."""

    def shape(self, x: Shape) -> Shape:
        self.source = x
        return self.place_shape(x)

    def forward(self, x: Array) -> Array:
        self.index = self.on_device()
        y = x[self.index]
        if self.needs[0]:
            self.index = copied(self.index)
        return y

    def backward(self, g: Array) -> Array:
        dx = self.xp.zeros(self.source, g.dtype)
        if is_basic(self.index) or (hasattr(self.index, "dtype") and self.index.dtype.kind == "b"):
            dx[self.index] = g  # no element twice
        else:
            self.xp.add.at(dx, self.index, g)
        return dx


@op("setitem")
@dataclass(eq=False)
class SetItem(Indexed):
    """x with x[index] = value. Where a position is there twice, the last value counts, and gets the gradient."""

    def shape(self, x: Shape, value: Shape) -> Shape:
        self.place = self.place_shape(x)
        try:
            fits = np.broadcast_shapes(self.place, value) == self.place
        except ValueError:
            fits = False
        if not fits:
            raise self.refuse("the value does not broadcast to the place", self.place, value)
        return x

    def forward(self, x: Array, value: Array) -> Array:
        self.index, y = self.on_device(), x.copy()
        y[self.index] = value
        if True in self.needs:
            self.index = copied(self.index)
        return y

    def backward(self, g: Array) -> tuple[Array | None, Array | None]:
        dx = dvalue = None
        if self.needs[0]:
            dx = g.copy()
            dx[self.index] = 0
        if self.needs[1]:
            dvalue = g[self.index]
            if not is_basic(self.index):
                dvalue = dvalue * self.written(g)
        return dx, dvalue

    def written(self, x: Array) -> Array:
        """1 for the places whose value is the last one written to its position, else 0."""
        counter = self.xp.arange(prod(self.place)).reshape(self.place)
        last = self.xp.zeros(x.shape, counter.dtype)
        last[self.index] = counter
        return last[self.index] == counter


@op("gather")
@dataclass(eq=False)
class Gather(Function):
    """out[i, j, ...] = x[index[i, j, ...], j, ...] for dim 0, and so on."""

    index: Any  # integer array
    dim: int

    def shape(self, x: Shape) -> Shape:
        index = self.index
        if index.dtype.kind not in "iu":
            raise TypeError(f"gather: index must be integers, not {index.dtype}")
        larger = any(n > m for i, (n, m) in enumerate(zip(index.shape, x)) if i != self.dim)
        if index.ndim != len(x) or larger:
            raise self.refuse(f"the index must have its axes, none larger but {self.dim}", x, index.shape)
        wrong = index[(index < -x[self.dim]) | (index >= x[self.dim])] if index.size else index
        if wrong.size:
            raise IndexError(
                f"gather: index {wrong.reshape(-1)[0]} is out of range for axis {self.dim} of shape {x}"
            )
        self.source = x
        shape: Shape = index.shape
        return shape

    def places(self) -> tuple[Array, ...]:
        """The index for each axis: ``index`` along dim, elsewhere the element's own place."""
        grid = list(self.xp.ogrid[tuple(slice(n) for n in self.index.shape)])
        grid[self.dim] = self.index
        return tuple(grid)

    def forward(self, x: Array) -> Array:
        if self.needs[0]:
            self.index = self.index.copy()
        return x[self.places()]

    def backward(self, g: Array) -> Array:
        dx = self.xp.zeros(self.source, g.dtype)
        self.xp.add.at(dx, self.places(), g)
        return dx
