"""Optimisers, schedules and clipping by name. What autograd does not have yet is skipped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ringleader.runtime.autograd import Linear, Module, Tensor, cross_entropy
from ringleader.runtime.training import TrainConfig, make_optimizer, make_schedule
from ringleader.runtime.training.optimizers import OPTIMIZERS, clip_gradients


def model() -> Module:
    return Linear(3, 2, generator=np.random.default_rng(0), dtype=np.float64)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_makes_the_loss_smaller(name: str) -> None:
    net = model()
    optimizer = make_optimizer(net, TrainConfig(optimizer=name, **OPTIMIZERS[name].defaults))
    assert type(optimizer) is OPTIMIZERS[name].cls
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = cross_entropy(net(Tensor(np.eye(3))), np.array([0, 1, 0]))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(("options", "wanted"), [
    ({}, [1, 1, 1, 1, 1, 1]),
    ({"warmup": 2}, [0.5, 1, 1, 1, 1, 1]),
    ({"schedule": "step"}, [1, 1, 0.1, 0.1, 0.01, 0.01]),
    ({"schedule": "step", "step_size": 4, "gamma": 0.5}, [1, 1, 1, 1, 0.5, 0.5]),
    ({"schedule": "cosine", "warmup": 2}, [0.5, 1, 1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2]),
])  # fmt: skip
def test_schedules(options: dict[str, Any], wanted: list[float]) -> None:
    config = TrainConfig(lr=2.0, **options)
    optimizer: Any = make_optimizer(model(), config)
    schedule = make_schedule(optimizer, 6, config)
    rates = []
    for _ in range(6):
        rates.append(optimizer.param_groups[0]["lr"])
        if schedule is not None:
            schedule.step()
    assert rates == pytest.approx([2 * factor for factor in wanted])


def test_clipping() -> None:
    net = model()
    (net(Tensor(np.ones((1, 3)))).sum() * 100).backward()
    clip_gradients(net, 0.5)
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    assert sum((g**2).sum() for g in gradients) ** 0.5 == pytest.approx(0.5, rel=1e-4)
