"""The training loop, the same on every rank, and the evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from ringleader.runtime.autograd import Module, Optimizer, Tensor, no_grad
from ringleader.runtime.autograd.devices import use_gpu
from ringleader.runtime.parallel import DataParallel, Wire
from ringleader.runtime.training.config import TrainConfig
from ringleader.runtime.training.data import Array, Data, load, shard
from ringleader.runtime.training.optimizers import clip_gradients, make_optimizer, make_schedule
from ringleader.runtime.training.tasks import Scores

if TYPE_CHECKING:
    from ringleader.runtime.comm import Communicator

EVALUATION_BATCH = 128


@dataclass(frozen=True)
class StepInfo:
    """After a step: ``step`` of ``steps`` are done; ``loss`` is the mean over the global batch; samples
    of all ranks, since the start; ``scores`` where the model has just been tested."""

    step: int
    steps: int
    epoch: int
    loss: float
    samples: int
    samples_per_second: float
    scores: Scores | None = None


@dataclass(frozen=True)
class Metrics:
    """Of a training: ``loss`` is that of the last step (NaN if there was none); ``seconds`` without testing; ``wire``: bytes
    that this rank has sent for gradients, if they were compressed."""

    steps: int
    samples: int
    seconds: float
    loss: float
    wire: Wire | None = None

    @property
    def samples_per_second(self) -> float:
        return self.samples / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Result:
    """Of a run: training metrics, and what the model scores on the test set."""

    metrics: Metrics
    scores: Scores

    @property
    def accuracy(self) -> float:
        """0..1. KeyError: a task without right and wrong."""
        return self.scores["accuracy"]


def train(
    model: Module, data: Data, world: Communicator, optimizer: Optimizer, config: TrainConfig,
    on_step: Callable[[StepInfo], None] | None = None,
) -> Metrics:  # fmt: skip
    """Train ``model`` in place; its weights end up bit-identical on all ranks.

    Every rank must be given the same data and config. ``on_step`` is called on rank 0 only. Each rank's sum of losses
    is divided by the count of the whole batch, so that the result does not depend on the number of ranks.
    """
    steps = total_steps(data.samples, config)
    parallel = DataParallel(model.train(), world, config.bucket_bytes, config.algorithm, config.compression)
    schedule, device = make_schedule(optimizer, steps, config), device_of(model)
    start, samples, loss, testing = time.perf_counter(), 0, float("nan"), 0.0
    for step, (epoch, items) in enumerate(islice(_batches(data, config), steps), start=1):
        inputs, y = data.take(shard(items, world.rank, world.size))
        parallel.zero_grad()
        losses = data.task.loss(parallel(*(Tensor(x, device=device) for x in inputs)), y)
        loss = parallel.backward(losses / data.count(items))  # the sum over ranks is the global mean
        if config.clip is not None:
            clip_gradients(model, config.clip)
        optimizer.step()
        if schedule is not None:
            schedule.step()
        samples += len(items)
        speed = samples / max(time.perf_counter() - start - testing, 1e-9)
        scores = None
        if config.eval_every is not None and step % config.eval_every == 0 and step < steps:
            before = time.perf_counter()
            scores = evaluate(model, data, world)
            model.train()
            testing += time.perf_counter() - before
        if on_step is not None and world.rank == 0:
            on_step(StepInfo(step, steps, epoch, loss, samples, speed, scores))
    parallel.close()
    return Metrics(steps, samples, time.perf_counter() - start - testing, loss, parallel.wire)


def total_steps(count: int, config: TrainConfig) -> int:
    """Steps that ``count`` samples an epoch give."""
    steps = config.epochs * -(-count // config.batch_size)
    return steps if config.steps is None else min(steps, config.steps)


def _batches(data: Data, config: TrainConfig) -> Iterator[tuple[int, Array]]:
    """For each step: the epoch, and the items of the whole batch."""
    for epoch in range(config.epochs):
        for items in data.batches(epoch, config):
            yield epoch, items


def device_of(model: Module) -> str:
    """Where its parameters are, and its inputs have to be."""
    return next(model.parameters()).device


def evaluate(model: Module, data: Data, world: Communicator) -> Scores:
    """What ``model`` scores on the test set, on every rank the same numbers.

    Each rank counts on its part; sums and counts are summed, so the result does not depend on the ranks.
    """
    items = shard(data.test_items, world.rank, world.size)
    forward: Callable[..., Tensor] = model.eval()
    device = device_of(model)
    tally = np.zeros(4)
    with no_grad():
        for at in range(0, len(items), EVALUATION_BATCH):
            inputs, y = data.take_test(items[at : at + EVALUATION_BATCH])
            tally += data.task.tally(forward(*(Tensor(x, device=device) for x in inputs)), y)
    world.allreduce(tally, op="sum")
    return data.task.scores(tally)


def run(
    config: TrainConfig, model: Module, world: Communicator, data: Data | None = None,
    on_step: Callable[[StepInfo], None] | None = None,
) -> Result:  # fmt: skip
    """Train and evaluate ``model`` on ``data`` (what ``config`` names if not given), as ``config`` says.

    The caller builds the model, of ``config.dtype``; it moves to ``config.device``. Rank 0's weights are the ones that
    count. RuntimeError: what the device needs is missing.
    """
    data = load(config) if data is None else data
    if config.device == "cuda":
        use_gpu(world.local_rank)
    model.to(config.device)
    metrics = train(model, data, world, make_optimizer(model, config), config, on_step)
    return Result(metrics, evaluate(model, data, world))
