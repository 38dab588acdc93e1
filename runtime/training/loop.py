"""The training loop, the same on every rank, and the evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from ringleader.runtime.autograd import SGD, Adam, Module, Optimizer, Tensor, cross_entropy, no_grad
from ringleader.runtime.parallel import DataParallel
from ringleader.runtime.training.config import TrainConfig
from ringleader.runtime.training.data import (
    Array,
    Dataset,
    global_batches,
    load_digits,
    random_offsets,
    shard,
    shift,
)

if TYPE_CHECKING:
    from ringleader.runtime.comm import Communicator

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class StepInfo:
    """After a step: ``step`` of ``steps`` are done; ``loss`` is the mean over the global batch; samples
    of all ranks, since the start."""

    step: int
    steps: int
    epoch: int
    loss: float
    samples: int
    samples_per_second: float


@dataclass(frozen=True)
class Metrics:
    """Of a training: ``loss`` is that of the last step (NaN if there was none)."""

    steps: int
    samples: int
    seconds: float
    loss: float

    @property
    def samples_per_second(self) -> float:
        return self.samples / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Result:
    """Of a run: training metrics and accuracy on the test set (0..1)."""

    metrics: Metrics
    accuracy: float


def train(
    model: Module, data: Dataset, world: Communicator, optimizer: Optimizer, config: TrainConfig,
    on_step: Callable[[StepInfo], None] | None = None,
) -> Metrics:  # fmt: skip
    """Train ``model`` in place; its weights end up bit-identical on all ranks.

    Every rank must be given the same data and config. ``on_step`` is called on rank 0 only.
    """
    steps = total_steps(len(data.train_y), config)
    parallel = DataParallel(model.train(), world, config.bucket_bytes, config.algorithm)
    start, samples, loss = time.perf_counter(), 0, float("nan")
    batches = islice(_batches(data, config, world.rank, world.size), steps)
    for step, (epoch, count, x, y) in enumerate(batches, start=1):
        parallel.zero_grad()
        losses = cross_entropy(parallel(Tensor(x)), y, reduction="sum")
        loss = parallel.backward(losses / count)  # the sum over ranks is the mean over the global batch
        optimizer.step()
        samples += count
        if on_step is not None and world.rank == 0:
            speed = samples / max(time.perf_counter() - start, 1e-9)
            on_step(StepInfo(step, steps, epoch, loss, samples, speed))
    parallel.close()
    return Metrics(steps, samples, time.perf_counter() - start, loss)


def total_steps(count: int, config: TrainConfig) -> int:
    """Steps that ``count`` samples give."""
    steps = config.epochs * -(-count // config.batch_size)
    return steps if config.steps is None else min(steps, config.steps)


def _batches(
    data: Dataset, config: TrainConfig, rank: int, size: int
) -> Iterator[tuple[int, int, Array, Array]]:
    """For each step: the epoch, the number of samples of all ranks, and this rank's images and labels."""
    count = len(data.train_y)
    for epoch in range(config.epochs):
        offsets = random_offsets(count, config.shift, config.data_seed, epoch)
        for batch in global_batches(count, config.batch_size, config.data_seed, epoch):
            mine = shard(batch, rank, size)
            yield epoch, len(batch), shift(data.train_x[mine], offsets[mine]), data.train_y[mine]


def evaluate(model: Module, data: Dataset, world: Communicator) -> float:
    """Share of the test set that ``model`` gets right, on every rank the same number.

    Each rank counts on its part; the counts are summed, so the result does not depend on the ranks.
    """
    indices = shard(np.arange(len(data.test_y)), world.rank, world.size)
    counts = np.zeros(2, np.int64)  # right, seen
    model.eval()
    with no_grad():
        for at in range(0, len(indices), EVALUATION_BATCH):
            batch = indices[at : at + EVALUATION_BATCH]
            predicted = model(Tensor(data.test_x[batch])).data.argmax(axis=1)
            counts += np.array([np.count_nonzero(predicted == data.test_y[batch]), len(batch)])
    world.allreduce(counts, op="sum")
    return float(counts[0] / counts[1])


def make_optimizer(model: Module, config: TrainConfig) -> Optimizer:
    if config.optimizer == "adam":
        return Adam(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    return SGD(model.parameters(), config.lr, config.momentum, config.weight_decay)


def run(
    config: TrainConfig, model: Module, world: Communicator, data: Dataset | None = None,
    on_step: Callable[[StepInfo], None] | None = None,
) -> Result:  # fmt: skip
    """Train and evaluate ``model`` on ``data`` (the digits if not given), as ``config`` says.

    The caller builds the model, of ``config.dtype``. Rank 0's weights are the ones that count.
    """
    data = load_digits(config.dtype) if data is None else data
    metrics = train(model, data, world, make_optimizer(model, config), config, on_step)
    return Result(metrics, evaluate(model, data, world))
