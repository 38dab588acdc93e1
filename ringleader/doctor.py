"""``ringleader doctor``: what this installation can do, what is slower than it could be, and the remedy."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import ringleader
from ringleader.launch import (
    INSTALL_HINT,
    LaunchError,
    find_mpirun,
    kill_tree,
    mpirun_command,
    rank_environment,
)
from ringleader.memory import available
from ringleader.runtime.comm.start import TRANSPORT_VARIABLE

OK, LESS, BROKEN = "ok", "less", "broken"  # works; works with less than there could be; does not work
PATIENCE = 60.0  # seconds for a process that looks at something
# Measured, the engine against MPI's shared windows, 2 ranks on 2 cores: docs/how-it-works.md.
SLOWER = (
    "AllReduce between ranks of a node goes through MPI's shared windows and messages instead: about 50 times slower "
    "for a few KiB, about 10 times at 64 KiB, about 3 times at 1 MiB, hardly at 16 MiB"
)
GET_ENGINE = (
    "to get it, install a C++17 compiler and Python's headers (apt-get install g++ python3-dev; or dnf install gcc-c++ "
    "python3-devel; or conda install -c conda-forge gxx), then in the checkout: pip install -v --force-reinstall "
    "--no-deps . (it shows what the compiler says)"
)
LOOK_AT_MPI = """
import json
from mpi4py import MPI
levels = {MPI.THREAD_SINGLE: "single", MPI.THREAD_FUNNELED: "funneled", MPI.THREAD_SERIALIZED: "serialized",
          MPI.THREAD_MULTIPLE: "multiple"}
print(json.dumps([" ".join(MPI.Get_library_version().splitlines()[0].split(",")[0].split()), levels[MPI.Query_thread()]]))
"""
MAP_OURS = """
import mmap, sys
with open(sys.argv[1], "r+b") as file, mmap.mmap(file.fileno(), 4096) as memory:
    assert memory[:4] == b"ours"
"""
LOOK_AT_GPU = """
from ringleader.csrc.cuda.gpu import Gpu
gpu = Gpu()
print(f"{gpu.name}, {gpu.multiprocessors} multiprocessors; kernels are compiled for sm_{gpu.target}")
"""


@dataclass(frozen=True)
class Finding:
    """``remedies``: what to do, where something is missing."""

    name: str
    state: str
    text: str
    remedies: tuple[str, ...] = ()


def run(ranks: int | None, as_json: bool) -> int:
    """Print the report; ``ranks``: also start so many. Returns 1 if something is broken, 0 otherwise."""
    findings = []
    for look in (_versions, _engine, _mpi, _mpirun, _sharing, _limits, _memory, _cores, _gpu, _kernels):
        findings += list(look())
    if ranks is not None:
        findings.append(_started(ranks))
    broken = any(f.state == BROKEN for f in findings)
    if as_json:
        print(json.dumps({"ok": not broken, "findings": [asdict(f) for f in findings]}, indent=1))
    else:
        width = max(len(f.name) for f in findings)
        margin = " " * (width + 10)
        for f in findings:
            print(f"{f.state:<6}  {f.name:<{width}}  {f.text}")
            for remedy in f.remedies:
                print(textwrap.fill(remedy, 110, initial_indent=margin, subsequent_indent=margin))
    return 1 if broken else 0


def _versions() -> Iterator[Finding]:
    yield Finding("ringleader", OK, f"{ringleader.__version__}, in {Path(ringleader.__file__).parent}")
    yield Finding("python", OK, f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Finding("numpy", OK, version("numpy"))


def _engine() -> Iterator[Finding]:
    try:
        from ringleader.csrc.cpu import _engine
    except ImportError as error:
        how = GET_ENGINE if sys.platform == "linux" else "it is for Linux only"
        yield Finding("engine", LESS, f"not built: {error}", (SLOWER, how))
    else:
        forced = os.environ.get(TRANSPORT_VARIABLE, "shm")
        text = f"built; its kernels here: {_engine.cpu_level()}"
        if forced == "shm":
            yield Finding("engine", OK, text)
        else:
            remedy = f"{TRANSPORT_VARIABLE}={forced} keeps ranks from using it: unset it"
            yield Finding("engine", LESS, text, (remedy,))


def _mpi() -> Iterator[Finding]:
    """In a process of its own: what starts MPI may end the process, or hang."""
    try:
        installed = version("mpi4py")
    except PackageNotFoundError:
        yield Finding("mpi", LESS, "mpi4py is not installed: one rank, and ranks as threads", (INSTALL_HINT,))
        return
    code, output = _output([sys.executable, "-c", LOOK_AT_MPI])
    told = re.search(r"^\[.*\]$", output, re.MULTILINE)
    if code or not told:
        text = f"mpi4py {installed} cannot start MPI: {_last_line(output)}"
        yield Finding(
            "mpi", BROKEN, text, (f"reinstall mpi4py for the MPI of this machine, or {INSTALL_HINT}",)
        )
    else:
        library, threads = json.loads(told[0])
        yield Finding("mpi", OK, f"mpi4py {installed}, {library}, thread level {threads}")


def _mpirun() -> Iterator[Finding]:
    try:
        path = find_mpirun()
    except LaunchError:
        yield Finding("mpirun", LESS, "not found: -n starts no ranks", (INSTALL_HINT,))
        return
    code, output = _output([str(path), "--version"])
    numbered = next((line for line in output.splitlines() if re.search(r"\d", line)), "")
    if code:
        yield Finding("mpirun", BROKEN, f"{path} --version fails: {_last_line(output)}", (INSTALL_HINT,))
    else:
        yield Finding("mpirun", OK, f"{path}, {' '.join(numbered.split())}")


def _sharing() -> Iterator[Finding]:
    """Can a second process map memory of this one, as the engine's ranks do?"""
    if sys.platform != "linux":
        return
    name, remedy = (
        "shared memory",
        "ranks need one user and one container; until then MPI carries their messages",
    )
    try:
        file = os.memfd_create("ringleader-doctor")
        os.write(file, b"ours".ljust(4096))
    except OSError as error:
        yield Finding(name, LESS, f"none can be made: {error}", (remedy,))
        return
    code, output = _output([sys.executable, "-c", MAP_OURS, f"/proc/{os.getpid()}/fd/{file}"])
    os.close(file)
    if code:
        yield Finding(name, LESS, f"a second process cannot map it: {_last_line(output)}", (remedy,))
    else:
        yield Finding(name, OK, "a second process can map it")


def _limits() -> Iterator[Finding]:
    try:
        import resource  # not on Windows
    except ImportError:
        return
    names = {"open files": "RLIMIT_NOFILE", "processes": "RLIMIT_NPROC", "address space": "RLIMIT_AS"}
    soft = {
        text: resource.getrlimit(getattr(resource, n))[0] for text, n in names.items() if hasattr(resource, n)
    }
    text = ", ".join(
        f"{name} {'unlimited' if value == resource.RLIM_INFINITY else f'{value:,}'}"
        for name, value in soft.items()
    )
    if soft.get("address space", resource.RLIM_INFINITY) != resource.RLIM_INFINITY:
        remedy = "the engine reserves much address space and little memory: ulimit -v unlimited"
        yield Finding("limits", LESS, text, (remedy,))
    else:
        yield Finding("limits", OK, text)


def _memory() -> Iterator[Finding]:
    text = f"{available() / 2**30:.1f} GiB available"
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # there is none, or it says "max"
            limit = int(Path(path).read_text())
            if limit < 1 << 60:  # the old kind says a huge number instead
                text += f"; this container may use {limit / 2**30:.1f} GiB"
    yield Finding("memory", OK, text)


def _cores() -> Iterator[Finding]:
    whole = os.cpu_count() or 1
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        cores = whole
    text, threads = f"{cores} of {whole}", os.environ.get("OMP_NUM_THREADS")
    if threads is None and cores > 1:
        remedy = (
            f"OMP_NUM_THREADS is not set: each rank that you start by mpirun may use {cores} threads, and ranks slow "
            "each other down; set it to cores / ranks ('ringleader ... -n' does)"
        )
        yield Finding("cores", OK, text, (remedy,))
    else:
        yield Finding("cores", OK, f"{text}; OMP_NUM_THREADS={threads}" if threads else text)


def _gpu() -> Iterator[Finding]:
    """In a process of its own: importing CuPy may take seconds, or fail."""
    if find_spec("cupy") is None:
        remedy = "with an NVIDIA GPU: pip install 'ringleader[cuda13]', or [cuda12] for a driver before 580"
        yield Finding("gpu", OK, "not looked for: CuPy is not installed", (remedy,))
        return
    code, output = _output([sys.executable, "-c", LOOK_AT_GPU])
    if code:
        yield Finding("gpu", LESS, _last_line(output).partition(": ")[2] or _last_line(output))
    else:
        yield Finding("gpu", OK, _last_line(output))


def _kernels() -> Iterator[Finding]:
    """What compiles CUDA kernels for a GPU, and what runs them without one."""
    from ringleader.csrc.cuda import nvrtc
    from ringleader.csrc.emulate import CompileError
    from ringleader.csrc.emulate.compiler import compiler

    try:
        text = f"{nvrtc.nvrtc_version()} by {nvrtc.binding().package}, headers in {nvrtc.toolkit_headers()}"
        yield Finding("nvrtc", OK, text)
    except nvrtc.NoCompiler as error:
        yield Finding("nvrtc", LESS, "none that could compile CUDA kernels", (str(error),))
    try:
        yield Finding("emulator", OK, f"runs CUDA kernels on the CPU, compiled by {compiler()[0]}")
    except CompileError as error:
        yield Finding("emulator", LESS, "does not run CUDA kernels here", (str(error),))


def _started(ranks: int) -> Finding:
    name = f"{ranks} ranks"
    program = [sys.executable, "-c", "from ringleader.doctor import measure; measure()"]
    try:
        code, output = _output(mpirun_command(ranks, program), rank_environment(ranks))
    except LaunchError as error:
        return Finding(name, BROKEN, str(error))
    told = re.search(r"^transport .*$", output, re.MULTILINE)
    if code or not told:
        return Finding(
            name, BROKEN, f"the job ended with {code}: {_last_line(output)}", ("run it by hand to see more",)
        )
    return Finding(name, OK, told[0])


def measure() -> None:
    """On every rank: rank 0 prints the transport, and what a barrier and an AllReduce of 1 MiB take."""
    import statistics
    import time

    import numpy as np

    from ringleader.runtime.comm import init

    world = init(timeout=PATIENCE / 2)

    def seconds(call: Callable[[], object], times: int) -> float:
        """A call, on the slowest rank: median of 5."""
        runs = []
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(times):
                call()
            runs.append((time.perf_counter() - start) / times)
        return float(world.allreduce(np.array([statistics.median(runs)]), "max")[0])

    x = np.full(1 << 18, world.rank, np.float32)
    world.allreduce(x)
    expected = world.size * (world.size - 1) // 2
    if not (x == expected).all():
        raise RuntimeError(f"AllReduce is wrong: {x.min()} ... {x.max()} instead of {expected}")
    x.fill(0)
    barrier, allreduce = seconds(world.barrier, 100), seconds(lambda: world.allreduce(x), 10)
    if world.rank == 0:
        moved = 2 * (world.size - 1) / world.size * x.nbytes / allreduce / 1e9
        print(
            f"transport {world.transport}, barrier {barrier * 1e6:.1f} us, AllReduce of 1 MiB {allreduce * 1e6:.0f} us "
            f"({moved:.1f} GB/s bus bandwidth)", flush=True,
        )  # fmt: skip


def _output(command: list[str], environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and output; what takes too long is ended with all its processes."""
    job = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = job.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        kill_tree(job.pid)
        job.communicate()
        return 1, f"no answer within {PATIENCE:g} s"
    except BaseException:
        kill_tree(job.pid)
        raise
    return job.returncode, output


def _last_line(output: str) -> str:
    """The last that says something: no ruled line, no blank."""
    lines = [line.strip() for line in output.splitlines() if re.search(r"\w", line)]
    errors = [line for line in lines if re.match(r"\w*(Error|Exception)\b", line)]
    return (errors or lines or ["it said nothing"])[-1]
