"""Compiles kernels with g++ into shared objects, one for each, kept in the user's cache.

The cache's key is all that the result depends on: sources with their headers, flags, the compiler's version, the CPU.
Files appear in the cache under their final name only when complete, so any number of processes may share it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from ringleader.csrc import cuda
from ringleader.csrc.emulate.errors import CompileError

HERE = Path(__file__).parent
CUDA = Path(cuda.__file__).parent

FLAGS = [
    "-std=c++17", "-fPIC", "-march=native", "-fvisibility=hidden", "-fno-gnu-unique",
    "-fno-strict-aliasing",  # kernels read numbers as bits
    "-DRINGLEADER_EMULATE", "-Wno-unknown-pragmas", "-fmax-errors=10", "-ftrack-macro-expansion=0",
]  # fmt: skip
FAST = ["-O2", "-g1"]  # -g1: lines for crashes
# Every access calls __tsan_read4 and the like, which here are checker.cpp's and not those of the sanitizer's library.
# Static arrays are written out, as zeros, for _leave_gaps to find. A float4 is read at once, not member by member.
CHECKED = [
    "-O1", "-g", "-fsanitize=thread", "-DRINGLEADER_CHECKED", "-fno-zero-initialized-in-bss", "-fno-tree-sra",
]  # fmt: skip
GAP = 256  # bytes, checker.h's: a multiple of every array's alignment
RUNTIME = ["context.cpp", "failure.cpp", "ptx.cpp", "scheduler.cpp", "stacks.cpp", "waiting.cpp", "warp.cpp"]
CHECKER = ["checker.cpp", "hooks.cpp"]


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/ringleader/emulate, ~/.cache/ringleader/emulate without; a temporary one for users with no home."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        above = given if given.is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # no home
        above = Path(tempfile.gettempdir()) / f"ringleader-{os.getuid()}"
    return above / "ringleader" / "emulate"


@cache
def compiler() -> tuple[str, str]:
    """The command, and what says whether its results can be used again: its version and the CPU.

    CompileError: there is none.
    """
    command = os.environ.get("CXX") or "g++"
    found = shutil.which(command)
    if found is None:
        raise CompileError(
            f"the emulator compiles kernels with {command}, and there is none: install it "
            "(Debian and Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++; conda: conda install gxx), "
            "or name another compiler in CXX"
        )
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    try:
        flags = [
            line
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith(("flags", "Features"))
        ]
    except OSError:
        flags = []
    return found, "\n".join([version, platform.machine(), *flags[:1]])


def build(file: Path, expression: str, *, checked: bool) -> Path:
    """The shared object of kernel ``expression`` in ``file``. CompileError: it does not compile."""
    flags = [*FLAGS, *(CHECKED if checked else FAST)]
    runtime = _runtime(checked=checked)
    # Names of files as a reader knows them: relative to where the kernels are.
    maps = [f"-ffile-prefix-map={folder}/=" for folder in dict.fromkeys((file.parent, CUDA, HERE))]
    source = f'#include "entry.h"\n#include "{file}"\nRINGLEADER_ENTRY({expression})\n'
    headers = sorted(
        [*CUDA.glob("*.cuh"), *HERE.glob("*.h"), *(set(file.parent.glob("*.cuh")) - set(CUDA.glob("*.cuh")))]
    )
    key = _key([source, *flags, runtime.name], [file, *headers])

    def make(target: Path, folder: Path) -> None:
        (folder / "kernel.cpp").write_text(source)
        include = ["-iquote", str(HERE), "-iquote", str(CUDA)]
        command = [*flags, *maps, f"-ffile-prefix-map={folder}=.", *include, "-c", "kernel.cpp"]
        if checked:
            _run([*command[:-2], "-S", "kernel.cpp"], folder, f"{file.name}: {expression}")
            assembly = (folder / "kernel.s").read_text()
            (folder / "kernel.s").write_text(_leave_gaps(assembly))
            command = ["-c", "kernel.s"]
        _run(command, folder, f"{file.name}: {expression}")
        command = ["-shared", "-Wl,-Bsymbolic", "kernel.o", str(runtime), "-o", target.name]
        _run(command, folder, f"{file.name}: {expression}")

    return _cached(f"{file.stem}-{key}.so", make)


def _leave_gaps(assembly: str) -> str:
    """With room around each static variable of a function, so that an index off by one hits none of its neighbours."""
    return re.sub(
        r"^(_ZZ\w+:\n\t\.zero\t\d+\n)", rf"\t.zero\t{GAP}\n\1\t.zero\t{GAP}\n", assembly, flags=re.MULTILINE
    )


def _runtime(*, checked: bool) -> Path:
    """The scheduler and all that kernels are linked with, as one object file."""
    sources = [HERE / name for name in [*RUNTIME, *(CHECKER if checked else [])]]
    flags = [*FLAGS, "-O2", "-g1", *(["-DRINGLEADER_CHECKED"] if checked else [])]
    key = _key(flags, [*sources, *sorted(HERE.glob("*.h"))])

    def make(target: Path, folder: Path) -> None:
        _run([*flags, "-r", "-nostdlib", *map(str, sources), "-o", target.name], folder, "the emulator")

    return _cached(f"runtime-{key}.o", make)


def _key(texts: list[str], files: list[Path]) -> str:
    digest = hashlib.sha256()
    for text in [*texts, compiler()[1]]:
        digest.update(text.encode() + b"\0")
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def _cached(name: str, make: Callable[[Path, Path], None]) -> Path:
    """The file of the cache; where it is not there yet, made by ``make(target, the folder it is made in)``."""
    target = cache_folder() / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="build-") as folder:
            made = Path(folder) / name
            make(made, Path(folder))
            os.replace(made, target)
    return target


def _run(arguments: list[str], folder: Path, what: str) -> None:
    command = [compiler()[0], *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CompileError(f"{what} does not compile:\n{done.stderr.strip()}")
