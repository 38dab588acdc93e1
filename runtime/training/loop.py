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
from ringleader.runtime.comm.wire import Wire
from ringleader.runtime.training.config import TrainConfig
from ringleader.runtime.training.data import Array, Data, load
from ringleader.runtime.training.optimizers import make_optimizer
from ringleader.runtime.training.sync import (
    Everyone,
    Group,
    Reduced,
    Served,
    Sync,
    add_up,
    parameter_server,
)
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
    """Of a run: training metrics, and what the model scores on the test set. ``speaks``: of the one rank that says so."""

    metrics: Metrics
    scores: Scores
    speaks: bool

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
    sync = Reduced(model, world, optimizer, config, total_steps(data.samples, config))
    metrics = train_with(sync, model, data, config, on_step)
    sync.close()
    return metrics


def train_with(
    sync: Sync,
    model: Module,
    data: Data,
    config: TrainConfig,
    on_step: Callable[[StepInfo], None] | None = None,
) -> Metrics:
    """As ``train``, with the ranks that agree by ``sync``."""
    steps, device = total_steps(data.samples, config), device_of(model)
    model.train()
    start, samples, loss, testing = time.perf_counter(), 0, float("nan"), 0.0
    for step, (epoch, items) in enumerate(islice(_batches(data, config), steps), start=1):
        mine = sync.share(items)
        inputs, y = data.take(mine)
        losses = data.task.loss(sync.forward(*(Tensor(x, device=device) for x in inputs)), y)
        loss = sync.step(losses, data.count(mine), data.count(items))
        samples += len(items)
        speed = samples / max(time.perf_counter() - start - testing, 1e-9)
        scores = None
        if config.eval_every is not None and step % config.eval_every == 0 and step < steps:
            before = time.perf_counter()
            sync.settle()
            scores = evaluate_with(sync, model, data)
            model.train()
            testing += time.perf_counter() - before
        if on_step is not None and sync.speaks:
            on_step(StepInfo(step, steps, epoch, loss, samples, speed, scores))
    sync.settle()
    return Metrics(steps, samples, time.perf_counter() - start - testing, loss, sync.wire)


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
    return evaluate_with(Everyone(world), model, data)


def evaluate_with(group: Group, model: Module, data: Data) -> Scores:
    """As ``evaluate``, on the ranks of ``group``."""
    forward: Callable[..., Tensor] = model.eval()
    device = device_of(model)

    def count(items: Array) -> Array:
        tally = np.zeros(4)
        for at in range(0, len(items), EVALUATION_BATCH):
            inputs, y = data.take_test(items[at : at + EVALUATION_BATCH])
            tally += data.task.tally(forward(*(Tensor(x, device=device) for x in inputs)), y)
        return tally

    with no_grad():
        return data.task.scores(add_up(group, count, data.test_items))


def run(
    config: TrainConfig, model: Module, world: Communicator, data: Data | None = None,
    on_step: Callable[[StepInfo], None] | None = None,
) -> Result | None:  # fmt: skip
    """Train and evaluate ``model`` on ``data`` (what ``config`` names if not given), as ``config`` says.

    The caller builds the model, of ``config.dtype``; it moves to ``config.device``. Rank 0's weights are the ones that
    count. RuntimeError: what the device needs is missing. None: this rank served the others' parameters only.
    """
    data = load(config) if data is None else data
    if config.device == "cuda":
        use_gpu(world.local_rank)
    model.to(config.device)
    optimizer, steps = make_optimizer(model, config), total_steps(data.samples, config)
    if config.sync == "ps":
        server = parameter_server(world, config)
        if not server.is_worker:
            server.close()
            return None
        sync: Sync = Served(model, server, optimizer, config, steps)
    else:
        sync = Reduced(model, world, optimizer, config, steps)
    metrics = train_with(sync, model, data, config, on_step)
    result = Result(metrics, evaluate_with(sync, model, data), sync.speaks)
    sync.close()
    return result
