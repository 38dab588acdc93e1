"""Tests of ringleader.torch: ranks_*.py run under mpirun, each rank a pytest of its own; test_*.py start them."""

import sys
from datetime import timedelta
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LIMIT = timedelta(seconds=30)  # of a call in these tests
LIMIT_OF_JOB = 200  # seconds
# Gloo, which some tests compare with, otherwise asks the name service for this machine's address
ENVIRONMENT = {"GLOO_SOCKET_IFNAME": "lo"}


@pytest.fixture(scope="session")
def torch_job(mpi_job):
    """torch_job(n, arguments of python, ...): like mpi_job; skips where PyTorch is not installed."""
    pytest.importorskip("torch", reason="needs the torch extra: pip install 'ringleader[torch]'")

    def run(n, *arguments, **options):
        return mpi_job(n, *arguments, **{**ENVIRONMENT, **options})

    return run


@pytest.fixture(scope="session")
def on_ranks(torch_job):
    """on_ranks(n, "ranks_x.py", ...): all tests of those files pass on every one of n ranks."""

    def run(n, *files):
        options = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--color=no"]
        done = torch_job(n, *options, *(HERE / file for file in files), seconds=LIMIT_OF_JOB)
        assert done.returncode == 0, done.stdout[-6000:]
        assert done.stdout.count(" passed") == n, done.stdout[-6000:]
        assert "failed" not in done.stdout
        assert "skipped" not in done.stdout

    return run


@pytest.fixture(scope="session")
def world():
    """In ranks_*.py: torch.distributed, started as a user would; the default group is ringleader's."""
    assert any("ranks_" in argument for argument in sys.argv), "ranks_*.py run under mpirun, see test_*.py"
    import torch.distributed as dist

    import ringleader.torch  # noqa: F401

    dist.init_process_group("ringleader", timeout=LIMIT)
    yield dist
    dist.destroy_process_group()


@pytest.fixture
def rank(world):
    return world.get_rank()


@pytest.fixture
def n(world):
    return world.get_world_size()
