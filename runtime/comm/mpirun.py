"""The command line that starts ranks: MPI's mpirun, and the options that it needs.

Two families of mpirun are known by what ``--version`` prints. Open MPI must be told that more ranks than
cores and the root user are welcome. Hydra (MPICH, Intel MPI, MVAPICH) needs nothing. Both end a job when a
rank dies; Open MPI 5 can be told to let the others go on. (Hydra's -disable-auto-cleanup is not enough: MPICH
4.3 and 5.0 kill the survivors as soon as one of them prints.)
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

INSTALL_HINT = "install an embedded MPI with: pip install 'ringleader[mpi]'"


class LaunchError(RuntimeError):
    """The ranks cannot be started; the message says what to do."""


class SurvivalError(LaunchError):
    """This mpirun ends the whole job when a rank dies."""


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
