"""A compiled kernel as ctypes sees it: its parameters, its shared arrays, and the call. Structures as in scheduler.h."""

from __future__ import annotations

import ctypes
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

Three = ctypes.c_uint * 3


class Parameter(ctypes.Structure):
    _fields_ = (
        ("pointer", ctypes.c_bool),
        ("to_const", ctypes.c_bool),
        ("type", ctypes.c_char_p),
        ("size", ctypes.c_uint),
    )


class Entry(ctypes.Structure):
    _fields_ = (
        ("call", ctypes.c_void_p),
        ("parameters", ctypes.POINTER(Parameter)),
        ("count", ctypes.c_uint),
    )


class StackPool(ctypes.Structure):
    """The fibers' stacks (stacks.h)."""

    _fields_ = (("stacks", ctypes.c_void_p), ("count", ctypes.c_size_t), ("capacity", ctypes.c_size_t))


class Region(ctypes.Structure):
    _fields_ = (("start", ctypes.c_void_p), ("bytes", ctypes.c_size_t))


class Launch(ctypes.Structure):
    _fields_ = (
        ("grid", Three),
        ("block", Three),
        ("shared", ctypes.c_size_t),
        ("arguments", ctypes.c_void_p),
        ("scrambled", ctypes.c_int),
        ("seed", ctypes.c_ulonglong),
        ("regions", ctypes.POINTER(Region)),
        ("region_count", ctypes.c_size_t),
        ("stacks", ctypes.c_void_p),
    )


class Failure(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_char * 32),
        ("message", ctypes.c_char * 1024),
        ("file", ctypes.c_char * 256),
        ("line", ctypes.c_int),
        ("block", Three),
        ("thread", Three),
    )


class Memory(ctypes.Structure):
    """As Where, Fault and Traffic below: of checker.h."""

    _fields_ = (
        ("start", ctypes.c_size_t),
        ("bytes", ctypes.c_size_t),
        ("origin", ctypes.c_size_t),
        ("granule", ctypes.c_uint),
        ("name", ctypes.c_char_p),
    )


class Where(ctypes.Structure):
    _fields_ = (("pc", ctypes.c_size_t), ("file", ctypes.c_char_p), ("line", ctypes.c_int))


class Fault(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_char_p),
        ("message", ctypes.c_char * 256),
        ("where", Where),
        ("other", Where),
        ("block", Three),
        ("thread", Three),
        ("count", ctypes.c_ulonglong),
        ("last", ctypes.c_ulonglong),
    )


class Traffic(ctypes.Structure):
    _fields_ = (
        ("where", Where),
        ("shared", ctypes.c_int),
        ("requests", ctypes.c_ulonglong),
        ("cost", ctypes.c_ulonglong),
        ("ideal", ctypes.c_ulonglong),
    )


@dataclass(frozen=True)
class SharedArray:
    """A static __shared__ array of the kernel: its name, and its place in the shared object."""

    name: str
    start: int
    bytes: int


class Library:
    """A shared object that compiler.build made."""

    def __init__(self, path: Path):
        self.path = path
        self.library = ctypes.CDLL(str(path))
        self.launch = self.library.ringleader_launch
        self.launch.argtypes = [
            ctypes.POINTER(Launch),
            ctypes.POINTER(Failure),
            ctypes.POINTER(ctypes.c_size_t),
        ]
        entry = Entry.in_dll(self.library, "ringleader_entry")
        self.parameters = [entry.parameters[i] for i in range(entry.count)]
        symbols = self._symbols()
        self.base = ctypes.addressof(entry) - next(
            start for name, start, _ in symbols if name == "ringleader_entry"
        )
        self.shared_arrays = [
            SharedArray(name, self.base + start, size)
            for name, start, size in symbols
            if name.startswith("_ZZ") and not name.startswith("_ZZN7emulate")  # a function's static variables
        ]
        regions = [Region(array.start, array.bytes) for array in self.shared_arrays]
        self.regions = (Region * len(regions))(*regions)

    def _symbols(self) -> list[tuple[str, int, int]]:
        """Name, place and bytes of the variables in the shared object."""
        listing = subprocess.run(
            ["nm", "-S", str(self.path)], capture_output=True, text=True, check=True
        ).stdout
        fields = [line.split() for line in listing.splitlines()]
        return [(f[3], int(f[0], 16), int(f[1], 16)) for f in fields if len(f) == 4 and f[2] in "bBdDrRuvV"]

    @cached_property
    def static_shared(self) -> int:
        """Bytes of static shared memory of a block."""
        return sum(array.bytes for array in self.shared_arrays)
