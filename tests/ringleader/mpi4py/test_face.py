"""``ringleader.mpi4py`` under mpirun, over shared memory and over MPI alone."""

from pathlib import Path

import pytest

CASES = Path(__file__).with_name("cases.py")


@pytest.mark.parametrize(("n", "transport"), [(1, "shm"), (2, "mpi"), (3, "shm"), (3, "mpi"), (5, "shm")])
def test_all_cases(n, transport, mpi_job):
    options = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--color=no", CASES]
    done = mpi_job(n, *options, RINGLEADER_TRANSPORT=transport, RINGLEADER_TIMEOUT="30", seconds=110)
    assert done.returncode == 0, done.stdout[-6000:]
    assert done.stdout.count(" passed") == n and "failed" not in done.stdout, done.stdout[-6000:]


def test_ranks_that_do_not_come_are_named(mpi_job):
    script = """
import numpy as np
from ringleader.mpi4py import MPI
comm = MPI.COMM_WORLD
if comm.rank != 1:
    comm.Iallreduce(np.zeros(3), np.zeros(3)).Wait()
"""
    done = mpi_job(3, "-c", script, RINGLEADER_TIMEOUT="2", seconds=60)
    assert done.returncode != 0
    assert "rank 1 did not call" in done.stdout, done.stdout[-4000:]


def test_mpi_may_be_finalised_by_the_program(mpi_job):
    script = """
from ringleader.mpi4py import MPI
print("sum", MPI.COMM_WORLD.allreduce(MPI.COMM_WORLD.rank))
MPI.Finalize()
"""
    done = mpi_job(3, "-c", script, seconds=60)
    assert done.returncode == 0, done.stdout[-4000:]
    assert done.stdout.count("sum 3") == 3
