"""The tests of modes once more, each rank a process under mpirun."""

from pathlib import Path

import pytest


@pytest.mark.parametrize("transport", ["shm", "mpi", "windows"])
def test_modes_on_processes(mpi_job, transport):
    options = [
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "--color=no",
        "--timeout=60",
        "-k",
        "not range and not hash",
    ]
    module = Path(__file__).parent / "test_modes.py"
    done = mpi_job(
        4, *options, module, RINGLEADER_TEST_RANKS="4", RINGLEADER_TRANSPORT=transport, seconds=110
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert done.stdout.count(" passed") == 4, done.stdout[-4000:]
    assert "failed" not in done.stdout


@pytest.mark.parametrize("memory", ["world", "np"])
def test_a_push_does_not_wait_for_lower_ranks(mpi_job, memory):
    """Gradients are folded in rank order, and those that lie in shared memory are left there until their turn."""
    script = f"""
import numpy as np, ringleader as rl
world = rl.init()
with rl.ParameterServer(world, 1, reduction="sum") as server:
    if server.is_worker:
        g, out = ({memory}.empty((100_000,), np.float64) for _ in range(2))
        g[:] = 10.0**world.rank
        server.init({{"w": g}})
        for iteration in range(3):
            for turn in reversed(server.workers):
                if turn == world.rank:
                    server.push("w", g).wait(timeout=30)
                server.barrier()
            server.pull("w", out=out).wait()
            assert (out == 111).all()
            server.clock()
"""
    done = mpi_job(4, "-c", script, seconds=60)
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize("dtype", [">f8", "<i2", "c16", "?"])
def test_numbers_that_the_engine_may_not_know(mpi_job, dtype):
    """Gradients are added where they lie only if the engine adds such numbers, in this byte order."""
    script = f"""
import numpy as np, ringleader as rl
world = rl.init()
with rl.ParameterServer(world, 1, reduction="sum") as server:
    if server.is_worker:
        g, out = (world.empty((1000,), "{dtype}") for _ in range(2))
        g[:] = world.rank % 2
        server.init({{"w": g}})
        for iteration in range(2):
            server.push_pull("w", g, out=out).wait(timeout=30)
            assert (out == np.array(2, "{dtype}")).all(), (out.dtype, out[:5])
            server.clock()
"""
    done = mpi_job(5, "-c", script, seconds=60)
    assert done.returncode == 0, done.stdout[-4000:]


def test_values_that_no_cache_holds(mpi_job):
    script = """
import numpy as np, ringleader as rl
world = rl.init()
with rl.ParameterServer(world, 1, reduction="sum") as server:
    if server.is_worker:
        n = 1_000_003
        g, out = (world.empty((n,), np.int64) for _ in range(2))
        g[:] = np.arange(n) * 10**world.rank
        server.init({"w": np.zeros(n, np.int64)})
        for iteration in range(3):
            out[:] = -1
            server.push_pull("w", g, out=out).wait()
            assert (out == 111 * np.arange(n)).all()
            server.clock()
"""
    done = mpi_job(4, "-c", script, seconds=60)
    assert done.returncode == 0, done.stdout[-4000:]
