"""How the ranks agree on a step: by AllReduce, or over a parameter server. The loop is the same for both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from ringleader.runtime.autograd import Module, Optimizer, Tensor
from ringleader.runtime.comm.leader import ParameterServer
from ringleader.runtime.comm.wire import Wire
from ringleader.runtime.parallel import DataParallel, OptimizerRule, ServerParallel
from ringleader.runtime.training.config import TrainConfig
from ringleader.runtime.training.data import Array, shard
from ringleader.runtime.training.optimizers import (
    OPTIMIZERS,
    clip_gradients,
    make_schedule,
    optimizer_options,
)

if TYPE_CHECKING:
    from ringleader.runtime.comm import Communicator


class Group(Protocol):
    """Ranks that share out work between them."""

    def share(self, items: Array) -> Array:
        """This rank's part."""

    def sum(self, tally: Array) -> bool:
        """Add up over the ranks, in place. False: a rank was lost on the way, so some shares are missing: do it again."""


class Sync(Group, Protocol):
    """One rank's part in the steps of a training."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """The model's output. No parameter has a gradient afterwards."""

    def step(self, loss: Tensor, mine: int, whole: int) -> float:
        """Change the parameters by a sum of losses over ``mine`` of ``whole`` labels; the mean loss, for people."""

    def settle(self) -> None:
        """Until the parameters have all come."""

    @property
    def speaks(self) -> bool:
        """Is this the rank that tells people how it goes?"""

    @property
    def wire(self) -> Wire | None:
        """Bytes that this rank has sent for gradients, if they are compressed."""

    def close(self) -> None: ...


class Everyone:
    """All ranks of a communicator."""

    def __init__(self, world: Communicator) -> None:
        self.world = world

    def share(self, items: Array) -> Array:
        return shard(items, self.world.rank, self.world.size)

    def sum(self, tally: Array) -> bool:
        self.world.allreduce(tally, op="sum")
        return True


class Reduced(Everyone):
    """Gradients are summed by AllReduce, and every rank makes the same update."""

    def __init__(
        self, model: Module, world: Communicator, optimizer: Optimizer, config: TrainConfig, steps: int
    ) -> None:
        super().__init__(world)
        self.model, self.optimizer, self.config = model, optimizer, config
        self.parallel = DataParallel(model, world, config.bucket_bytes, config.algorithm, config.compression)
        self.schedule = make_schedule(optimizer, steps, config)

    def forward(self, *inputs: Tensor) -> Tensor:
        self.parallel.zero_grad()
        output: Tensor = self.parallel(*inputs)
        return output

    def step(self, loss: Tensor, mine: int, whole: int) -> float:
        mean = self.parallel.backward(loss / whole)  # the sum over ranks is the global mean
        if self.config.clip is not None:
            clip_gradients(self.model, self.config.clip)
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        return mean

    def settle(self) -> None:
        pass

    @property
    def speaks(self) -> bool:
        return self.world.rank == 0

    @property
    def wire(self) -> Wire | None:
        return self.parallel.wire

    def close(self) -> None:
        self.parallel.close()


class Served:
    """Workers push gradients, servers make the updates. The loss shown is that of this worker's part of the batch.

    ``config.clip``: each worker scales down its own gradients, to that norm over the number of workers, so that their sum
    is no larger than it. What a lost worker had of a batch is left undone until the others have
    noticed; from then on they share it out among themselves.
    """

    def __init__(
        self, model: Module, server: ParameterServer, optimizer: Optimizer, config: TrainConfig, steps: int
    ) -> None:
        """``optimizer`` makes no step: it is what a schedule changes the learning rate of."""
        self.server, self.optimizer = server, optimizer
        self.living = list(server.workers)
        clip = None if config.clip is None else config.clip / len(server.workers)
        self.parallel = ServerParallel(model, server, clip)
        self.schedule = make_schedule(optimizer, steps, config)

    def share(self, items: Array) -> Array:
        return shard(items, self.living.index(self.server.world.rank), len(self.living))

    def sum(self, tally: Array) -> bool:
        total, came = self.server.sum(tally)
        lost, self.living = came != self.living, came
        tally[...] = total
        return not lost

    def forward(self, *inputs: Tensor) -> Tensor:
        self.parallel.zero_grad()
        output: Tensor = self.parallel(*inputs)
        return output

    def step(self, loss: Tensor, mine: int, whole: int) -> float:
        self.parallel.lr = self.optimizer.param_groups[0]["lr"]
        self.parallel.backward(loss / whole)
        self.parallel.step()
        self.living = [rank for rank in self.living if rank not in self.server.gone]
        if self.schedule is not None:
            self.schedule.step()
        return float(loss.item()) / mine if mine else float("nan")

    def settle(self) -> None:
        """All living workers wait for each other: they test the same parameters."""
        self.parallel.wait()
        self.living = self.server.barrier()
        self.parallel.pull()
        self.parallel.wait()

    @property
    def speaks(self) -> bool:
        return self.server.world.rank == self.living[0]

    @property
    def wire(self) -> Wire | None:
        pushed: Wire = self.server.stats()["pushed"]
        return None if self.server.settings.compression is None else pushed

    def close(self) -> None:
        self.parallel.close()
        self.server.close()


def parameter_server(world: Communicator, config: TrainConfig) -> ParameterServer:
    """What ``config`` says; collective."""
    named = OPTIMIZERS[config.optimizer]
    return ParameterServer(
        world, config.servers, config.mode, config.staleness, rule=OptimizerRule(named.cls, **optimizer_options(config)),
        reduction="sum", colocated=config.colocated, placement=config.placement, replicas=config.replicas,
        compression=config.compression,
    )  # fmt: skip


def add_up(group: Group, count: Any, items: Array) -> Array:
    """The sum of ``count(share)`` over the ranks, each on its share of ``items``; anew if a rank is lost on the way."""
    while True:
        tally = np.asarray(count(group.share(items)))
        if group.sum(tally):
            return tally
