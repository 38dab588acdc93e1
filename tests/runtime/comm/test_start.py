"""How a process finds its ranks, and how a job ends when one of them fails."""

import os
import subprocess
import sys
import time

import pytest

ALLREDUCE = "import numpy as np, ringleader as rl; w = rl.init(timeout=20); w.allreduce(np.ones(3))"


def python(code, **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PMI", "SLURM_"))}
    return subprocess.run(
        [sys.executable, "-c", code], env={**clean, **environment}, text=True, capture_output=True,
        timeout=60, check=False,
    )  # fmt: skip


def test_no_launcher_is_a_world_of_one_without_mpi():
    done = python(f"{ALLREDUCE}; import sys; print(w, 'mpi4py' in sys.modules)")
    assert "rank 0 of 1 over threads> False" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "claim", [{"OMPI_COMM_WORLD_SIZE": "4"}, {"PMI_SIZE": "2", "PMI_RANK": "0"}, {"SLURM_NTASKS": "3"}]
)
def test_never_n_silent_worlds_of_one(claim):
    """The launcher claims several ranks, MPI says one, or cannot be used."""
    name, value = next(iter(claim.items()))
    for hide in ("", "import sys; sys.modules['mpi4py'] = None; "):
        if not hide and name == "PMI_SIZE":
            continue  # a real MPICH would look for the launcher behind PMI_SIZE
        if not hide and name == "OMPI_COMM_WORLD_SIZE":
            pytest.importorskip("mpi4py")
        done = python(hide + ALLREDUCE, **claim)
        assert done.returncode != 0
        assert f"{name}={value}" in done.stderr
        assert "mpirun" in done.stderr
    single = python(f"{ALLREDUCE}; print(w.size)", **claim, RINGLEADER_SINGLE="1")
    assert single.stdout == "1\n", single.stderr


def test_an_exception_on_one_rank_ends_the_job_with_its_traceback(mpi_job):
    start = time.monotonic()
    script = f"{ALLREDUCE}\nif w.rank == 1: raise KeyError('boom on purpose')\nw.allreduce(np.ones(3))"
    done = mpi_job(3, "-c", script)
    assert done.returncode != 0
    assert time.monotonic() - start < 30
    assert "Rank 1 of 3 failed:" in done.stdout
    assert "KeyError: 'boom on purpose'" in done.stdout
    assert "Traceback" in done.stdout


def test_an_exception_while_the_others_compute_ends_the_job(mpi_job):
    script = f"import time\n{ALLREDUCE}\nif w.rank == 1: raise KeyError('boom')\ntime.sleep(600)"
    done = mpi_job(2, "-c", script, seconds=40)
    assert done.returncode != 0
    assert "KeyError: 'boom'" in done.stdout


def test_a_rank_that_leaves_early_is_named(mpi_job):
    done = mpi_job(3, "-c", f"{ALLREDUCE}\nif w.rank != 2: w.allreduce(np.ones(4))")
    assert done.returncode != 0
    assert "rank 2: has finished; its last was call 0, allreduce(float64[3]" in done.stdout


def test_exit_code_of_one_rank_is_not_lost(mpi_job):
    done = mpi_job(2, "-c", f"import sys\n{ALLREDUCE}\nsys.exit(3 if w.rank == 1 else 0)")
    assert done.returncode == 3, done.stdout[-2000:]


def test_a_killed_rank_ends_the_job(mpi_job):
    script = (
        f"import os, signal\n{ALLREDUCE}\nif w.rank == 1: os.kill(os.getpid(), signal.SIGKILL)\nw.barrier()"
    )
    done = mpi_job(3, "-c", script, seconds=40)
    assert done.returncode != 0
