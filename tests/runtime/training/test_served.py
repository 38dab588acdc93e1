"""Whole trainings over a parameter server."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ringleader.models import build
from ringleader.runtime.comm import spawn
from ringleader.runtime.training import Result, StepInfo, TrainConfig, load, run

CONFIG = TrainConfig(model="logistic", epochs=2, batch_size=64, lr=0.01, dtype="float64", shift=0, clip=5.0)


def trained(n: int, config: TrainConfig, spoil: Any = lambda world, step: None) -> list[Any]:
    """Of each rank: its result (None: a server), its weights, and the steps that it was told of."""
    data = load(config)

    def rank_main(world: Any) -> Any:
        model = build(config.model, np.random.default_rng(world.rank), np.float64, data.description)
        told: list[StepInfo] = []

        def on_step(step: StepInfo) -> None:
            told.append(step)
            spoil(world, step)

        return run(config, model, world, data, on_step), model.state_dict(), told

    return spawn(n, rank_main, timeout=30)


def test_it_is_the_training_of_allreduce_with_the_same_scores() -> None:
    config = replace(CONFIG, clip=None, schedule="cosine", warmup=5, eval_every=20)
    wanted, weights, steps = trained(2, replace(config, algorithm="leader"))[0]
    served = trained(4, replace(config, sync="ps", servers=2))
    assert [result is None for result, _, _ in served] == [False, False, True, True]
    for result, state, told in served[:2]:
        for name, array in weights.items():
            np.testing.assert_array_equal(state[name], array)
        assert result.scores == wanted.scores
        assert (
            result.metrics.steps == wanted.metrics.steps and result.metrics.samples == wanted.metrics.samples
        )
        assert result.speaks == bool(told)
    heard = served[0][2]
    assert [(s.step, s.epoch, s.samples, s.scores) for s in heard] == [
        (s.step, s.epoch, s.samples, s.scores) for s in steps
    ]
    assert any(s.scores for s in heard)


@pytest.mark.parametrize(
    "mode", [{"mode": "asp"}, {"mode": "ssp", "staleness": 2}, {"colocated": True, "servers": 2}], ids=str
)
def test_every_mode_learns(mode: dict[str, Any]) -> None:
    found = [result for result, _, _ in trained(3, replace(CONFIG, sync="ps", **mode)) if result is not None]
    assert all(result.scores == found[0].scores for result in found)
    assert found[0].accuracy > 0.85


class Stumble(Exception):
    pass


def test_a_worker_that_is_lost_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """The first worker, which also tells how it goes, raises amid the training: the others go on, test on the whole test
    set, and one of them speaks."""
    results: list[Result] = []

    def spoil(world: Any, step: StepInfo) -> None:
        if world.rank == 0 and step.step == 10:
            raise Stumble

    config = replace(CONFIG, sync="ps", eval_every=15)
    data = load(config)

    def rank_main(world: Any) -> None:
        model = build(config.model, np.random.default_rng(0), np.float64, data.description)
        result = run(config, model, world, data, lambda step: spoil(world, step))
        if result is not None:
            results.append(result)

    with caplog.at_level(logging.WARNING), pytest.raises(Stumble):
        spawn(4, rank_main, timeout=30)
    assert "rank 0 is gone; training goes on with 2 workers" in caplog.text
    assert len(results) == 2 and [result.speaks for result in results].count(True) == 1
    assert results[0].scores == results[1].scores and results[0].accuracy > 0.8


@pytest.mark.parametrize(("options", "message"), [
    ({"sync": "pss"}, "unknown sync 'pss'; known: allreduce, ps"),
    ({"mode": "late"}, "unknown mode 'late'; known: bsp, ssp, asp"),
    ({"placement": "far"}, "unknown placement 'far'; known: balanced, range, hash"),
    ({"servers": 0}, "servers must be at least 1, it is 0"),
    ({"staleness": -1}, "staleness must be at least 0, it is -1"),
    ({"replicas": -1}, "replicas must be at least 0, it is -1"),
])  # fmt: skip
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**options)


@pytest.mark.parametrize("compression", ["int8", "sign", "topk:0.05", "powersgd:2"])
def test_compressed_pushes_learn_as_well(compression: str) -> None:
    """LeNet-5 in a third of its bytes and less comes within two points of the accuracy without compression (98 %)."""
    config = TrainConfig(epochs=5, sync="ps", colocated=True, compression=compression)
    data = load(config)

    def rank_main(world: Any) -> Any:
        model = build(config.model, np.random.default_rng(0), np.float32, data.description)
        return run(config, model, world, data)

    for result in spawn(2, rank_main, timeout=60):
        assert result.accuracy > 0.98 - 0.02
        assert result.metrics.wire.sent < result.metrics.wire.uncompressed / 3
