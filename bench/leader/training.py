"""One rank of a training with a slow worker, by AllReduce or by the parameter server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ringleader.models.lenet5 import LeNet5
from ringleader.runtime.autograd import SGD, Module, Tensor, cross_entropy, no_grad
from ringleader.runtime.comm import Communicator
from ringleader.runtime.comm.leader import ParameterServer
from ringleader.runtime.parallel import DataParallel, OptimizerRule, ServerParallel
from ringleader.runtime.training.data import load_digits

BATCH = 16  # images of a worker
EVALUATED = 512  # training images on which the loss is computed, afterwards
LEARNING_RATE = 0.1  # of a gradient that is the mean over all workers' images: one worker's counts its share
STEADY, IN_TURN = "steady", "in turn"

Step = Callable[[], None]
Snapshot = tuple[float, list[NDArray[Any]]]


def naps(pattern: str, step: int, worker: int, workers: int) -> bool:
    """Does this worker sleep in this step? STEADY: the last one does, always. IN_TURN: one after the other."""
    return worker == (workers - 1 if pattern == STEADY else step % workers)


class Recorder:
    """When the steps of a worker ended; and what the weights were, every so many seconds. Seconds since ``start``."""

    def __init__(self, model: Module, every: float, settle: Step) -> None:
        self.model, self.every, self.settle = model, every, settle
        self.ends: list[float] = []
        self.snapshots: list[Snapshot] = []
        self.start = time.perf_counter()
        self._keep(0.0)

    def ended(self) -> float:
        """A step has: seconds since the start."""
        now = time.perf_counter() - self.start
        self.ends.append(now)
        if self.every and now >= self.snapshots[-1][0] + self.every:
            self.settle()
            self._keep(now)
        return now

    def _keep(self, now: float) -> None:
        self.snapshots.append((now, [p.data.copy() for p in self.model.parameters()]))

    def losses(self, x: NDArray[Any], y: NDArray[Any]) -> tuple[list[float], list[float]]:
        """Times, and the loss on (x, y) of the weights as they were then."""
        found = []
        for _, weights in self.snapshots:
            for parameter, data in zip(self.model.parameters(), weights):
                parameter.data[...] = data
                parameter.mark_changed()
            with no_grad():
                found.append(cross_entropy(self.model(Tensor(x)), y).item())
        return [at for at, _ in self.snapshots], found


class Worker:
    """``number`` of ``workers``, which share the digits; draws its batches from its own part of them."""

    def __init__(self, number: int, workers: int, seed: int) -> None:
        data = load_digits()
        self.x, self.y = data.train_x, data.train_y
        self.own = np.arange(number, len(self.y), workers)
        self.number, self.workers = number, workers
        self.random = np.random.default_rng([seed, number])
        self.model = LeNet5(np.random.default_rng(seed))

    def loss(self, model: Callable[[Tensor], Tensor]) -> Tensor:
        """This worker's share of the mean loss over all workers' images."""
        chosen = self.random.choice(self.own, BATCH, replace=False)
        total = cross_entropy(model(Tensor(self.x[chosen])), self.y[chosen], reduction="sum")
        return total / (BATCH * self.workers)

    def run(
        self, step: Step, record: Recorder, pattern: str, nap: float, over: Callable[[float], bool]
    ) -> None:
        now, count = 0.0, 0
        while not over(now):
            if naps(pattern, count, self.number, self.workers):
                time.sleep(nap)
            step()
            now, count = record.ended(), count + 1

    def answer(self, record: Recorder) -> dict[str, Any]:
        """Ends of steps as the machine's clock says, which all its processes share; losses of the first worker."""
        kept = record.losses(self.x[:EVALUATED], self.y[:EVALUATED]) if self.number == 0 else ([], [])
        return {
            "ends": [record.start + end for end in record.ends],
            "start": record.start,
            "at": kept[0],
            "losses": kept[1],
        }


def by_allreduce(
    group: Communicator, seed: int, pattern: str, nap: float, seconds: float, every: float
) -> dict[str, Any]:
    """On all ranks of ``group``; they end after the same step, which costs an AllReduce of one number more."""
    worker = Worker(group.rank, group.size, seed)
    parallel = DataParallel(worker.model, group, algorithm="ring")
    optimizer = SGD(worker.model.parameters(), LEARNING_RATE)

    def step() -> None:
        parallel.zero_grad()
        parallel.backward(worker.loss(parallel))
        optimizer.step()

    def over(now: float) -> bool:
        return bool(group.allreduce(np.array([now]), "max")[0] >= seconds)

    group.barrier()
    record = Recorder(worker.model, every if worker.number == 0 else 0.0, lambda: None)
    worker.run(step, record, pattern, nap, over)
    return worker.answer(record)


def by_server(
    world: Communicator, mode: str, staleness: int | None, seed: int, pattern: str, nap: float, seconds: float, every: float,
) -> dict[str, Any]:  # fmt: skip
    """On all ranks of ``world``, of which the last serves and does not work."""
    rule = OptimizerRule(SGD, lr=LEARNING_RATE)
    server = ParameterServer(world, 1, mode, staleness, rule=rule, reduction="sum")
    if not server.is_worker:
        server.close()
        return {"ends": [], "start": 0.0, "at": [], "losses": []}
    worker = Worker(world.rank, len(server.workers), seed)
    parallel = ServerParallel(worker.model, server)

    def step() -> None:
        parallel.zero_grad()
        parallel.backward(worker.loss(parallel))
        parallel.step()

    server.barrier()
    record = Recorder(worker.model, every if worker.number == 0 else 0.0, parallel.wait)
    worker.run(step, record, pattern, nap, lambda now: now >= seconds)
    parallel.close()
    server.close()
    return worker.answer(record)
