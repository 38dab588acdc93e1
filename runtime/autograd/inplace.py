"""Operations that change a tensor in place, as PyTorch's with a trailing underscore.

Where a gradient is recorded, ``x.mul_(y)`` runs the op on a copy of the old values, writes the result into
the memory of x, and makes x the result of that op. Others that look at the same memory, views made before,
are outdated by that: using them is an error (see ``known`` in base.py). That an op may have needed the old
values is seen by backward, through ``memory.changes``.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from ringleader.runtime.autograd.apply import apply, outdated
from ringleader.runtime.autograd.base import TensorBase
from ringleader.runtime.autograd.methods import Methods
from ringleader.runtime.autograd.mode import is_grad_enabled
from ringleader.runtime.autograd.op import ShapeError, address, module_of
from ringleader.runtime.autograd.operators import Index, Operand, plain

T = TypeVar("T", bound="InPlace")


class InPlace(Methods):
    """All return the tensor itself. RuntimeError: a leaf that needs a gradient (or a view of one) outside
    no_grad; read-only memory. ShapeError, TypeError: the result has another shape, or does not fit the dtype."""

    def _become(self: T, method: str, op: str, other: TensorBase, **options: Any) -> T:
        """self = op(self, other), in self's memory."""
        recording = is_grad_enabled() and (self.requires_grad or other.requires_grad)
        if recording and (self.memory.of_leaf or (self.requires_grad and self.node is None)):
            raise RuntimeError(f"{method}: the tensor {self.describe()} is a leaf that requires a gradient, or a "
                               "view of one; change it under no_grad()")  # fmt: skip
        if self.known < self.memory.rewrites and not _is_place(other, self, options):
            raise outdated(method, self)
        if not getattr(self.data.flags, "writeable", True):
            raise RuntimeError(
                f"{method}: the memory of the tensor {self.describe()} is read-only, as after expand()"
            )
        if op == "setitem" and not recording:
            return self._assign(method, options["index"], other)
        before: TensorBase = self
        if recording:
            before = self.like(self.data.copy())
            before.requires_grad, before.node = self.requires_grad, self.node
        out = apply(op, before, before if other is self else other, **options)
        if out.shape != self.shape:
            raise ShapeError(f"{method}: shapes {self.shape} and {other.shape}: the result is {out.shape}")
        if not np.can_cast(out.dtype, self.dtype, "same_kind"):
            raise TypeError(f"{method}: the result is {out.dtype}, which does not fit into {self.dtype}")
        self.data[...] = out.data
        self.memory.changes += 1
        if recording:
            self.memory.rewrites += 1
            self.known = self.memory.rewrites
            self.requires_grad, self.node = True, out.node
        return self

    def _assign(self: T, method: str, index: Index, value: TensorBase) -> T:
        try:
            self.data[index] = value.data
        except ValueError:
            place = self.data[index].shape
            raise ShapeError(f"{method}: shape {value.shape} does not broadcast to {place}") from None
        self.memory.changes += 1
        return self

    def add_(self: T, other: Operand, *, alpha: float = 1) -> T:
        other = self._operand(other)
        return self._become("add_", "add", other if alpha == 1 else other * alpha)

    def sub_(self: T, other: Operand, *, alpha: float = 1) -> T:
        other = self._operand(other)
        return self._become("sub_", "sub", other if alpha == 1 else other * alpha)

    def mul_(self: T, other: Operand) -> T:
        return self._become("mul_", "mul", self._operand(other))

    def div_(self: T, other: Operand) -> T:
        return self._become("div_", "div", self._operand(other))

    def copy_(self: T, source: Operand) -> T:
        return self._become("copy_", "setitem", self._operand(source), index=...)

    def fill_(self: T, value: float) -> T:
        return self._become("fill_", "setitem", self._operand(value), index=...)

    def zero_(self: T) -> T:
        return self._become("zero_", "setitem", self._operand(0), index=...)

    def __setitem__(self, index: Index, value: Operand) -> None:
        """``x[index] = value`` as numpy; where a position is there twice, the last value counts."""
        self._become("x[index] = value", "setitem", self._operand(value), index=plain(index))

    __iadd__, __isub__, __imul__, __itruediv__ = add_, sub_, mul_, div_


def _is_place(other: TensorBase, tensor: TensorBase, options: dict[str, Any]) -> bool:
    """Python runs ``x[i] += y`` as ``t = x[i]; t += y; x[i] = t``: is this the last step, with nothing
    else in between? Then ``t`` accounts for the only change that the graph of x does not know of."""
    if other.memory is not tensor.memory or "index" not in options:
        return False
    if not other.known == tensor.memory.rewrites == tensor.known + 1:
        return False
    place, value = module_of(tensor.data).asarray(tensor.data[options["index"]]), other.data
    return (address(place), place.shape, place.strides) == (address(value), value.shape, value.strides)
