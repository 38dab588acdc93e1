"""mpi4py's buffer specifications, ``buf`` or ``[buf, counts, displacements, datatype]``, as arrays of units.

What may be given and what is refused follows mpi4py: see "Communicating buffer-like objects" in its manual.
"""

from __future__ import annotations

import ctypes
import operator
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from mpi4py import MPI

from ringleader.mpi4py.datatypes import Array, Kind, kind_of, pack, span_of, unpack

_CODES: dict[str, MPI.Datatype] = MPI._typedict  # what mpi4py itself asks
_known: dict[np.dtype[Any], Kind] = {}  # of numpy arrays given without a datatype
_NOTHING = np.empty(0, np.uint8)


class Memory(NamedTuple):
    """The user's memory: ``octets`` of it as an array that keeps it alive; None: absolute addresses."""

    octets: Array | None
    address: int = 0

    @property
    def nbytes(self) -> int:
        return 0 if self.octets is None else self.octets.size


class Message:
    """Blocks of items of one datatype in the user's memory: block i is ``counts[i]`` items, ``displs[i]`` extents
    from the start."""

    def __init__(self, memory: Memory, kind: Kind, counts: Sequence[int], displs: Sequence[int]) -> None:
        self.memory, self.kind = memory, kind
        self.counts, self.displs = list(counts), list(displs)
        self._view: Array | None = None

    @property
    def count(self) -> int:
        """Items of the only, or the first, block."""
        return self.counts[0]

    @property
    def unit(self) -> np.dtype[Any]:
        """What travels; the empty signature is the same for all datatypes."""
        return self.kind.unit if self.items else _NOTHING.dtype

    @property
    def items(self) -> int:
        return sum(self.counts) * (self.kind.per_item > 0)

    @property
    def units(self) -> list[int]:
        """Units of each block."""
        return [c * self.kind.per_item for c in self.counts]

    @property
    def octets(self) -> list[int]:
        """Bytes of data of each block."""
        return [c * self.kind.size for c in self.counts]

    def times(self, blocks: int) -> Message:
        """The same block that often, one after another."""
        return Message(self.memory, self.kind, [self.count * blocks], self.displs)

    def block(self, index: int) -> Message:
        return Message(self.memory, self.kind, [self.counts[index]], [self.displs[index]])

    def load(self) -> Array:
        """All units, 1-d: a view of the user's memory where that is what lies there, otherwise a copy."""
        runs = list(self._runs())
        if not runs:
            return np.empty(0, self.unit)
        if len(runs) == 1 and self.kind.plain:
            self._view = self._plain(*runs[0], self.kind.unit)
            return self._view
        parts = [self._part(count, displ) for count, displ in runs]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def store(self, values: Array) -> None:
        """Write units back, unless they are the view that ``load`` gave."""
        if values is self._view:
            return
        at = 0
        for count, displ in self._runs():
            part = values[at : at + count * self.kind.per_item]
            at += part.size
            if self.kind.plain:
                self._plain(count, displ, self.kind.unit)[...] = part
            else:
                unpack(part, self._address(count, displ), count, self.kind)

    def elements(self, dtype: np.dtype[Any], items: int) -> Array:
        """``items`` items from the first displacement as elements of ``dtype``, which is an extent long: a view."""
        if not items:
            return np.empty(0, dtype)
        return self._plain(items, self.displs[0], dtype)

    def _runs(self) -> Iterator[tuple[int, int]]:
        """(count, displacement) of the blocks that hold something; neighbours in memory are one."""
        count = displ = 0
        for c, d in zip(self.counts, self.displs):
            if c == 0 or not self.kind.per_item:
                continue
            if count and d == displ + count:
                count += c
                continue
            if count:
                yield count, displ
            count, displ = c, d
        if count:
            yield count, displ

    def _part(self, count: int, displ: int) -> Array:
        if self.kind.plain:
            return self._plain(count, displ, self.kind.unit)
        return pack(self._address(count, displ), count, self.kind)

    def _plain(self, count: int, displ: int, dtype: np.dtype[Any]) -> Array:
        if self.memory.octets is None:
            raise ValueError(f"message: buffer is None or BOTTOM but count is {count}")
        start, stop = displ * self.kind.extent, (displ + count) * self.kind.extent
        self._inside(start, stop)
        return self.memory.octets[start:stop].view(dtype)

    def _address(self, count: int, displ: int) -> int:
        start = displ * self.kind.extent
        if self.memory.octets is not None:
            first, last = span_of(self.kind, count)
            self._inside(start + first, start + last)
        return self.memory.address + start

    def _inside(self, start: int, stop: int) -> None:
        if start < 0 or stop > self.memory.nbytes:
            raise ValueError(
                f"message: bytes {start} ... {stop} are outside the buffer, which has {self.memory.nbytes}"
            )


def in_place(spec: Any) -> bool:
    return spec is None or spec is MPI.IN_PLACE


def simple(spec: Any, readonly: bool, blocks: int = 0) -> Message:
    """A message of one block; where no count is given, a ``blocks``-th of the buffer."""
    if type(spec) is np.ndarray and (kind := _known.get(spec.dtype)) is not None:
        flags = spec.flags
        if flags.c_contiguous and (readonly or flags.writeable) and spec.size % max(1, blocks) == 0:
            memory = Memory(spec.reshape(-1).view(np.uint8))
            return Message(memory, kind, [spec.size // max(1, blocks)], [0])
    buffer, count, displ, datatype = _simple_parts(spec)
    memory, kind = _basic(buffer, datatype, readonly)
    displ = 0 if displ is None else operator.index(displ)
    if displ < 0:
        raise ValueError(f"message: negative displacement {displ}")
    length = memory.nbytes
    if displ > 0:
        extent = _positive_extent(kind, "handle displacement")
        if displ * extent > length:
            raise ValueError(
                f"message: displacement {displ} out of bounds, number of datatype entries {length // extent}"
            )
        length -= displ * extent
    if count is not None:
        count = operator.index(count)
        if count < 0:
            raise ValueError(f"message: negative count {count}")
        if count > 0 and buffer is None:
            raise ValueError(f"message: buffer is None but count is {count}")
    else:
        count = _inferred(length, kind)
        if count % max(1, blocks):
            raise ValueError(
                f"message: cannot infer count, number of entries {count} is not a multiple of "
                f"required number of blocks {blocks}"
            )
        count //= max(1, blocks)
    return Message(memory, kind, [count], [displ])


def vector(spec: Any, readonly: bool, blocks: int) -> Message:
    """A message of ``blocks`` blocks with counts and displacements."""
    buffer, counts, displs, datatype = _vector_parts(spec)
    memory, kind = _basic(buffer, datatype, readonly)
    if counts is None:
        whole = _inferred(memory.nbytes, kind)
        counts = [whole // blocks + (whole % blocks > i) for i in range(blocks)]
    elif _integral(counts):
        counts = [operator.index(counts)] * blocks
    else:
        counts = integers(counts, blocks)
    if displs is None:
        displs = [sum(counts[:i]) for i in range(blocks)]
    elif _integral(displs):
        displs = [operator.index(displs) * i for i in range(blocks)]
    else:
        displs = integers(displs, blocks)
    if min(counts) < 0:
        raise MPI.Exception(MPI.ERR_COUNT)
    return Message(memory, kind, counts, displs)


def integers(values: Any, n: int) -> list[int]:
    """``n`` integers. TypeError, ValueError: they are not."""
    listed = [operator.index(v) for v in values]
    if len(listed) != n:
        raise ValueError(f"expecting {n} items, got {len(listed)}")
    return listed


def _integral(value: Any) -> bool:
    """An integer rather than a sequence; a numpy array without axes may be one."""
    try:
        len(value)
    except TypeError:
        pass
    else:
        return False
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def _parts(spec: Any, pairs: tuple[type, ...]) -> tuple[Any, Any, Any, Any]:
    """Buffer, counts, displacements, datatype. ``pairs``: what (count, displacement) may be."""
    count: Any
    displ: Any
    if not isinstance(spec, (list, tuple)):
        if not _is_buffer(spec):
            raise TypeError("message: expecting buffer or list/tuple")
        return spec, None, None, None
    if len(spec) == 2:
        buffer, count = spec
        if isinstance(count, (MPI.Datatype, str)):
            return buffer, None, None, count
        count, displ = _split(count, pairs)
        return buffer, count, displ, None
    if len(spec) == 3:
        buffer, count, datatype = spec
        count, displ = _split(count, pairs)
        return buffer, count, displ, datatype
    if len(spec) == 4:
        return spec[0], spec[1], spec[2], spec[3]
    raise ValueError("message: expecting 2 to 4 items")


def _split(count: Any, pairs: tuple[type, ...]) -> Any:
    return count if isinstance(count, pairs) else (count, None)


def _simple_parts(spec: Any) -> tuple[Any, Any, Any, Any]:
    return _parts(spec, (tuple, list))


def _vector_parts(spec: Any) -> tuple[Any, Any, Any, Any]:
    return _parts(spec, (tuple,))


def _is_buffer(spec: Any) -> bool:
    if hasattr(spec, "__dlpack__") or hasattr(spec, "__cuda_array_interface__"):
        return True
    try:
        memoryview(spec).release()
    except (TypeError, BufferError, ValueError) as error:
        return not isinstance(error, TypeError)
    return True


def _basic(buffer: Any, datatype: Any, readonly: bool) -> tuple[Memory, Kind]:
    if isinstance(datatype, str):
        datatype = _lookup(datatype)
    if buffer is None or buffer is MPI.BOTTOM:
        if not isinstance(datatype, MPI.Datatype):
            datatype = _lookup(datatype)
        return Memory(None), _null_or_kind(datatype)
    memory = _memory(buffer, readonly)
    kind = _null_or_kind(_lookup(_format(buffer)) if datatype is None else datatype)
    if datatype is None and type(buffer) is np.ndarray and kind.plain:
        _known[buffer.dtype] = kind
    return memory, kind


def _null_or_kind(datatype: MPI.Datatype) -> Kind:
    if datatype == MPI.DATATYPE_NULL:  # good enough for a message of nothing
        return Kind(datatype, 0, 0, 0, _NOTHING.dtype, 0, True, False)
    return kind_of(datatype)


def _memory(buffer: Any, readonly: bool) -> Memory:
    if isinstance(buffer, np.ndarray) and buffer.flags.f_contiguous and not buffer.flags.c_contiguous:
        buffer = buffer.T  # the same memory, in the order that it lies in
    raw: Any = MPI.buffer.frombuffer(buffer, readonly)
    if raw.nbytes == 0:
        return Memory(_NOTHING, raw.address)
    return Memory(np.frombuffer(raw, np.uint8), raw.address)


def _format(buffer: Any) -> str:
    """The code of the elements, as in the struct module, or as in numpy's array interface."""
    try:
        code = memoryview(buffer).format
    except TypeError:
        if hasattr(buffer, "__dlpack__"):
            code = _dlpack_code(buffer)
        else:
            code = buffer.__cuda_array_interface__["typestr"]
    native = "<" if sys.byteorder == "little" else ">"
    if code[:1] in ("<", ">") and code[0] != native:
        raise BufferError(f"format string {code!r} with non-native byte order")
    code = code.lstrip("@<>|=")
    return "BYTE" if code == "B" else code


def _dlpack_code(buffer: Any) -> str:
    """As numpy's array interface writes it. Read from the start of the C struct DLTensor, which is: data pointer,
    device (two int32), ndim (int32), dtype (kind and bits, one byte each, and lanes, two). numpy.from_dlpack would
    do, but takes fewer producers than mpi4py. A complex number may be two lanes of floats."""
    capsule = buffer.__dlpack__()
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    kind, bits, lanes = struct.unpack("=BBH", ctypes.string_at(pointer(capsule, b"dltensor") + 20, 4))
    code = {(0, 1): "i", (1, 1): "u", (2, 1): "f", (2, 2): "c", (5, 1): "c", (6, 1): "b"}.get((kind, lanes))
    if code is None:
        raise BufferError(f"message: DLPack data of kind {kind} in {lanes} lanes have no MPI datatype")
    return f"{code}{bits * lanes // 8}"


def _lookup(code: Any) -> MPI.Datatype:
    if code == "BYTE":
        return MPI.BYTE
    try:
        return _CODES[code]
    except KeyError:
        raise KeyError(f"cannot map {code!r} to MPI datatype") from None


def _positive_extent(kind: Kind, what: str) -> int:
    if kind.datatype == MPI.DATATYPE_NULL:
        raise ValueError(f"message: cannot {what}, datatype is null")
    if kind.extent <= 0:
        raise ValueError(
            f"message: cannot {what}, datatype extent {kind.extent} (lb:{kind.lb}, ub:{kind.lb + kind.extent})"
        )
    return kind.extent


def _inferred(nbytes: int, kind: Kind) -> int:
    """How many items fill a buffer of that size."""
    if nbytes == 0:
        return 0
    extent = _positive_extent(kind, "infer count")
    if nbytes % extent:
        raise ValueError(
            f"message: cannot infer count, buffer length {nbytes} is not a multiple of "
            f"datatype extent {extent} (lb:{kind.lb}, ub:{kind.lb + extent})"
        )
    return nbytes // extent
