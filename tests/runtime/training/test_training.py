"""Shards, data, configuration, and a whole run."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringleader.models import build
from ringleader.runtime.comm import spawn
from ringleader.runtime.training import (
    Dataset,
    StepInfo,
    TrainConfig,
    evaluate,
    global_batches,
    load_digits,
    run,
    shard,
)
from ringleader.runtime.training.data import BACKGROUND, random_offsets, resize, shift


@given(count=st.integers(0, 50), size=st.integers(1, 8))
def test_shards_are_all_of_it_in_order_and_even(count: int, size: int) -> None:
    parts = [shard(np.arange(count), rank, size) for rank in range(size)]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(count=st.integers(0, 50), batch_size=st.integers(1, 60), seed=st.integers(0, 3))
def test_global_batches_hold_every_sample_once(count: int, batch_size: int, seed: int) -> None:
    batches = list(global_batches(count, batch_size, seed, epoch=0))
    assert sorted(i for batch in batches for i in batch) == list(range(count))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert not batches or 1 <= len(batches[-1]) <= batch_size


def test_order_depends_on_seed_and_epoch_only() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(list(global_batches(20, 7, seed, epoch))).tolist()

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(*key)) for key in [(0, 0), (0, 1), (1, 0), (1, 1)]}) == 4
    with pytest.raises(ValueError, match="batch_size must be at least 1, it is 0"):
        global_batches(20, 0, 0, 0)


def test_digits() -> None:
    data = load_digits(np.float64)
    assert data.train_x.shape == (1438, 1, 32, 32) and data.test_x.shape == (359, 1, 32, 32)
    assert data.train_x.dtype == np.float64 and data.train_y.dtype == np.int64
    assert data.train_x.min() == pytest.approx(-0.1) and data.train_x.max() == pytest.approx(1.175)
    assert set(data.test_y) == set(range(10))
    everything = np.concatenate([data.train_x, data.test_x]).reshape(1797, -1)
    assert len(np.unique(everything, axis=0)) == 1797  # no sample is in both parts
    np.testing.assert_array_equal(load_digits().test_y, data.test_y)


def test_resize_is_bilinear() -> None:
    image = np.array([[[[0.0, 4.0], [8.0, 12.0]]]])
    np.testing.assert_allclose(resize(image, 4)[0, 0, 0], [0, 1, 3, 4])
    np.testing.assert_allclose(resize(image, 4)[0, 0, :, 0], [0, 2, 6, 8])
    np.testing.assert_allclose(resize(image, 2), image)
    np.testing.assert_allclose(resize(np.ones((1, 1, 8, 8)), 32), 1)


def test_shift_moves_each_image_by_its_own_offset() -> None:
    images = np.arange(18.0).reshape(2, 1, 3, 3)
    moved = shift(images, np.array([[1, 0], [-1, 2]]))
    b = BACKGROUND
    np.testing.assert_array_equal(moved[0, 0], [[b, b, b], [0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(moved[1, 0], [[b, b, 12], [b, b, 15], [b, b, b]])
    assert shift(images[:0], np.empty((0, 2), np.int64)).shape == (0, 1, 3, 3)
    assert shift(images, np.zeros((2, 2), np.int64)) is images


def test_offsets_use_the_whole_range_and_depend_on_seed_and_epoch() -> None:
    offsets = random_offsets(200, 2, seed=0, epoch=0)
    assert set(offsets.ravel()) == {-2, -1, 0, 1, 2}
    assert not np.array_equal(offsets, random_offsets(200, 2, seed=0, epoch=1))
    assert not np.array_equal(offsets, random_offsets(200, 2, seed=1, epoch=0))
    assert not random_offsets(5, 0, seed=0, epoch=0).any()


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        load_digits()


@pytest.mark.parametrize(("option", "message"), [
    ({"optimizer": "lbfgs"}, "unknown optimizer 'lbfgs'; known: sgd, adam"),
    ({"dtype": "int8"}, "unknown dtype 'int8'; known: float32, float64"),
    ({"batch_size": 0}, "batch_size must be at least 1, it is 0"),
    ({"lr": float("nan")}, "lr must be at least 0, it is nan"),
    ({"steps": -1}, "steps must be at least 0, it is -1"),
    ({"lr": float("inf")}, "lr must be at least 0, it is inf"),
    ({"schedule": "linear"}, "unknown schedule 'linear'; known: constant, step, cosine"),
    ({"eval_every": 0}, "eval_every must be at least 1, it is 0"),
    ({"data_seed": 1 << 63}, "data_seed must be at most 9223372036854775807, it is 9223372036854775808"),
    ({"require_accuracy": 97.0}, "require_accuracy must be between 0 and 1, it is 97.0"),
])  # fmt: skip
def test_config_refuses(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**option)


def small(count: int = 20) -> Dataset:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((count, 1, 32, 32)).astype(np.float32), rng.integers(0, 10, count)
    return Dataset(x, y, x[:7], y[:7])


def test_on_step_is_called_on_rank_0_with_global_numbers() -> None:
    config = TrainConfig(model="logistic", epochs=3, batch_size=8, steps=5)

    def rank_main(world: Any) -> tuple[list[StepInfo], Any]:
        seen: list[StepInfo] = []
        model = build("logistic", np.random.default_rng(0))
        return seen, run(config, model, world, small(), seen.append)

    (seen, first), (none, second) = spawn(2, rank_main)
    assert none == [] and [s.step for s in seen] == [1, 2, 3, 4, 5]
    assert [s.epoch for s in seen] == [0, 0, 0, 1, 1] and {s.steps for s in seen} == {5}
    assert [s.samples for s in seen] == [8, 16, 20, 28, 36]
    assert seen[0].loss == pytest.approx(np.log(10), rel=1e-6)  # weights are zero
    assert first.metrics.loss == seen[-1].loss == second.metrics.loss
    assert first.metrics.steps == 5 and first.metrics.samples == 36 and first.metrics.samples_per_second > 0
    assert first.accuracy == second.accuracy


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_evaluate_counts_exactly_for_any_number_of_ranks(n: int) -> None:
    data = small()
    model = build("logistic", np.random.default_rng(0))
    model.linear.weight.data[...] = np.random.default_rng(1).standard_normal((10, 1024))  # type: ignore[union-attr]
    scores = data.test_x.reshape(7, -1) @ model.linear.weight.data.T  # type: ignore[union-attr]
    wanted = float(np.mean(scores.argmax(axis=1) == data.test_y))
    scores = spawn(n, lambda world: evaluate(model, data, world))
    assert [s["accuracy"] for s in scores] == [wanted] * n
    assert scores == [scores[0]] * n


def test_no_steps_train_nothing() -> None:
    config = TrainConfig(model="logistic", steps=0)
    [result] = spawn(
        1, lambda world: run(config, build("logistic", np.random.default_rng(0)), world, small())
    )
    assert result.metrics.steps == 0 and np.isnan(result.metrics.loss)


def test_logistic_regression_learns_the_digits() -> None:
    config = TrainConfig(model="logistic", epochs=5, lr=0.01, momentum=0.9)
    model = build("logistic", np.random.default_rng(0))
    [result] = spawn(1, lambda world: run(config, model, world))
    assert result.accuracy > 0.93


def test_two_seeds_are_two_things() -> None:
    """The data seed changes the order of the samples, and not the weights."""
    config, data = TrainConfig(model="logistic", epochs=1, batch_size=5), small()

    def losses(config: TrainConfig) -> list[float]:
        seen: list[float] = []
        model = build("logistic", np.random.default_rng(config.seed))
        spawn(1, lambda world: run(config, model, world, data, lambda info: seen.append(info.loss)))
        return seen

    assert losses(config) == losses(replace(config, seed=1))  # it starts from zero weights
    assert losses(config) != losses(replace(config, data_seed=1))


def test_evaluation_on_the_way_changes_nothing_and_is_for_rank_0_to_see() -> None:
    config = TrainConfig(model="logistic", epochs=3, batch_size=8, steps=5)

    def rank_main(world: Any, config: TrainConfig) -> tuple[list[StepInfo], Any]:
        seen: list[StepInfo] = []
        model = build("logistic", np.random.default_rng(0))
        return seen, run(config, model, world, small(), seen.append).scores

    plain = spawn(2, lambda world: rank_main(world, config))
    tested = spawn(2, lambda world: rank_main(world, replace(config, eval_every=2)))
    assert [s.scores is not None for s in tested[0][0]] == [False, True, False, True, False]
    assert [s.loss for s in tested[0][0]] == [s.loss for s in plain[0][0]]
    assert plain[0][1] == plain[1][1] == tested[0][1] == tested[1][1]
    assert set(plain[0][1]) == {"loss", "accuracy"}


def test_a_model_is_tested_in_its_testing_mode_and_goes_on_training_in_the_other() -> None:
    config, modes = TrainConfig(model="logistic", batch_size=8, steps=3, eval_every=1), []
    model = build("logistic", np.random.default_rng(0))
    forward = model.forward
    model.forward = lambda x: modes.append(model.training) or forward(x)  # type: ignore[method-assign, func-returns-value]
    spawn(1, lambda world: run(config, model, world, small()))
    assert modes == [True, False] * 3
