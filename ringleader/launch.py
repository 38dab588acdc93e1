"""Starting the ranks: ``ringleader ... -n 4`` runs ``mpirun -n 4 python -m ringleader ...`` and waits for it.

Two families of mpirun are known by what ``--version`` prints. Open MPI must be told that more ranks than
cores and the root user are welcome. Hydra (MPICH, Intel MPI, MVAPICH) needs nothing. Both end a job when a
rank dies; Open MPI 5 can be told to let the others go on. (Hydra's -disable-auto-cleanup is not enough: MPICH
4.3 and 5.0 kill the survivors as soon as one of them prints.)
"""

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from ringleader.runtime.comm.cores import threads_per_rank

INSTALL_HINT = "install an embedded MPI with: pip install 'ringleader[mpi]'"
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 2.0  # seconds that mpirun gets to end its ranks; measured: Open MPI 0.3 to 0.5, MPICH 0.05
MOST_STARTED = 1024  # ranks: beyond that even the launcher runs out of memory before it says so
SHOW_CURSOR = "\x1b[?25h"


class LaunchError(RuntimeError):
    """The ranks cannot be started; the message says what to do."""


class SurvivalError(LaunchError):
    """This mpirun ends the whole job when a rank dies."""


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


def find_mpirun(python: str = sys.executable) -> Path:
    """mpirun: beside that Python (the embedded MPI wheel); for this one also among its scripts, or on PATH."""
    places: list[str | None] = [str(Path(python).parent)]
    if python == sys.executable:
        places += [sysconfig.get_path("scripts"), None]
    for name in ("mpirun", "mpiexec"):
        for path in places:
            found = shutil.which(name, path=path)
            if found:
                return Path(found)
    raise LaunchError(f"more than one rank needs MPI, and no mpirun was found: {INSTALL_HINT}")


def mpirun_options(version: str, root: bool, terminal: bool, survive: bool = False) -> list[str]:
    """What the mpirun that prints ``version`` needs on a crowded machine, in a container, in a terminal, and to let
    the other ranks ``survive`` one that dies."""
    open_mpi = re.search(r"\((?:Open MPI|OpenRTE)\) (\d+)", version)
    if survive and not (open_mpi and int(open_mpi[1]) >= 5):
        told = " ".join(version.split("\n", 1)[0].split()) or "of no known kind"
        raise SurvivalError(
            f"this mpirun ({told}) ends the whole job when a rank dies. To go on needs Open MPI 5 or later; "
            + INSTALL_HINT
        )
    if open_mpi is None:
        return []
    options = ["--map-by", ":OVERSUBSCRIBE", "--bind-to", "none"]
    if survive:
        options += ["--with-ft", "ulfm"]
    if root:
        options.append("--allow-run-as-root")
    if terminal and int(open_mpi[1]) >= 5:  # which otherwise holds a progress bar back until its line ends
        options += ["--output", ":raw"]
    return options


def mpirun_command(ranks: int, program: list[str], survive: bool = False) -> list[str]:
    """The command that starts ``program``, a Python with its arguments, on ``ranks`` ranks of that Python's MPI.

    ``survive``: the death of a rank (killed, crashed) does not end the job; LaunchError where this mpirun cannot do
    that. mpirun then says nothing of the dead: the job ends when its last rank does, with exit code 0 if the survivors
    ended well (or all died). An exception that nobody catches still ends all ranks, with exit code 1. Without
    ``survive`` a death ends the job with 128 + the signal (MPICH: the signal), and the launcher names rank and signal.
    """
    mpirun = find_mpirun(program[0])
    if program[0] == sys.executable and find_spec("mpi4py") is None:
        raise LaunchError(f"more than one rank needs MPI, and mpi4py is not installed: {INSTALL_HINT}")
    answer = subprocess.run([mpirun, "--version"], capture_output=True, text=True, timeout=30, check=False)
    options = mpirun_options(answer.stdout + answer.stderr, os.geteuid() == 0, sys.stdout.isatty(), survive)
    return [str(mpirun), *options, "-n", str(ranks), *program]


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
