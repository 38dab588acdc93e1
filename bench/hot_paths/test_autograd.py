"""What autograd costs around the arithmetic: an op on a few numbers, its way back, an optimiser's step."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from ringleader.runtime.autograd import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Parameter,
    Tensor,
    flatten_parameters,
    no_grad,
)

CHAIN = 100  # ops in one measurement, where there must be several

OPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda x, y: x + y,  # keeps nothing
    "mul": lambda x, y: x * y,  # keeps its inputs
    "tanh": lambda x, _: x.tanh(),  # keeps its output
    "reshape": lambda x, _: x.reshape(2, 2),  # a view, with an option
}
OPTIMISERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: SGD(p, 0.01),
    "momentum": lambda p: SGD(p, 0.01, 0.9),
    "adam": Adam,
    "adamw": AdamW,
    "adagrad": Adagrad,
}


def leaf() -> Tensor:
    return Tensor(np.ones(4, np.float32), requires_grad=True)


@pytest.mark.parametrize("name", OPS)
def test_recorded(benchmark: BenchmarkFixture, name: str) -> None:
    assert benchmark(OPS[name], leaf(), leaf()).requires_grad


def test_not_recorded(benchmark: BenchmarkFixture) -> None:
    with no_grad():
        assert not benchmark(OPS["add"], leaf(), leaf()).requires_grad


@pytest.mark.parametrize("name", ["add", "mul", "tanh"])
def test_backward(benchmark: BenchmarkFixture, name: str) -> None:
    """Of a chain of so many ops."""

    def chain() -> Any:
        x = y = leaf()
        for _ in range(CHAIN):
            y = OPS[name](y, x)
        return (y, np.ones(4, np.float32)), {}

    benchmark.pedantic(Tensor.backward, setup=chain, rounds=200)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_step_of_a_million(benchmark: BenchmarkFixture, name: str) -> None:
    """Four tensors, which lie together."""
    parameters = [Parameter(np.ones((1000, 250), np.float32)) for _ in range(4)]
    flatten_parameters(parameters)
    for p in parameters:
        p.accumulate_grad(np.full(p.shape, 1e-3, np.float32))
    benchmark(OPTIMISERS[name](parameters).step)
