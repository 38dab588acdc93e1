"""The operators of a tensor: arithmetic, comparison, indexing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from ringleader.runtime.autograd.apply import apply
from ringleader.runtime.autograd.base import TensorBase
from ringleader.runtime.autograd.op import Array, ShapeError, array_module, is_floating

if TYPE_CHECKING:
    from ringleader.runtime.autograd.tensor import Tensor

Operand: TypeAlias = Any  # a Tensor, a number or an array
Index: TypeAlias = Any  # what numpy indexes with, and tensors in place of arrays


class Operators(TensorBase):
    __array_priority__ = 1000  # numpy_array * tensor comes to Tensor.__rmul__
    __array_ufunc__ = None
    __hash__ = object.__hash__  # by identity, although == compares the elements

    def _operand(self, other: Operand) -> TensorBase:
        """A number takes this tensor's dtype, so that it does not turn float32 into float64."""
        if isinstance(other, TensorBase):
            return other
        if isinstance(other, (int, float)) and is_floating(self.data.dtype):
            return self.like(array_module(self.device).asarray(other, self.data.dtype))
        return self.like(array_module(self.device).asarray(other))

    def __add__(self, other: Operand) -> Tensor:
        return apply("add", self, self._operand(other))

    def __radd__(self, other: Operand) -> Tensor:
        return apply("add", self._operand(other), self)

    def __sub__(self, other: Operand) -> Tensor:
        return apply("sub", self, self._operand(other))

    def __rsub__(self, other: Operand) -> Tensor:
        return apply("sub", self._operand(other), self)

    def __mul__(self, other: Operand) -> Tensor:
        return apply("mul", self, self._operand(other))

    def __rmul__(self, other: Operand) -> Tensor:
        return apply("mul", self._operand(other), self)

    def __truediv__(self, other: Operand) -> Tensor:
        return apply("div", self, self._operand(other))

    def __rtruediv__(self, other: Operand) -> Tensor:
        return apply("div", self._operand(other), self)

    def __matmul__(self, other: Operand) -> Tensor:
        return apply("matmul", self, self._operand(other))

    def __rmatmul__(self, other: Operand) -> Tensor:
        return apply("matmul", self._operand(other), self)

    def __neg__(self) -> Tensor:
        return apply("neg", self)

    def __abs__(self) -> Tensor:
        return apply("abs", self)

    def __pow__(self, exponent: Operand) -> Tensor:
        """A number is taken as constant: that is faster than a tensor, and right for a negative base."""
        if isinstance(exponent, (int, float)):
            return apply("pow", self, exponent=exponent)
        return apply("power", self, self._operand(exponent))

    def __rpow__(self, base: Operand) -> Tensor:
        return apply("power", self._operand(base), self)

    def __getitem__(self, index: Index) -> Tensor:
        """``x[index]`` with everything numpy has: integers, slices, None, ..., boolean masks, arrays of
        integers; tensors in place of arrays. A view where numpy gives one. IndexError."""
        return apply("getitem", self, index=plain(index))

    def __iter__(self) -> Iterator[Tensor]:
        """The parts along the first axis. TypeError: there is none."""
        if not self.ndim:
            raise TypeError("a tensor without axes cannot be iterated over")
        return (self[i] for i in range(len(self)))

    # Comparisons: boolean tensors, without a gradient

    def _compare(self, name: str, other: Operand) -> Tensor:
        right = self._operand(other)
        if right.device != self.device:
            raise ValueError(f"{name}: inputs on different devices: {self.device}, {right.device}")
        function: Callable[[Array, Array], Array] = getattr(array_module(self.device), name)
        try:
            return self.like(array_module(self.device).asarray(function(self.data, right.data)))
        except ValueError:
            raise ShapeError(f"{name}: shapes {self.shape} and {right.shape}: do not broadcast") from None

    def __lt__(self, other: Operand) -> Tensor:
        return self._compare("less", other)

    def __le__(self, other: Operand) -> Tensor:
        return self._compare("less_equal", other)

    def __gt__(self, other: Operand) -> Tensor:
        return self._compare("greater", other)

    def __ge__(self, other: Operand) -> Tensor:
        return self._compare("greater_equal", other)

    def __eq__(self, other: Operand) -> Tensor:  # type: ignore[override]
        return self._compare("equal", other)

    def __ne__(self, other: Operand) -> Tensor:  # type: ignore[override]
        return self._compare("not_equal", other)

    def __and__(self, other: Operand) -> Tensor:
        return self._compare("bitwise_and", other)

    def __or__(self, other: Operand) -> Tensor:
        return self._compare("bitwise_or", other)

    def __xor__(self, other: Operand) -> Tensor:
        return self._compare("bitwise_xor", other)

    def __invert__(self) -> Tensor:
        return self.like(~self.data)


def plain(index: Index) -> Index:
    """An index of arrays instead of tensors, and of integers instead of empty lists' floats."""
    if isinstance(index, tuple):
        return tuple(plain(part) for part in index)
    if isinstance(index, TensorBase):
        return index.data
    return np.asarray(index, np.intp if len(index) == 0 else None) if isinstance(index, list) else index
