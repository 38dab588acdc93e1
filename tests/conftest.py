"""Options of the whole suite, and what several test folders share."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from ringleader.runtime.comm.cores import threads_per_rank

from ringleader.launch import mpirun_command

ROOT = Path(__file__).parents[1]
MOST_WORKERS = 4  # each may be running a job of ranks, a compiler or a browser: memory for all of these
os.environ["RINGLEADER_TUNING"] = "off"  # what was measured on this machine is not for the tests


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--exhaustive", action="store_true", help="prove every root for all rank counts up to 130 (hours)"
    )


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_xdist_auto_num_workers() -> int:
    """-n auto: one worker a core."""
    return min(threads_per_rank(1), MOST_WORKERS)


@pytest.fixture
def exhaustive(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--exhaustive"))


@pytest.fixture(scope="session")
def needs_mpi() -> None:
    """Skips where the mpi extra is not installed."""
    pytest.importorskip("mpi4py", reason="needs the mpi extra: pip install 'ringleader[mpi]'")


@pytest.fixture(scope="session")
def mpi_job(needs_mpi):
    """mpi_job(n, arguments of python, ...): runs it on n ranks, with a time limit and more options
    for the launcher, and so that the others ``survive`` a rank's death; output in stdout.

    Each job has a temporary folder of its own: Open MPI's mpirun, if killed, leaves files behind under its process's number,
    and another that gets this number later refuses to start ("listener thread failed to start").
    """

    def run(n, *arguments, seconds=60, launcher=(), survive=False, **environment):
        mpirun, *rest = mpirun_command(n, [sys.executable, *map(str, arguments)], survive)
        command = [mpirun, *launcher, *rest]
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with tempfile.TemporaryDirectory(prefix="rl-", ignore_cleanup_errors=True) as folder:
            return subprocess.run(
                command, env={**os.environ, **threads, "TMPDIR": folder, **environment}, cwd=ROOT, timeout=seconds,
                check=False, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip

    return run
