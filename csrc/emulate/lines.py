"""From an instruction of a compiled kernel to the line of source it came from."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable

from ringleader.csrc.emulate.native import Library


def locate(library: Library, instructions: Iterable[int]) -> dict[int, tuple[str, int]]:
    """File and line of each instruction, given by its address in memory; ("", 0) where that is not known.

    Of functions inlined into each other, the innermost in a .cu file: a fault in load_pack is the fault of its caller.
    """
    wanted = sorted(set(instructions))
    if not wanted:
        return {}
    command = ["addr2line", "-a", "-i", "-e", str(library.path), *(hex(pc - library.base) for pc in wanted)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    frames: list[list[tuple[str, int]]] = []
    for line in output.splitlines():
        if line.startswith("0x"):
            frames.append([])
        else:
            file, _, number = line.split(" ")[0].rpartition(":")
            frames[-1].append((os.path.normpath(file), int(number) if number.isdigit() else 0))
    return {pc: _best(found) for pc, found in zip(wanted, frames)}


def _best(frames: list[tuple[str, int]]) -> tuple[str, int]:
    known = [frame for frame in frames if frame[1] > 0]
    of_kernels = [frame for frame in known if frame[0].endswith(".cu")]
    return (of_kernels or known or [("", 0)])[0]
