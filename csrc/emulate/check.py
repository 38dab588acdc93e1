"""The checked mode: what the checker (checker.cpp) is told before a launch, and its findings as a report."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

try:
    from numpy.lib.array_utils import byte_bounds
except ImportError:  # numpy 1
    from numpy import byte_bounds  # type: ignore[attr-defined, no-redef]

from ringleader.csrc.emulate import native
from ringleader.csrc.emulate.errors import KernelError
from ringleader.csrc.emulate.lines import locate
from ringleader.csrc.emulate.report import Fault, Report, Requests


class Check:
    """Of one launch of a kernel compiled for checks; made before the launch, asked for a report after it."""

    def __init__(self, library: native.Library, args: Sequence[Any]):
        self.library = library
        self.memories = argument_memories(args)
        shared = sorted(library.shared_arrays, key=lambda array: array.start)
        self.shared = [native.Memory(a.start, a.bytes, 0, 1, _short(a.name).encode()) for a in shared]
        call = library.library.ringleader_check_begin
        call.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t]
        call.restype = None
        arguments = (native.Memory * len(self.memories))(*self.memories)
        arrays = (native.Memory * len(self.shared))(*self.shared)
        call(arguments, len(arguments), arrays, len(arrays))

    def report(self, kernel: str, failed: KernelError | None) -> Report:
        self.library.library.ringleader_check_end()
        faults = self._found("ringleader_check_faults", native.Fault)
        traffic = self._found("ringleader_check_traffic", native.Traffic)
        places = [w for fault in faults for w in (fault.where, fault.other)] + [t.where for t in traffic]
        self.lines = locate(self.library, (where.pc for where in places if where.pc))
        report = Report(kernel, self._faults(faults, failed), self._requests(traffic))
        self.library.library.ringleader_check_forget()
        return report

    def _found(self, function: str, kind: Any) -> list[Any]:
        call = getattr(self.library.library, function)
        call.restype = ctypes.c_size_t
        first = ctypes.POINTER(kind)()
        count = call(ctypes.byref(first))
        return [first[i] for i in range(count)]

    def _place(self, where: native.Where) -> tuple[str, int]:
        if where.pc:
            return self.lines[where.pc]
        return (where.file or b"").decode(), where.line

    def _faults(self, found: list[native.Fault], failed: KernelError | None) -> list[Fault]:
        merged: dict[tuple[Any, ...], Fault] = {}
        for fault in found:
            file, line = self._place(fault.where)
            other_file, other_line = self._place(fault.other)
            message = fault.message.decode(errors="replace")
            if other_line:  # before what is missing, in brackets at the end
                what, bracket, missing = message.rpartition(" (")
                message = f"{what} at {other_file}:{other_line}{bracket}{missing}"
            key = (fault.kind, file, line, other_file, other_line)
            count = int(fault.count) + (merged[key].count if key in merged else 0)
            first = merged.get(key) or Fault(
                fault.kind.decode(), message, file, line, tuple(fault.block), tuple(fault.thread)
            )
            merged[key] = Fault(first.kind, first.message, file, line, first.block, first.thread, count)
        faults = sorted(merged.values(), key=lambda fault: (fault.file, fault.line, fault.kind))
        if failed is not None and failed.kind != "out of bounds":  # that one is among them
            faults.append(
                Fault(failed.kind, failed.message, failed.file, failed.line, failed.block, failed.thread)
            )
        return faults

    def _requests(self, traffic: list[native.Traffic]) -> list[Requests]:
        sums: dict[tuple[str, int, str], np.ndarray] = {}
        for at in traffic:
            file, line = self._place(at.where)
            key = (file, line, "shared" if at.shared else "global")
            sums[key] = sums.get(key, np.zeros(3, np.int64)) + (at.requests, at.cost, at.ideal)
        return [Requests(space, file, line, *map(int, n)) for (file, line, space), n in sorted(sums.items())]


def argument_memories(args: Sequence[Any]) -> list[native.Memory]:
    """The memory of the arrays among the arguments, by address; arrays that overlap are one."""
    spans = []
    for number, array in enumerate(args):
        if isinstance(array, np.ndarray) and array.size > 0:
            first, end = byte_bounds(array)
            spans.append((first, end, min(array.itemsize, 4), _allocation(array), [number]))
    merged: list[tuple[int, int, int, int, list[int]]] = []
    for first, end, granule, origin, numbers in sorted(spans):
        if merged and first < merged[-1][1]:
            before = merged.pop()
            numbers = before[4] + numbers
            merged.append((before[0], max(before[1], end), min(before[2], granule), before[3], numbers))
        else:
            merged.append((first, end, granule, origin, numbers))
    return [
        native.Memory(first, end - first, origin, granule, _argument_name(numbers).encode())
        for first, end, granule, origin, numbers in merged
    ]


def _allocation(array: np.ndarray) -> int:
    """Where the memory starts that the array is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return byte_bounds(array)[0]


def _argument_name(numbers: list[int]) -> str:
    return (
        f"argument {numbers[0]}"
        if len(numbers) == 1
        else f"arguments {' and '.join(map(str, sorted(numbers)))}"
    )


def _short(symbol: str) -> str:
    """The variable's own name: _ZZ4tilePfE5cache -> cache."""
    found = re.search(r"E(\d+)([A-Za-z_]\w*)$", symbol)
    return found.group(2)[: int(found.group(1))] if found else symbol
