"""Kernels as Python calls them: load a file, get a kernel by its name expression, launch it on numpy arrays."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ringleader.csrc.cuda.device import Extent, extent
from ringleader.csrc.emulate import compiler
from ringleader.csrc.emulate.arguments import Arguments
from ringleader.csrc.emulate.check import Check
from ringleader.csrc.emulate.errors import Index, KernelError
from ringleader.csrc.emulate.lines import locate
from ringleader.csrc.emulate.native import Failure, Launch, Library, StackPool, Three
from ringleader.csrc.emulate.report import Report

MODES = ("fast", "scrambled")
MOST_THREADS = 1024  # of a block
MOST_SHARED = 227 << 10  # bytes of a block, on Hopper; other architectures have less
one_launch = threading.RLock()  # a kernel's shared memory is static: one launch at a time
stacks = StackPool()


@cache
def load(file: str | Path) -> Module:
    """The kernels of a .cu file: of csrc/cuda by its name, of anywhere by an absolute path."""
    path = compiler.CUDA / file
    if not path.is_file():
        raise FileNotFoundError(f"no kernel file {path}")
    return Module(path)


class Module:
    """The kernels of one file; compiled when first asked for."""

    def __init__(self, file: Path):
        self.file = file
        self._kernels: dict[str, Kernel] = {}

    def get(self, expression: str) -> Kernel:
        """Kernel ``expression`` ("softmax_forward<float>"). It is compiled when first launched."""
        return self._kernels.setdefault(expression, Kernel(self.file, expression))


class Kernel:
    """One kernel: calling it launches it."""

    def __init__(self, file: Path, expression: str):
        self.file = file
        self.expression = expression
        self._libraries: dict[bool, Library] = {}

    def __repr__(self) -> str:
        return f"<kernel {self.expression} of {self.file.name}>"

    def library(self, *, checked: bool = False) -> Library:
        """Compiled, for the checked mode or the others. CompileError: it does not compile, or there is no g++."""
        with one_launch:
            if checked not in self._libraries:
                self._libraries[checked] = Library(
                    compiler.build(self.file, self.expression, checked=checked)
                )
            return self._libraries[checked]

    def __call__(
        self,
        grid: Extent,
        block: Extent,
        args: Sequence[Any],
        shared: int = 0,
        mode: str = "fast",
        seed: int = 0,
    ) -> None:
        """Launch it and wait.

        args: numpy arrays (the kernel gets the address of the first element), None for a null pointer, numpy scalars of
        the parameters' types. shared: bytes of dynamic shared memory.
        mode: "fast"; or "scrambled", where threads and blocks run in an order drawn by ``seed`` and shared memory is NaN
        at first. TypeError: an argument does not fit its parameter. ValueError: no GPU takes such a grid, block or shared.
        KernelError: the launch deadlocked or crashed.
        """
        if mode not in MODES:
            raise ValueError(
                f"a launch's mode is one of {', '.join(MODES)}, not {mode!r}; for checks, call check()"
            )
        library = self.library()
        with one_launch:
            failed = self._launch(library, grid, block, args, shared, mode == "scrambled", seed)
        if failed is not None:
            raise failed

    def check(
        self, grid: Extent, block: Extent, args: Sequence[Any], shared: int = 0, seed: int = 0
    ) -> Report:
        """Launch it with every access looked at, and say what is wrong, and what warps asked of memory at each line.

        The order of threads is drawn by ``seed``. The launch ends at an access out of bounds, or where it cannot go on.
        TypeError, ValueError: as for a launch.
        """
        library = self.library(checked=True)
        with one_launch:
            check = Check(library, args)
            failed = self._launch(library, grid, block, args, shared, True, seed)
            return check.report(self.expression, failed)

    def _launch(
        self,
        library: Library,
        grid: Extent,
        block: Extent,
        args: Sequence[Any],
        shared: int,
        scrambled: bool,
        seed: int,
    ) -> KernelError | None:
        """Why it failed; None if it did not."""
        blocks, threads = extent(grid), extent(block)
        self._check_sizes(blocks, threads, library.static_shared, shared)
        arguments = Arguments(self.expression, library.parameters, args)
        launch = Launch(
            Three(*blocks), Three(*threads), shared, ctypes.addressof(arguments.addresses), scrambled, seed % 2**64,
            library.regions, len(library.regions), ctypes.addressof(stacks),
        )  # fmt: skip
        failure, pc = Failure(), ctypes.c_size_t()
        if library.launch(launch, failure, pc) == 0:
            return None
        file, line = failure.file.decode(), failure.line
        if pc.value:
            file, line = locate(library, [pc.value])[pc.value]
        return KernelError(
            self.expression, failure.kind.decode(), failure.message.decode(errors="replace"), file, line,
            _index(failure.block), _index(failure.thread),
        )  # fmt: skip

    def _check_sizes(self, grid: Index, block: Index, static: int, shared: int) -> None:
        threads = block[0] * block[1] * block[2]
        if min(grid) < 1 or max(grid[1:]) > 65535 or grid[0] >= 2**31:
            raise ValueError(f"{self.expression}: no GPU takes a grid of {grid} blocks")
        if min(block) < 1 or threads > MOST_THREADS or block[2] > 64:
            raise ValueError(
                f"{self.expression}: no GPU takes a block of {block} threads; {MOST_THREADS} at most"
            )
        if shared < 0 or static + shared > MOST_SHARED:
            raise ValueError(
                f"{self.expression}: {shared} bytes of dynamic and {static} of static shared memory a block; "
                f"no GPU has more than {MOST_SHARED}"
            )


def _index(three: ctypes.Array[ctypes.c_uint]) -> Index:
    return three[0], three[1], three[2]
