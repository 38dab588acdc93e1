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
