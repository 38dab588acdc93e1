"""After a rank has died, those that have come through end MPI as they would have, and go on."""

SCRIPT = """
import os, signal
import numpy as np
import ringleader as rl
from ringleader.mpi4py import MPI
comm = MPI.COMM_WORLD
x, y = np.ones(5), np.empty(5)
comm.Allreduce(x, y)
if comm.rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
try:
    comm.Allreduce(x, y)
except rl.RankLost:
    MPI.Finalize()
    print("went on", flush=True)
"""


def test_finalize_returns_where_a_rank_has_died(mpi_job):
    done = mpi_job(3, "-c", SCRIPT, seconds=60, survive=True)
    assert done.stdout.count("went on") == 2, done.stdout[-3000:]
