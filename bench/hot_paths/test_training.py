"""What a step of training costs."""

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from ringleader.models import build
from ringleader.runtime.autograd import SGD, Tensor, cross_entropy

SAMPLES = 64


@pytest.mark.parametrize("model", ["logistic", "lenet5"])
def test_step(benchmark: BenchmarkFixture, model: str) -> None:
    """Forward, backward and the optimiser's update, on one rank."""
    generator = np.random.default_rng(0)
    net = build(model, generator)
    optimizer = SGD(net.parameters(), lr=0.01)
    x = generator.random((SAMPLES, 1, 32, 32), np.float32)
    y = np.arange(SAMPLES) % 10

    def step() -> float:
        net.zero_grad()
        loss = cross_entropy(net(Tensor(x)), y)
        loss.backward()
        optimizer.step()
        return float(loss.data)

    first = step()
    assert benchmark(step) < first
