"""What models are trained for: the loss, what is counted on the test set, and how it is said."""

from __future__ import annotations

from math import log
from typing import ClassVar

import numpy as np
from ringleader.runtime.autograd import Tensor, cross_entropy
from ringleader.runtime.autograd.op import Array, to_host

Scores = dict[str, float]  # "loss", and "accuracy" where something is right or wrong


class Task:
    """Losses and counts are *sums* over a rank's part of a batch: summed over the ranks too and divided by
    counts of the whole, they do not depend on how many ranks there are."""

    name: ClassVar[str]

    def loss(self, out: Tensor, y: Array) -> Tensor:
        """The sum of the losses of all predictions, a number."""
        raise NotImplementedError

    def predictions(self, y: Array) -> int:
        """How many predictions that sum is over."""
        return len(y)

    def right(self, out: Array, y: Array) -> tuple[int, int]:
        """How many answers are right, of how many; of 0 where there is no right or wrong."""
        return 0, 0

    def tally(self, out: Tensor, y: Array) -> Array:
        """All of these as one array (4,), to be summed over batches and ranks."""
        return np.array(
            [self.loss(out, y).item(), self.predictions(y), *self.right(to_host(out.data), y)], np.float64
        )

    def scores(self, tally: Array) -> Scores:
        loss, predictions, right, judged = tally.tolist()
        mean = loss / predictions if predictions else float("nan")
        return {"loss": mean} | ({"accuracy": right / judged} if judged else {})

    def say(self, scores: Scores) -> str:
        return f"test accuracy {100 * scores['accuracy']:.2f} %"


class Classification(Task):
    """Logits (N, C) for labels (N,)."""

    name = "classification"

    def loss(self, out: Tensor, y: Array) -> Tensor:
        return cross_entropy(out, y, reduction="sum")

    def right(self, out: Array, y: Array) -> tuple[int, int]:
        return int(np.count_nonzero(out.argmax(axis=1) == y)), len(y)


class Regression(Task):
    """Numbers (N, K) for numbers (N, K): the squared error, of K = 1 the usual mean."""

    name = "regression"

    def loss(self, out: Tensor, y: Array) -> Tensor:
        if out.shape != y.shape:  # they would broadcast
            raise ValueError(f"{self.name}: the model says {out.shape} where {y.shape} is wanted")
        error = out - Tensor(y, device=out.device)
        return (error * error).sum()

    def predictions(self, y: Array) -> int:
        return int(y.size)

    def say(self, scores: Scores) -> str:
        return f"test loss {scores['loss']:.5f} (mean squared error)"


class TokenTask(Task):
    """Logits (N, T, V) for tokens (N, T), of which some may not count."""

    def loss(self, out: Tensor, y: Array) -> Tensor:
        counts, n, classes = self.counted(y).reshape(-1), y.size, out.shape[-1]
        losses = cross_entropy(out.reshape(n, classes), np.where(counts, y.reshape(-1), 0), reduction="none")
        return losses.sum() if counts.all() else (losses * counts.astype(out.dtype)).sum()

    def counted(self, y: Array) -> Array:
        """Which tokens count: bools (N, T)."""
        return np.ones(y.shape, bool)

    def predictions(self, y: Array) -> int:
        return int(np.count_nonzero(self.counted(y)))


class LanguageModelling(TokenTask):
    """The next token at every place: cross-entropy in nats, and in bits per character."""

    name = "language modelling"

    def say(self, scores: Scores) -> str:
        return f"test loss {scores['loss']:.4f} nats, {scores['loss'] / log(2):.4f} bits per character"


class Recall(TokenTask):
    """A token at every place, most of them blank (0): accuracy counts the others."""

    name = "recall"

    def right(self, out: Array, y: Array) -> tuple[int, int]:
        wanted = y != 0
        return int(np.count_nonzero((out.argmax(axis=-1) == y) & wanted)), int(np.count_nonzero(wanted))

    def say(self, scores: Scores) -> str:
        return (
            f"test loss {scores['loss']:.5f} nats, {100 * scores['accuracy']:.2f} % of the symbols recalled"
        )


class SequenceToSequence(TokenTask):
    """A sequence of tokens for another, padded with PAD: accuracy is the share of sequences that are right throughout,
    each token predicted from the right ones before it."""

    name = "sequence to sequence"
    PAD, START, END = 0, 1, 2
    first_symbol = 3

    def counted(self, y: Array) -> Array:
        counted: Array = y != self.PAD
        return counted

    def right(self, out: Array, y: Array) -> tuple[int, int]:
        fits = (out.argmax(axis=-1) == y) | ~self.counted(y)
        return int(np.count_nonzero(fits.all(axis=1))), len(y)

    def say(self, scores: Scores) -> str:
        exact = 100 * scores["accuracy"]
        return f"test loss {scores['loss']:.4f} nats, {exact:.2f} % of the sequences exactly right"
