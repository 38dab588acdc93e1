"""Ranks that share a node share its cores, also in a user's own script under mpirun."""

import pytest

SCRIPT = """
import os, sys
import numpy as np
from ringleader.runtime.autograd import Linear
from ringleader.runtime.comm import init
from ringleader.runtime.comm.cores import threads_per_rank
from ringleader.runtime.parallel import DataParallel
from threadpoolctl import threadpool_info, threadpool_limits

if sys.argv[1] == "unset":
    del os.environ["OMP_NUM_THREADS"]
threadpool_limits(7)  # what a machine of seven cores would begin with
DataParallel(Linear(2, 2, generator=np.random.default_rng(0)), init())
wanted = threads_per_rank(2) if sys.argv[1] == "unset" else 7
found = {pool["num_threads"] for pool in threadpool_info()}
print("fine" if found == {wanted} else f"{found}, not {wanted}", flush=True)
"""


@pytest.mark.parametrize("omp_num_threads", ["unset", "set"])
def test_a_script_of_the_users_own(mpi_job, tmp_path, omp_num_threads):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    done = mpi_job(2, path, omp_num_threads)
    assert (done.returncode, done.stdout.count("fine")) == (0, 2), done.stdout
