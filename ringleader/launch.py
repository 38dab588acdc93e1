"""Starting the ranks: ``ringleader ... -n 4`` runs ``mpirun -n 4 python -m ringleader ...`` and waits for it."""

import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from ringleader.runtime.comm.cores import threads_per_rank
from ringleader.runtime.comm.mpirun import (
    INSTALL_HINT,
    LaunchError,
    SurvivalError,
    find_mpirun,
    mpirun_command,
    mpirun_options,
)

__all__ = [
    "INSTALL_HINT", "LaunchError", "Launched", "SurvivalError", "find_mpirun", "kill_tree", "launch", "launched",
    "mpirun_command", "mpirun_options", "rank_environment", "run_job",
]  # fmt: skip

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 2.0  # seconds that mpirun gets to end its ranks; measured: Open MPI 0.3 to 0.5, MPICH 0.05
MOST_STARTED = 1024  # ranks: beyond that even the launcher runs out of memory before it says so
SHOW_CURSOR = "\x1b[?25h"


@dataclass(frozen=True)
class Launched:
    """What the launcher that started this process says of it."""

    size: int
    rank: int
    local_size: int


def launched(environ: Mapping[str, str] = os.environ) -> Launched | None:
    """The launcher this process runs under, or None.

    A SLURM step of one task is what an interactive shell on a cluster looks like: it is no launcher.
    """

    def number(name: str, default: int = 0) -> int:
        return int(environ.get(name, default))

    if "OMPI_COMM_WORLD_SIZE" in environ:
        size = number("OMPI_COMM_WORLD_SIZE")
        return Launched(size, number("OMPI_COMM_WORLD_RANK"), number("OMPI_COMM_WORLD_LOCAL_SIZE", size))
    if "PMI_SIZE" in environ:  # Hydra, and srun --mpi=pmi2
        size = number("PMI_SIZE")
        return Launched(size, number("PMI_RANK"), number("MPI_LOCALNRANKS", size))
    if number("SLURM_STEP_NUM_TASKS") > 1:  # srun --mpi=pmix
        size = number("SLURM_STEP_NUM_TASKS")
        return Launched(size, number("SLURM_PROCID"), math.ceil(size / number("SLURM_STEP_NUM_NODES", 1)))
    return None


def rank_environment(ranks: int) -> dict[str, str]:
    """The environment of the ranks: threads shared out, and the terminal (mpirun's pipes would hide it)."""
    environment = dict(os.environ)
    if "OMP_NUM_THREADS" not in environment:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[name] = str(threads_per_rank(ranks))
    if sys.stdout.isatty():
        columns, lines = shutil.get_terminal_size()  # 0 in a terminal that has not been given a size
        environment |= {"RINGLEADER_TTY": "1", "COLUMNS": str(columns or 80), "LINES": str(lines or 24)}
    return environment


def launch(ranks: int, arguments: list[str], survive: bool = False) -> int:
    """Run ``ringleader <arguments>`` on ``ranks`` ranks of this machine; return the exit code of the job. ``survive``:
    see mpirun_command; where this mpirun cannot do that, a death ends the job."""
    program = [sys.executable, "-m", "ringleader", *arguments]
    try:
        command = mpirun_command(ranks, program, survive)
    except SurvivalError:
        command = mpirun_command(ranks, program)
    code = run_job(command, rank_environment(ranks))
    if code != 0 and sys.stdout.isatty():
        print(SHOW_CURSOR, end="", flush=True)  # a rank that was ended amid its progress bar could not
    return code


def run_job(command: list[str], environment: Mapping[str, str]) -> int:
    """Run mpirun to its end. A signal that ends us ends every rank at once: then 128 + its number."""
    received: list[int] = []
    timers: list[threading.Timer] = []
    job: subprocess.Popen[bytes] | None = None

    def stop(signum: int, _frame: FrameType | None = None) -> None:
        received.append(signum)
        if job is not None:
            end(job)

    def end(job: subprocess.Popen[bytes]) -> None:
        if timers:  # the second signal: no more patience
            kill_tree(job.pid)
            return
        timers.append(threading.Timer(GRACE, kill_tree, [job.pid]))
        job.terminate()
        timers[0].start()

    with _handling(stop):
        # A session of its own: Ctrl-C reaches the whole foreground group, and only we should pass it on.
        job = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
        if received and not timers:  # it came while the job was being started
            end(job)
        code = job.wait()
        for timer in timers:
            timer.cancel()
    if received:
        return 128 + received[0]
    return code if code >= 0 else 128 - code


@contextmanager
def _handling(handler: object) -> Iterator[None]:
    previous = {number: signal.signal(number, handler) for number in STOPPING}  # type: ignore[arg-type]
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)


def kill_tree(root: int) -> None:
    """Kill a process and all beneath it: ranks sit in sessions of their own, so no group has them all.

    Without /proc it kills ``root`` alone, and mpirun's helpers must notice.
    """
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # gone meanwhile
            # "pid (name) state parent ...", and a name may hold blanks and parentheses
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    doomed = [root]
    for pid in doomed:  # grows while it is walked
        doomed += [child for child, above in parents.items() if above == pid]
    for pid in doomed:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
