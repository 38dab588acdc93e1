"""Methods that move elements without changing them. Names, argument order and meaning are PyTorch's."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ringleader.runtime.autograd.apply import apply
from ringleader.runtime.autograd.op import Shape, ShapeError
from ringleader.runtime.autograd.operators import Operand, Operators

if TYPE_CHECKING:
    from ringleader.runtime.autograd.tensor import Tensor


class Shaping(Operators):
    """The ops behind these are in ops/movement.py and ops/indexing.py. IndexError: there is no such axis."""

    def reshape(self, *shape: int | Shape) -> Tensor:
        """``reshape(2, -1)`` or ``reshape((2, -1))``."""
        return apply("reshape", self, target=_sizes(shape))

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Axes start_dim to end_dim, both included, as one."""
        if self.ndim == 0:
            return self.reshape(1)
        start, end = self._axis("flatten", start_dim), self._axis("flatten", end_dim)
        if start > end:
            raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
        between = prod(self.shape[start : end + 1])
        return self.reshape(*self.shape[:start], between, *self.shape[end + 1 :])

    def squeeze(self, dim: int | tuple[int, ...] | None = None) -> Tensor:
        """Without the axes of size 1: all, or those of ``dim`` that have size 1."""
        dims = range(self.ndim) if dim is None else dim if isinstance(dim, tuple) else (dim,)
        gone = {self._axis("squeeze", d) for d in dims}
        return self.reshape(tuple(n for i, n in enumerate(self.shape) if n != 1 or i not in gone))

    def unsqueeze(self, dim: int) -> Tensor:
        """With an axis of size 1 at ``dim`` of the result."""
        if not -self.ndim - 1 <= dim <= self.ndim:
            raise IndexError(f"unsqueeze: dim {dim} of a tensor of shape {self.shape}")
        at = dim % (self.ndim + 1)
        return self.reshape(*self.shape[:at], 1, *self.shape[at:])

    def expand(self, *sizes: int | Shape) -> Tensor:
        """Axes of size 1 stretched to ``sizes``, without a copy; -1 leaves a size as it is."""
        return apply("expand", self, target=_sizes(sizes))

    def broadcast_to(self, shape: Shape) -> Tensor:
        return self.expand(shape)

    def repeat(self, *times: int | Shape) -> Tensor:
        """Copies side by side, ``times[i]`` along axis i; more numbers than axes add axes in front."""
        counts = _sizes(times)
        if len(counts) < self.ndim or min(counts, default=0) < 0:
            raise ShapeError(
                f"repeat: shape {self.shape} and times {counts}: one number, not negative, an axis"
            )
        shape = (1,) * (len(counts) - self.ndim) + self.shape
        apart = self.reshape(tuple(n for size in shape for n in (1, size)))
        spread = apart.expand(tuple(n for pair in zip(counts, shape) for n in pair))
        return spread.reshape(tuple(count * size for count, size in zip(counts, shape)))

    def tile(self, *times: int | Shape) -> Tensor:
        """As repeat; fewer numbers than axes are filled up with 1 in front."""
        counts = _sizes(times)
        return self.repeat((1,) * (self.ndim - len(counts)) + counts)

    def permute(self, *dims: int | Shape) -> Tensor:
        """Axes in another order, as torch.permute."""
        return apply("permute", self, dims=_sizes(dims))

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Two axes swapped, as torch.transpose."""
        dims = list(range(self.ndim))
        try:
            dims[dim0], dims[dim1] = dims[dim1], dims[dim0]
        except IndexError:
            raise IndexError(f"transpose: axes {dim0}, {dim1} of a tensor of shape {self.shape}") from None
        return self.permute(*dims)

    swapaxes = transpose

    @property
    def T(self) -> Tensor:
        """The axes in reverse order."""
        return self.permute(*reversed(range(self.ndim)))

    def flip(self, *dims: int | Shape) -> Tensor:
        """The elements in reverse order along each of ``dims``."""
        axes = {self._axis("flip", d) for d in _sizes(dims)}
        return self[tuple(slice(None, None, -1 if i in axes else None) for i in range(self.ndim))]

    def tril(self, diagonal: int = 0) -> Tensor:
        """Zero above the diagonal of the last two axes."""
        return apply("tril", self, diagonal=diagonal)

    def triu(self, diagonal: int = 0) -> Tensor:
        return apply("triu", self, diagonal=diagonal)

    def gather(self, dim: int, index: Operand) -> Tensor:
        """``out[i][j] = self[index[i][j]][j]`` for dim 0 (as torch.gather and numpy.take_along_axis):
        index has as many axes as self, and sizes that are not larger but along ``dim``."""
        return apply("gather", self, dim=self._axis("gather", dim), index=self._operand(index).data)

    def take_along_dim(self, index: Operand, dim: int) -> Tensor:
        """gather, with the other axes of both broadcast."""
        indices, at = self._operand(index), self._axis("take_along_dim", dim)
        if indices.ndim != self.ndim:
            raise ShapeError(
                f"take_along_dim: shapes {self.shape} and {indices.shape}: as many axes are needed"
            )
        sizes = tuple(max(n, m) if 0 not in (n, m) else 0 for n, m in zip(self.shape, indices.shape))
        source, place = list(sizes), list(sizes)
        source[at], place[at] = self.shape[at], indices.shape[at]
        wide = self.like(indices.data)
        return self.expand(tuple(source)).gather(at, wide.expand(tuple(place)))

    def index_select(self, dim: int, index: Operand) -> Tensor:
        """The slices ``index`` (n,) along ``dim``, in that order."""
        indices = self._operand(index).data
        if indices.ndim != 1:
            raise ShapeError(f"index_select: index must have one axis, its shape is {indices.shape}")
        return self[(slice(None),) * self._axis("index_select", dim) + (indices,)]

    def split(self, size: int | list[int], dim: int = 0) -> tuple[Tensor, ...]:
        """Pieces of ``size`` along ``dim``, the last one smaller if need be, or pieces of the sizes listed."""
        axis = self._axis("split", dim)
        whole = self.shape[axis]
        if isinstance(size, int):
            if size < 1:
                raise ValueError(f"split: size is {size}; it must be positive")
            size = [min(size, whole - at) for at in range(0, whole, size)] or [0]
        if sum(size) != whole or min(size, default=0) < 0:
            raise ShapeError(f"split: shape {self.shape}: sizes {size} do not add up to axis {dim}")
        ends = [sum(size[: i + 1]) for i in range(len(size))]
        return tuple(self[(slice(None),) * axis + (slice(end - n, end),)] for n, end in zip(size, ends))

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """At most ``chunks`` pieces of equal size along ``dim``; the last may be smaller."""
        if chunks < 1:
            raise ValueError(f"chunk: chunks is {chunks}; it must be positive")
        whole = self.shape[self._axis("chunk", dim)]
        return self.split(-(-whole // chunks), dim) if whole else self.split([0] * chunks, dim)

    def _axis(self, name: str, dim: int) -> int:
        if not -self.ndim <= dim < self.ndim:
            raise IndexError(f"{name}: dim {dim} of a tensor of shape {self.shape}")
        return dim % self.ndim


def _sizes(given: tuple[int | Shape, ...]) -> Shape:
    flat: list[int] = []
    for size in given:
        flat.extend(size if isinstance(size, (tuple, list)) else [size])
    return tuple(flat)
