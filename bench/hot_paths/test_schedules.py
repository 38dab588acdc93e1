"""What it costs to build, prove, lower and simulate a schedule."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from ringleader.collectives import Schedule, build, lower, registry, simulate, topology, verify


@pytest.fixture
def ring() -> Callable[[int], Schedule]:
    """Built anew at each call: the registry would remember it."""

    def built(n: int) -> Schedule:
        registry._build.cache_clear()
        return build("allreduce", "ring", n)

    return built


def test_build(benchmark: BenchmarkFixture, ring: Any) -> None:
    assert benchmark(ring, 4096).n == 4096


@pytest.mark.parametrize("algorithm", ["ring", "halving-doubling"])
def test_verify(benchmark: BenchmarkFixture, algorithm: str) -> None:
    assert benchmark(verify, build("allreduce", algorithm, 32))


def test_lower(benchmark: BenchmarkFixture) -> None:
    assert benchmark(lower, build("allreduce", "ring", 64), 3).instructions


@pytest.mark.parametrize("model", ["rounds", "loggp"])
def test_simulate(benchmark: BenchmarkFixture, model: str) -> None:
    schedule, where = build("allreduce", "ring", 128), topology("torus:8x16")
    assert benchmark(simulate, schedule, 4 << 20, where, model=model).total > 0
