"""Tasks: losses against a computation by hand, and that no number depends on how many ranks there are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ringleader.runtime.autograd import SGD, Module, Parameter, Tensor
from ringleader.runtime.comm import spawn
from ringleader.runtime.training import Data, TrainConfig, evaluate, train
from ringleader.runtime.training.data import Adding, Copy, Dataset, Pairs, Text
from ringleader.runtime.training.tasks import (
    Classification,
    LanguageModelling,
    Recall,
    Regression,
    SequenceToSequence,
    Task,
)

RNG = np.random.default_rng(0)


def minus_log_softmax(z: np.ndarray, target: int) -> float:
    return float(np.log(np.exp(z).sum()) - z[target])


def scores(task: Task, out: np.ndarray, y: np.ndarray) -> dict[str, float]:
    return task.scores(task.tally(Tensor(out), y))


def test_classification() -> None:
    z, y = RNG.standard_normal((4, 3)), np.array([0, 2, 1, 1])
    wanted = np.mean([minus_log_softmax(row, t) for row, t in zip(z, y)])
    got = scores(Classification(), z, y)
    assert got == pytest.approx({"loss": wanted, "accuracy": np.mean(z.argmax(axis=1) == y)})
    assert Classification().say({"loss": 1.0, "accuracy": 0.5}) == "test accuracy 50.00 %"


def test_regression() -> None:
    out, y = RNG.standard_normal((5, 2)), RNG.standard_normal((5, 2))
    assert scores(Regression(), out, y) == pytest.approx({"loss": np.mean((out - y) ** 2)})
    with pytest.raises(ValueError, match=r"the model says \(5,\) where \(5, 2\) is wanted"):
        Regression().loss(Tensor(out[:, 0]), y)


def test_language_modelling() -> None:
    z, y = RNG.standard_normal((2, 3, 4)), np.array([[0, 1, 2], [3, 3, 0]])
    wanted = np.mean([minus_log_softmax(z[i, t], y[i, t]) for i in range(2) for t in range(3)])
    assert scores(LanguageModelling(), z, y) == pytest.approx({"loss": wanted})
    assert "0.6931 nats, 1.0000 bits per character" in LanguageModelling().say({"loss": np.log(2)})


def test_recall_is_accurate_where_there_is_something_to_recall() -> None:
    y = np.array([[0, 0, 5, 6], [0, 0, 1, 2]])
    z = np.zeros((2, 4, 7))
    z[0, 2, 5] = z[0, 3, 1] = z[1, 2, 1] = z[1, 0, 3] = 9
    got = scores(Recall(), z, y)
    assert got["accuracy"] == 0.5
    assert got["loss"] == pytest.approx(
        np.mean([minus_log_softmax(z[i, t], y[i, t]) for i, t in np.ndindex(2, 4)])
    )


def test_sequence_to_sequence_ignores_padding() -> None:
    y = np.array([[4, 3, 2, 0], [5, 2, 0, 0], [3, 2, 0, 0]])  # 2 is END, 0 is PAD
    z = RNG.standard_normal((3, 4, 6))
    z[0, range(3), y[0, :3]] = z[1, range(2), y[1, :2]] = 9  # wrong only in padding, and in the last sequence
    z[2, 0, 5] = z[0, 3, 1] = 10
    counted = [(i, t) for i, t in np.ndindex(y.shape) if y[i, t] != 0]
    got = scores(SequenceToSequence(), z, y)
    assert got["loss"] == pytest.approx(np.mean([minus_log_softmax(z[i, t], y[i, t]) for i, t in counted]))
    assert got["accuracy"] == 2 / 3
    x = Tensor(z, requires_grad=True)
    SequenceToSequence().loss(x, y).backward()
    assert x.grad is not None and not x.grad[y == 0].any() and x.grad[y != 0].all()


class Tiny(Module):
    """Something with weights for each kind of data: sums of rows of a table, or of numbers times weights."""

    def __init__(self, data: Data) -> None:
        d, rng = data.description, np.random.default_rng(5)
        self.table = Parameter(rng.standard_normal((d.outputs, d.outputs)))
        self.weight = Parameter(rng.standard_normal((int(np.prod(d.shape)), d.outputs)))

    def __call__(self, *inputs: Tensor) -> Tensor:  # type: ignore[override]
        x = inputs[-1]
        if x.dtype.kind == "f":
            return x.reshape(len(x), self.weight.shape[0]) @ self.weight
        one_hot = np.eye(len(self.table))[x.data.reshape(-1)]
        return (Tensor(one_hot) @ self.table).reshape(*x.shape, len(self.table))


def images() -> Data:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((25, 1, 4, 4)), rng.integers(0, 10, 25)
    return Dataset(x, y, x[:7], y[:7])


KINDS = {
    "images": images, "text": lambda: Text("abcab" * 60, 4), "adding": lambda: Adding(5, np.float64),
    "copy": lambda: Copy(2), "sort": lambda: Pairs("sort", 6),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_depends_on_the_number_of_ranks(kind: str) -> None:
    """Batches of 5: on 2 and 3 ranks the parts, and their counts of tokens, are not even."""
    data = KINDS[kind]()
    data.test_items = data.test_items[:31]
    config = TrainConfig(epochs=2, steps=6, batch_size=5, dtype="float64", shift=1)

    def rank_main(world: Any) -> dict[str, Any]:
        model = Tiny(data)
        losses: list[float] = []
        optimizer = SGD(model.parameters(), lr=0.1)
        train(model, data, world, optimizer, config, lambda step: losses.append(step.loss))
        return {**model.state_dict(), **evaluate(model, data, world), "losses": losses}

    [one] = spawn(1, rank_main)
    assert np.isfinite(one["loss"]) and len(one["losses"]) == 6
    for n in (2, 3):
        for rank, other in enumerate(spawn(n, rank_main)):
            for name, wanted in one.items():
                if name != "losses" or rank == 0:
                    np.testing.assert_allclose(other[name], wanted, rtol=1e-12, atol=1e-14, err_msg=name)


def test_the_loss_of_a_step_is_the_mean_over_all_tokens_of_the_batch() -> None:
    """Of a model that knows nothing it is the logarithm of the number of tokens, whatever the padding."""
    data = Pairs("reverse", 9)
    config = TrainConfig(steps=1, batch_size=5)
    losses: list[float] = []

    def rank_main(world: Any) -> None:
        model = Tiny(data)
        model.table.data[...] = 0
        train(
            model, data, world, SGD(model.parameters(), lr=0.1), config, lambda step: losses.append(step.loss)
        )

    spawn(3, rank_main)
    assert losses == [pytest.approx(np.log(13))]
