"""The tests of collectives once more, each rank a process under mpirun."""

from pathlib import Path

import pytest

SECONDS = 280  # a job has 40 s of work to do, and may have to share the cores
pytestmark = pytest.mark.timeout(SECONDS + 20)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("name", ["test_collectives.py", "test_every_algorithm.py"])
def test_collectives_over_mpi(n, name, mpi_job):
    module = Path(__file__).parent / name
    options = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--color=no"]
    done = mpi_job(n, *options, module, RINGLEADER_TEST_RANKS=str(n), seconds=SECONDS)
    assert done.returncode == 0, done.stdout[-4000:]
    assert done.stdout.count(" passed") == n, done.stdout[-4000:]
    assert "failed" not in done.stdout


@pytest.mark.parametrize(("n", "environment"), [
    (3, {"RINGLEADER_TRANSPORT": "mpi"}),
    (5, {"RINGLEADER_NODES": "2"}),
    (4, {"RINGLEADER_NODES": "4"}),
])  # fmt: skip
def test_collectives_over_other_links(n, environment, mpi_job):
    """MPI alone, and several nodes (pretended), where one program spans shared memory and MPI."""
    folder = Path(__file__).parent
    modules = [folder / "test_collectives.py", folder / "test_every_algorithm.py"]
    options = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--color=no"]
    done = mpi_job(n, *options, *modules, RINGLEADER_TEST_RANKS=str(n), seconds=SECONDS, **environment)
    assert done.returncode == 0, done.stdout[-4000:]
    assert done.stdout.count(" passed") == n, done.stdout[-4000:]


def test_more_than_2_gib_in_one_call(mpi_job):
    """MPI counts are 32-bit: 2 GiB + a prime, over our ring and over the library's own collective."""
    # values stay below 256: Open MPI adds 8-bit integers with saturation, we and MPICH wrap around
    script = """
import numpy as np, ringleader as rl
world = rl.init()
size = 2**31 + 4099
x = np.resize(np.arange(61, dtype=np.uint8), size)
x[-1] = 7
for algorithm in ("ring", "vendor"):
    world.allreduce(x, algorithm=algorithm)
    for at in (0, 60, 2**30, 2**31 - 1, 2**31 + 5):
        factor = 2 if algorithm == "ring" else 4
        assert x[at] == at % 61 * factor, (at, x[at])
assert x[-1] == 28
print("right")
"""
    done = mpi_job(2, "-c", script, seconds=SECONDS)
    assert done.stdout.count("right") == 2, done.stdout[-3000:]
