"""What a call costs: ``python -m pytest bench/hot_paths``; see CONTRIBUTING.md for how to compare two versions."""

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from ringleader.runtime.comm import Communicator, spawn

CALLS = 20  # in one measurement: starting the ranks, as threads, is part of it


@pytest.mark.parametrize("nbytes", [4, 4 << 20])
def test_allreduce_over_threads(benchmark: BenchmarkFixture, nbytes: int) -> None:
    def main(world: Communicator) -> float:
        x = np.full(nbytes // 4, world.rank, np.float32)
        for _ in range(CALLS):
            x[...] = world.rank
            world.allreduce(x, algorithm="ring")
        return float(x[0])

    assert benchmark(spawn, 2, main) == [1.0, 1.0]


def test_allreduce_on_one_rank(benchmark: BenchmarkFixture) -> None:
    """Nobody to wait for: what is left is our own share of every call."""
    world = spawn(1, lambda world: world)[0]
    x = np.ones(1, np.float32)
    assert benchmark(world.allreduce, x)[0] == 1
