"""MPI's reduction operations as the runtime's: a numpy ufunc where there is one, else MPI_Reduce_local."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from mpi4py import MPI

from ringleader.mpi4py.datatypes import Array, Kind
from ringleader.runtime.comm import OPS, Op

# By handle. Ops on integers, floats and complex numbers; MPI itself says which take which (see _refuse).
_UFUNCS = {
    MPI.SUM.handle: OPS["sum"],
    MPI.PROD.handle: OPS["prod"],
    MPI.MAX.handle: OPS["max"],
    MPI.MIN.handle: OPS["min"],
    MPI.LAND.handle: Op("land", np.logical_and),
    MPI.LOR.handle: Op("lor", np.logical_or),
    MPI.LXOR.handle: Op("lxor", np.logical_xor),
    MPI.BAND.handle: OPS["and"],
    MPI.BOR.handle: OPS["or"],
    MPI.BXOR.handle: OPS["xor"],
}
_NAMES = {MPI.MAXLOC.handle: "maxloc", MPI.MINLOC.handle: "minloc"}


class Folding(NamedTuple):
    """How items of a datatype are folded: the runtime's op, on elements of this dtype, one item each."""

    op: Op
    dtype: np.dtype[Any]


def folding(op: MPI.Op, kind: Kind) -> Folding | None:
    """None: not for our programs, since a derived datatype's items need not be whole stretches of memory.

    MPI.Exception(ERR_OP): this predefined operation does not take this datatype.
    """
    if not isinstance(op, MPI.Op):
        raise TypeError(f"op must be an MPI.Op, not {type(op).__name__}")
    if op == MPI.OP_NULL:
        raise MPI.Exception(MPI.ERR_OP)
    if op.is_predefined:
        key = op.handle, kind.datatype.handle
        if key not in _known:
            found = _predefined(MPI.Op(op), kind)
            if not kind.predefined:  # its handle may be another datatype's one day
                return found
            _known[key] = found
        return _known[key]
    if not kind.predefined:
        return None
    return Folding(_by_mpi("own operation", op, kind), _items(kind))


_known: dict[tuple[int, int], Folding] = {}  # predefined operations on predefined datatypes, by their handles


def _predefined(op: MPI.Op, kind: Kind) -> Folding:
    _refuse(op, kind)
    known = _UFUNCS.get(op.handle)
    if known is not None and kind.plain and kind.unit.kind in "biufc":
        return Folding(known, kind.unit)
    return Folding(_by_mpi(_NAMES.get(op.handle, f"op {op.handle}"), op, kind), _items(kind))


def _refuse(op: MPI.Op, kind: Kind) -> None:
    """Raise what the MPI library raises if the operation does not take this datatype."""
    size = max(1, kind.extent)
    one, other = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    op.Reduce_local([one, 1, kind.datatype], [other, 1, kind.datatype])


def _items(kind: Kind) -> np.dtype[Any]:
    """Items as they lie in memory, padding and all: what an operation expects to find."""
    return np.dtype(f"V{kind.extent}")


def _by_mpi(name: str, op: MPI.Op, kind: Kind) -> Op:
    return Op(name, _reduce_local(op, kind.datatype), commutes=op.Is_commutative())


def _reduce_local(op: MPI.Op, datatype: MPI.Datatype) -> Callable[..., Array]:
    def fold(x: Array, y: Array, out: Array | None = None) -> Array:
        """x op y. MPI overwrites the right operand, which may still be needed, so it gets a copy."""
        result: Array = y.copy()
        op.Reduce_local([x.view(np.uint8), x.size, datatype], [result.view(np.uint8), x.size, datatype])
        if out is None:
            return result
        out[...] = result
        return out

    return fold
