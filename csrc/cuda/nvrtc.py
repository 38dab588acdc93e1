"""NVIDIA's runtime compiler, through whichever Python binding is installed; it needs neither a GPU nor a driver.

cuda.bindings (extra ``kernels``) is the light one; CuPy (extras ``cuda12``, ``cuda13``) brings another.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ringleader.csrc.cuda.bindings import CudaBindings, CupyBinding, Program

INSTALL = "pip install 'ringleader[kernels]'"
NEEDED = ("cuda_fp16.h", "cuda_bf16.h", "cuda_runtime_api.h")  # by common.cuh, and to know their version


class NoCompiler(RuntimeError):
    """NVRTC or the toolkit's headers are not installed; the message says what to install."""


class CompileError(RuntimeError):
    """The compiler's message, with the lines of the source that it is about."""


@dataclass(frozen=True)
class Compiled:
    """What NVRTC made: a cubin, the kernels' mangled names by expression, and what it and ptxas said."""

    cubin: bytes
    names: Mapping[str, str]
    log: str


def nvrtc_compile(
    source: str, name: str, headers: Mapping[str, str], options: Sequence[str], expressions: Sequence[str]
) -> Compiled:
    """Compile ``source``, which messages call ``name``. headers: what it includes, by name, besides the toolkit's.

    CompileError: it does not compile. NoCompiler: there is no NVRTC.
    """
    program = binding()(source, name, headers)
    for expression in expressions:
        program.add(expression)
    succeeded, log = program.compile([*options, f"-I{toolkit_headers()}"])
    if not succeeded:
        raise CompileError(f"{name} does not compile with {' '.join(options)}:\n{log.strip()}")
    return Compiled(program.cubin(), {e: program.lowered(e) for e in expressions}, log)


def nvrtc_version() -> str:
    """As "13.0". NoCompiler: there is no NVRTC."""
    major, minor = binding().version()
    return f"{major}.{minor}"


@cache
def toolkit_headers() -> Path:
    """The folder with cuda_fp16.h. NoCompiler: there is none, or a part is missing."""
    folders = [Path(os.environ[v], "include") for v in ("CUDA_PATH", "CUDA_HOME") if os.environ.get(v)]
    folders = [*_pip_headers(), *folders, Path("/usr/local/cuda/include")]
    for folder in folders:
        if all((folder / header).is_file() for header in NEEDED):
            return folder
    raise NoCompiler(
        f"CUDA's headers ({', '.join(NEEDED)}) were not found in {', '.join(map(str, folders))}: {INSTALL}, or "
        "set CUDA_PATH to a CUDA toolkit"
    )


@cache
def headers_version() -> str:
    """CUDART_VERSION of the toolkit's headers: "13050" for 13.5."""
    text = (toolkit_headers() / "cuda_runtime_api.h").read_text(errors="replace")
    found = re.search(r"#define\s+CUDART_VERSION\s+(\d+)", text)
    return found[1] if found else "unknown"


def _pip_headers() -> list[Path]:
    """Where NVIDIA's wheels of the compiler's major version put them."""
    try:
        import nvidia
    except ImportError:
        return []
    major, _ = binding().version()
    inside = (f"cu{major}/include", "cuda_runtime/include")  # since CUDA 13, and before
    return [Path(root, folder) for root in nvidia.__path__ for folder in inside]


@cache
def binding() -> type[Program]:
    """The first one that works. NoCompiler: none does."""
    failed = []
    for candidate in (CudaBindings, CupyBinding):
        try:
            candidate.version()
        except (ImportError, RuntimeError, OSError) as error:
            failed.append(f"{candidate.package}: {' '.join(str(error).split())}")
        else:
            return candidate
    raise NoCompiler(f"no NVRTC to compile CUDA kernels with ({'; '.join(failed)}): {INSTALL}")
