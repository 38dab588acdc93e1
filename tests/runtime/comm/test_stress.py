"""Random collectives on processes under mpirun (stress.py): RINGLEADER_STRESS_SECONDS=60 makes each run that long,
RINGLEADER_STRESS_SEED chooses the draws."""

import os
from pathlib import Path

import pytest

SECONDS = float(os.environ.get("RINGLEADER_STRESS_SECONDS", "5"))
SEED = int(os.environ.get("RINGLEADER_STRESS_SEED", "1"))


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize("n", [2, 3, 5])
def test_random_calls(n, mpi_job):
    program = Path(__file__).with_name("stress.py")
    done = mpi_job(n, program, SEED, SECONDS, seconds=SECONDS + 100, RINGLEADER_TIMEOUT="60")
    assert done.returncode == 0, done.stdout[-6000:]
    assert f"{n} ranks over " in done.stdout and "all right" in done.stdout, done.stdout[-6000:]
