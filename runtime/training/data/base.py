"""What a data set is to the training loop, and which samples each rank gets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from ringleader.runtime.training.config import TrainConfig
from ringleader.runtime.training.tasks import Task

Array = NDArray[Any]
Examples: TypeAlias = tuple[tuple[Array, ...], Array]  # the model's inputs, and what it should say


@dataclass(frozen=True)
class Description:
    """What a model must know of a data set to be built for it.

    ``shape``: of one sample of the (first) input. ``outputs``: classes, tokens of the vocabulary, or numbers to
    predict. ``target``: longest target sequence, of a sequence-to-sequence task. ``vocabulary``: the characters that
    the tokens 0, 1, ... stand for, of a text.
    """

    task: str
    shape: tuple[int, ...]
    outputs: int
    target: int = 0
    vocabulary: str = ""


class Data:
    """A data set. What is in a batch never depends on the number of ranks.

    ``batches`` says on every rank the same *items* of each global batch, an array of which the ranks take parts along
    axis 0: indices, places in a text, seeds. ``take`` turns a rank's part into arrays, so that only the owner
    pays for them.
    """

    task: Task
    samples: int  # in an epoch
    description: Description
    test_items: Array

    def batches(self, epoch: int, config: TrainConfig) -> Iterator[Array]:
        raise NotImplementedError

    def count(self, items: Array) -> int:
        """Predictions in these items, of which the loss is the mean: samples, or tokens but for padding."""
        return len(items)

    def take(self, items: Array) -> Examples:
        raise NotImplementedError

    def take_test(self, items: Array) -> Examples:
        """The same of ``test_items``."""
        return self.take(items)


def global_batches(count: int, batch_size: int, seed: int, epoch: int) -> Iterator[Array]:
    """Indices of each batch of an epoch, shuffled: the same on every rank, and for any number of ranks.

    The last batch may be smaller. ValueError: ``batch_size`` below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, it is {batch_size}")
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return (order[at : at + batch_size] for at in range(0, count, batch_size))


def shard(items: Array, rank: int, size: int) -> Array:
    """This rank's part of ``items``: contiguous, in order; lengths differ by at most 1 and may be 0."""
    small, larger = divmod(len(items), size)
    start = rank * small + min(rank, larger)
    return items[start : start + small + (rank < larger)]
