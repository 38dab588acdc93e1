"""Registers, shared memory and spills of kernels, for all that is registered and several architectures at once."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

from ringleader.csrc.cuda.catalogue import instances_of
from ringleader.csrc.cuda.compiler import compile_kernels
from ringleader.csrc.cuda.cubins import Cubin, Resources
from ringleader.csrc.cuda.versions import Instance


@dataclass(frozen=True)
class Build:
    """Kernels of a file to compile into one cubin."""

    file: str
    architecture: str
    instances: tuple[Instance, ...]


def builds(files: Iterable[str], architectures: Iterable[str]) -> list[Build]:
    """Of all kernels that claim the architectures; the largest first, so that several processes end together."""
    every = [Build(file, arch, tuple(instances_of(file, arch))) for arch in architectures for file in files]
    return sorted((of for of in every if of.instances), key=lambda of: -len(of.instances))


def compile_all(wanted: Sequence[Build], jobs: int = 1) -> Iterator[tuple[Build, Cubin]]:
    """Compile them, ``jobs`` at a time (NVRTC does one at a time in a process), as they become ready.

    CompileError, NoCompiler: as ``compile_kernels``.
    """
    if jobs == 1 or len(wanted) < 2:
        for build in wanted:
            yield build, _compiled(build)
        return
    with ProcessPoolExecutor(min(jobs, len(wanted)), multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(_compiled, build): build for build in wanted}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        finally:
            pool.shutdown(cancel_futures=True)  # whoever stops listening waits for what runs only


def _compiled(build: Build) -> Cubin:
    return compile_kernels(build.file, [of.expression for of in build.instances], build.architecture)


Table = Mapping[tuple[str, str], Mapping[str, Resources]]  # by file and expression, then by architecture


def table(compiled: Iterable[tuple[Build, Cubin]]) -> Table:
    found: dict[tuple[str, str], dict[str, Resources]] = {}
    for build, cubin in compiled:
        for of in build.instances:
            found.setdefault((build.file, of.expression), {})[build.architecture] = cubin.resources[
                of.expression
            ]
    return found


def rows(of: Table, architectures: Sequence[str]) -> Iterator[tuple[str, str, list[str]]]:
    """File, kernel and a cell an architecture: registers; "40 + 24 B": with that much spilled; "-": not for it."""
    for (file, expression), by_architecture in sorted(of.items(), key=lambda row: natural(row[0])):
        yield file, expression, [_cell(by_architecture.get(architecture)) for architecture in architectures]


def natural(key: tuple[str, str]) -> list[tuple[str, int]]:
    """Sorts <float, 32, 4> before <float, 128, 4>."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D+)(\d*)", " ".join(key))]


def _cell(of: Resources | None) -> str:
    if of is None:
        return "-"
    return f"{of.registers} + {of.spill_stores + of.spill_loads} B" if of.spills else str(of.registers)


def shared(of: Mapping[str, Resources]) -> int:
    """Bytes of static shared memory a block, on the architecture where it is most."""
    return max(resources.shared for resources in of.values())


def markdown(of: Table, architectures: Sequence[str], compiler: str) -> str:
    """The page of docs, for one version of NVRTC."""
    parts = [PAGE.format(compiler=compiler)]
    before = None
    for file, expression, cells in rows(of, architectures):
        if file != before:
            parts.append(
                f"\n## {file}\n\n| kernel | shared | {' | '.join(architectures)} |\n"
                f"|---|{'---:|' * (1 + len(architectures))}\n"
            )
            before = file
        parts.append(f"| `{expression}` | {shared(of[file, expression])} | {' | '.join(cells)} |\n")
    return "".join(parts)


PAGE = """# Registers, shared memory and spills of the CUDA kernels

Compiled by NVRTC {compiler}; made by `ringleader kernels compile --arch all --table docs/kernel-resources.md`.

A column an architecture: registers a thread, and bytes a thread that spilled registers are stored and loaded with, where
there are any: no kernel that is used spills, those in `double`, for gradient checks, may. "-": the kernel is not for that
architecture. shared: static shared memory, bytes a block; dynamic shared memory is the launcher's.
"""


def parsed(page: str) -> tuple[str, dict[tuple[str, str, str], str]]:
    """What ``markdown`` wrote: the compiler's version, and the cells by file, kernel and architecture, "shared" one too."""
    (compiler,) = re.findall(r"^Compiled by NVRTC ([\d.]+)", page, re.MULTILINE)
    cells: dict[tuple[str, str, str], str] = {}
    file, columns = "", list[str]()
    for line in page.splitlines():
        fields = [field.strip() for field in line.strip("|").split("|")]
        if line.startswith("## "):
            file = line[3:]
        elif line.startswith("| kernel |"):
            columns = fields[1:]
        elif line.startswith("| `"):
            cells.update(
                ((file, fields[0].strip("`"), column), cell) for column, cell in zip(columns, fields[1:])
            )
    return compiler, cells
