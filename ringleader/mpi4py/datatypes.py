"""MPI datatypes as numpy sees them: which basic values, in which order, and where they lie in memory.

MPI matches *type signatures*, the sequence of basic types, and neither counts nor datatypes: four INT match two
vectors of two INT. So a message travels as ``n`` units, where a unit is the shortest sequence of basic types
that, repeated, makes the signature. It is unique, hence equal on two ranks exactly if the signatures are.
"""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

Array = NDArray[Any]
LONGEST = 4096  # basic types that an item may have for its shortest period to be sought

_PAIRS = {
    pair.handle: (basic, MPI.INT)
    for pair, basic in (
        (MPI.FLOAT_INT, MPI.FLOAT), (MPI.DOUBLE_INT, MPI.DOUBLE), (MPI.LONG_INT, MPI.LONG),
        (MPI.SHORT_INT, MPI.SHORT), (MPI.TWOINT, MPI.INT), (MPI.LONG_DOUBLE_INT, MPI.LONG_DOUBLE),
    )
}  # fmt: skip


class Kind(NamedTuple):
    """What is known of a datatype. An item of it spans ``extent`` bytes from ``lb``, of which ``size`` are data,
    ``per_item`` units. ``plain``: items in memory are just units one after another. ``predefined``: MPI's own."""

    datatype: MPI.Datatype
    size: int
    lb: int
    extent: int
    unit: np.dtype[Any]
    per_item: int
    plain: bool
    predefined: bool


_predefined: dict[int, Kind] = {}
_KEY = MPI.Datatype.Create_keyval()  # a derived datatype carries its Kind, so that both go together


def kind_of(datatype: MPI.Datatype) -> Kind:
    """Looked up, or worked out the first time. MPI.Exception: no such datatype."""
    if (known := _predefined.get(datatype.handle)) is not None:
        return known
    if not datatype.is_predefined:
        derived: Any = datatype.Get_attr(_KEY)
        if derived is None:
            derived = _describe(datatype, predefined=False)
            datatype.Set_attr(_KEY, derived)
        assert isinstance(derived, Kind)
        return derived
    return _predefined.setdefault(datatype.handle, _describe(datatype, predefined=True))


class _Duplicate(MPI.Datatype):
    """Ours, so that the user may free a datatype while a collective on it is under way."""

    def __del__(self) -> None:
        if self != MPI.DATATYPE_NULL and not MPI.Is_finalized():
            self.Free()


def _describe(datatype: MPI.Datatype, predefined: bool) -> Kind:
    size, (lb, extent) = datatype.Get_size(), datatype.Get_extent()
    unit, per_item = _period(_basics(datatype), size)
    plain = predefined and lb == 0 and size == extent
    own = MPI.Datatype(datatype) if predefined else _Duplicate(datatype.Dup())
    return Kind(own, size, lb, extent, unit, per_item, plain, predefined)


def _basics(datatype: MPI.Datatype) -> list[tuple[np.dtype[Any], int]]:
    """The signature of one item: runs of basic types, as (dtype, how many)."""
    if datatype.is_predefined:
        if datatype.handle in _PAIRS:
            return [(_basic(part), 1) for part in _PAIRS[datatype.handle]]
        return [(_basic(datatype), 1)]
    old, combiner, parameters = datatype.decode()
    if combiner == "STRUCT":
        parts = list(zip(parameters["datatypes"], parameters["blocklengths"]))
    else:  # all others repeat one datatype
        parts = [(old, datatype.Get_size() // old.Get_size() if old.Get_size() else 0)]
    runs: list[tuple[np.dtype[Any], int]] = []
    for part, times in parts:
        inner = _basics(part)
        runs += [(inner[0][0], inner[0][1] * times)] if len(inner) == 1 else inner * times
        if not part.is_predefined and part != datatype:
            part.Free()
    return [(dtype, count) for dtype, count in runs if count]


def _basic(datatype: MPI.Datatype) -> np.dtype[Any]:
    """A basic type by what its values are: INT and INT32_T are one type, INT and FLOAT are two."""
    code = datatype.typestr
    try:
        return np.dtype(code) if not code.startswith("V") else _named(datatype.name, datatype.Get_size())
    except TypeError:  # numpy has no such number
        return _named(datatype.name, datatype.Get_size())


def _named(name: str, size: int) -> np.dtype[Any]:
    return np.dtype([(name, f"V{size}")])


def _period(runs: list[tuple[np.dtype[Any], int]], size: int) -> tuple[np.dtype[Any], int]:
    """The unit of a signature and how often it comes."""
    kinds = {dtype for dtype, _ in runs}
    count = sum(n for _, n in runs)
    if not runs:
        return np.dtype(np.uint8), 0
    if len(kinds) == 1:
        return runs[0][0], count
    if count > LONGEST:
        return _named(f"{hash_of(runs):08x}", size), 1
    word = [dtype for dtype, n in runs for _ in range(n)]
    length = next(p for p in range(1, count + 1) if count % p == 0 and word == word[:p] * (count // p))
    return np.dtype([(f"f{i}", dtype) for i, dtype in enumerate(word[:length])]), count // length


def hash_of(what: object) -> int:
    """A number that is the same on all ranks for what reads the same, never 0."""
    return zlib.crc32(repr(what).encode()) or 1


def pack(address: int, count: int, kind: Kind, readonly: bool = True) -> Array:
    """The units of ``count`` items at ``address``, copied by MPI's own MPI_Pack."""
    whole, start, span = _placed(kind, count)
    packed = np.empty(count * kind.size, np.uint8)
    whole.Pack(MPI.buffer.fromaddress(address + start, span, True), packed, 0, MPI.COMM_SELF)
    whole.Free()
    return packed.view(kind.unit)


def unpack(values: Array, address: int, count: int, kind: Kind) -> None:
    """The reverse of ``pack``; what lies between the data is left alone."""
    whole, start, span = _placed(kind, count)
    packed = np.ascontiguousarray(values).view(np.uint8)
    whole.Unpack(packed, 0, MPI.buffer.fromaddress(address + start, span), MPI.COMM_SELF)
    whole.Free()


def _placed(kind: Kind, count: int) -> tuple[MPI.Datatype, int, int]:
    """``count`` items as one datatype that starts at 0 and spans exactly its data: what mpi4py's Pack takes for
    one item. Also where its first byte lies from the items' address, and how many bytes it spans."""
    items = kind.datatype.Create_contiguous(count)
    start, span = items.Get_true_extent()
    moved = MPI.Datatype.Create_struct([1], [-start], [items])
    whole = moved.Create_resized(0, span).Commit()
    items.Free()
    moved.Free()
    return whole, start, span


def span_of(kind: Kind, count: int) -> tuple[int, int]:
    """First byte of ``count`` items' data from their address, and the byte after the last."""
    if kind.plain:
        return 0, count * kind.extent
    lowest, length = kind.datatype.Get_true_extent()
    last = (count - 1) * kind.extent
    return lowest + min(0, last), lowest + length + max(0, last)
