"""Data that is made, not read: every sample is drawn by seeds of its own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import DTypeLike
from ringleader.runtime.training.config import TrainConfig
from ringleader.runtime.training.data.base import Array, Data, Description, Examples
from ringleader.runtime.training.tasks import Recall, Regression, SequenceToSequence, Task

EPOCH = 10_000  # samples of an epoch, new ones in each
TESTS = 1_000
TRAINING, TESTING = 0, 1  # the first of a sample's seeds


class Generated(Data):
    """Items are the seeds of the samples, (B, 3): TRAINING, data_seed, and a number that never comes again.

    So a sample depends neither on ranks nor on the size of a batch; the samples for testing are always the same.
    """

    samples = EPOCH
    test_items = np.array([(TESTING, 0, i) for i in range(TESTS)])

    def batches(self, epoch: int, config: TrainConfig) -> Iterator[Array]:
        for start in range(epoch * EPOCH, (epoch + 1) * EPOCH, config.batch_size):
            numbers = np.arange(start, min(start + config.batch_size, (epoch + 1) * EPOCH))
            seeds = np.broadcast_to([TRAINING, config.data_seed], (len(numbers), 2))
            yield np.column_stack([seeds, numbers])


class Adding(Generated):
    """The adding problem: of ``length`` pairs of a number in 0..1 and a mark, the sum of the two marked numbers.

    x (N, length, 2) -> (N, 1). One mark is in each half. Who always says 1 has a squared error of 1/6. Hochreiter and
    Schmidhuber, "Long short-term memory", Neural Computation 9 (8), 1997; in the form of Le, Jaitly and Hinton, "A
    simple way to initialize recurrent networks of rectified linear units", 2015.
    """

    task = Regression()

    def __init__(self, length: int, dtype: DTypeLike = np.float32) -> None:
        if length < 2:
            raise ValueError(f"adding:{length}: there must be at least 2 numbers, to add them")
        self.length, self.dtype = length, dtype
        self.description = Description(self.task.name, (length, 2), 1)

    def take(self, items: Array) -> Examples:
        x, y = np.zeros((len(items), self.length, 2), self.dtype), np.zeros((len(items), 1), self.dtype)
        half = self.length // 2
        for i, seeds in enumerate(items):
            rng = np.random.default_rng(seeds)
            marked = [rng.integers(0, half), rng.integers(half, self.length)]
            x[i, :, 0], x[i, marked, 1] = rng.random(self.length), 1
            y[i] = x[i, marked, 0].sum()
        return (x,), y


class Copy(Generated):
    """The copy problem: say ten symbols again, after ``length`` blanks.

    Tokens (N, length + 20): ten symbols of 1..8, length - 1 blanks (0), a delimiter (9), ten blanks; the targets are
    length + 10 blanks and the symbols. Without a memory the cross-entropy is at best 10 log 8 / (length + 20).
    Hochreiter and Schmidhuber 1997; in the form of Arjovsky, Shah and Bengio, "Unitary evolution recurrent neural
    networks", ICML 2016.
    """

    task = Recall()
    symbols, remembered, delimiter = 8, 10, 9

    def __init__(self, length: int) -> None:
        if length < 1:
            raise ValueError(f"copy:{length}: the delay must be at least 1")
        self.length, self.total = length, length + 2 * self.remembered
        self.description = Description(self.task.name, (self.total,), self.symbols + 2)

    def count(self, items: Array) -> int:
        return len(items) * self.total

    def take(self, items: Array) -> Examples:
        x, y = np.zeros((2, len(items), self.total), np.int64)
        for i, seeds in enumerate(items):
            x[i, : self.remembered] = np.random.default_rng(seeds).integers(
                1, self.symbols + 1, self.remembered
            )
        x[:, self.length + self.remembered - 1] = self.delimiter
        y[:, -self.remembered :] = x[:, : self.remembered]
        return (x,), y


class Pairs(Generated):
    """Sequences of ten symbols, and the same in another order: ``rule`` is "sort" or "reverse".

    Sources (N, longest), padded; what the decoder sees, START and the target (N, longest + 1); what it should say, the
    target and END (N, longest + 1). Tokens: PAD, START, END and the symbols 3..12. Lengths from half of ``longest`` on
    take turns from sample to sample, so that every rank knows how many tokens a batch has without drawing it.
    """

    task: Task = SequenceToSequence()
    symbols = 10

    def __init__(self, rule: str, longest: int) -> None:
        if longest < 1:
            raise ValueError(f"{rule}:{longest}: sequences must have at least 1 symbol")
        self.rule, self.longest, self.shortest = rule, longest, (longest + 1) // 2
        self.first = SequenceToSequence.first_symbol
        outputs = self.first + self.symbols
        self.description = Description(self.task.name, (longest,), outputs, target=longest + 1)

    def lengths(self, items: Array) -> Array:
        lengths: Array = self.shortest + items[:, 2] % (self.longest - self.shortest + 1)
        return lengths

    def count(self, items: Array) -> int:
        return int(self.lengths(items).sum()) + len(items)  # and one END each

    def take(self, items: Array) -> Examples:
        task = SequenceToSequence
        source = np.full((len(items), self.longest), task.PAD, np.int64)
        seen, said = np.full((2, len(items), self.longest + 1), task.PAD, np.int64)
        seen[:, 0] = task.START
        for i, (seeds, length) in enumerate(zip(items, self.lengths(items))):
            symbols = np.random.default_rng(seeds).integers(self.first, self.first + self.symbols, length)
            target = np.sort(symbols) if self.rule == "sort" else symbols[::-1]
            source[i, :length] = symbols
            seen[i, 1 : length + 1] = said[i, :length] = target
            said[i, length] = task.END
        return (source, seen), said
