"""The parameter server: some ranks keep the values, the others push gradients and pull values.

Li et al., "Scaling distributed machine learning with the parameter server" (OSDI 2014); staleness: Ho et al., "More
effective distributed ML via a stale synchronous parallel parameter server" (NIPS 2013); servers among the workers, and
priorities: Jiang et al., "A unified architecture for accelerating distributed DNN training" (BytePS, OSDI 2020).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ringleader.runtime.comm.communicator import Communicator
from ringleader.runtime.comm.compression import Feedbacks
from ringleader.runtime.comm.errors import RankLost
from ringleader.runtime.comm.leader.device import on_device, to_host
from ringleader.runtime.comm.leader.member import Member
from ringleader.runtime.comm.leader.placement import PART_BYTES, Tensor
from ringleader.runtime.comm.leader.request import Handle, Request
from ringleader.runtime.comm.leader.rules import RULES, Rule
from ringleader.runtime.comm.leader.settings import Settings, roles, staleness_of
from ringleader.runtime.comm.leader.state import packed, unpacked
from ringleader.runtime.comm.leader.worker import Worker


class ParameterServer(Member):
    """Values by name, kept by the ranks ``servers`` and changed by what the other ranks push. Collective over ``world``.

        server = ParameterServer(world, servers=1, mode="bsp")
        if server.is_worker:
            server.init({"w": w})                       # the first worker's values count
            server.push("w", gradient)
            server.pull("w", out=w).wait()              # mode "bsp": after the gradients of all workers
            server.clock()                              # the next iteration
        server.close()                                  # a rank that only serves does it in here

    ``servers``: how many, or which ranks. They serve only (the last ranks, if it is a number), unless ``colocated``: then
    every rank works, and the servers are spread over them, each in a thread of its own. ``rule``: "assign", "add", or
    an object (see ``rules.Rule``; ``OptimizerRule`` of ringleader.runtime.parallel is one).

    ``mode``: "bsp" (bulk synchronous): the gradients of an iteration are folded in rank order, and applied as one. "asp"
    (asynchronous): each is applied when it comes, and a pull gets what there is. "ssp" (stale synchronous): as "asp", but
    a pull waits while its worker is more than ``staleness`` iterations (default 3) ahead of the slowest; with 0 nobody can
    look between the gradients of an iteration, so they are folded, and it is "bsp". ``reduction``: whether the fold of
    mode "bsp" is divided by the number of gradients in it ("mean") or not ("sum").

    Tensors of more than ``part_bytes`` are split, and parts laid out by ``placement`` (see ``place``). ``replicas``: so
    many further servers get every push, so that as many deaths lose nothing that was acknowledged. ``compression``: of
    what is pushed, with error feedback on each worker (see ``make_compressor`` in ringleader.runtime.comm.compression, and
    ``worthwhile``: small parts travel as they are). What is pulled is never compressed.

    A worker that ends without ``close``, or is killed where the transport can tell, is dropped, with a warning in the log
    "ringleader.leader": the others go on. CuPy's arrays are taken and filled as well, through the host's memory.
    ArgumentError: the ranks do not agree, on all of them. ValueError: an option that makes no sense.
    """

    def __init__(
        self, world: Communicator, servers: int | Sequence[int] = 1, mode: str = "bsp", staleness: int | None = None, *,
        rule: str | Rule = "assign", reduction: str = "mean", colocated: bool = False, placement: str = "balanced",
        part_bytes: int = PART_BYTES, replicas: int = 0, compression: str | None = None,
    ) -> None:  # fmt: skip
        found = RULES.get(rule) if isinstance(rule, str) else rule
        if found is None:
            raise ValueError(f"unknown rule {rule!r}; known: {', '.join(RULES)}, or an object")
        serving, working = roles(world.size, servers, colocated)
        settings = Settings(
            serving, working, mode, staleness_of(mode, staleness), reduction, placement, part_bytes, replicas,
            found.whole, rule if isinstance(rule, str) else type(rule).__name__, compression,
        )  # fmt: skip
        self._meetings = 0
        super().__init__(world, settings, found)

    # What workers do

    def init(self, tensors: Mapping[str, Any]) -> None:
        """Agree on what there is: on all workers the same names, shapes and dtypes, contiguous. The values are those of the
        first worker. ArgumentError: another worker has other tensors."""
        worker = self._working("init")
        tensors = {name: to_host(w) for name, w in tensors.items()}
        for name, w in tensors.items():
            _check("init", name, w)
            if self.settings.staleness == 0 and self.settings.reduction == "mean" and w.dtype.kind in "biu":
                raise ValueError(
                    f"init: the mean of {name!r}, {w.dtype}, would lose the fraction; use reduction='sum'"
                )
        worker.say_hello({name: Tensor(w.shape, w.dtype) for name, w in tensors.items()})
        living = self.barrier()
        while True:
            first = living[0]
            if self.world.rank == first:
                requests = [request for name, w in tensors.items() for request in worker.init(name, w)]
                worker.finish(requests, "init")
            living = self.barrier()
            if first in living:  # else it may have died before it had sent all
                return

    def push(self, name: str, gradient: Any, priority: int = 0, lr: float | None = None) -> Handle:
        """Send a gradient, of the shape and dtype of ``name``, which must stay as it is until the handle has completed:
        the servers that hold it have it then. ``priority``: lower numbers go first. ``lr``: the learning rate for this
        update, for rules that have one. ValueError: mode "bsp", and it has been pushed in this iteration already."""
        worker, gradient = self._working("push"), to_host(gradient)
        _known(worker, "push", name, gradient)
        return Handle(worker, worker.push(name, gradient, priority, lr), f"push of {name!r}")

    def pull(self, name: str, out: Any = None, priority: int = 0) -> Handle:
        """Get the values into ``out``, or a new array, which ``wait()`` returns. They contain what this worker has pushed,
        and what the mode promises of the others."""
        worker = self._working("pull")
        host, there = _target(worker, "pull", name, out)
        return Handle(worker, worker.pull(name, host, priority), f"pull of {name!r}", host, there)

    def push_pull(
        self, name: str, gradient: Any, out: Any = None, priority: int = 0,
        lr: float | None = None,
    ) -> Handle:  # fmt: skip
        """A push, and the pull that sees it. ``out`` may be ``gradient``."""
        worker, gradient = self._working("push_pull"), to_host(gradient)
        _known(worker, "push_pull", name, gradient)
        host, there = _target(worker, "push_pull", name, out)
        if not self.settings.replicas:
            requests = worker.push(name, gradient, priority, lr, host)
        else:
            if np.may_share_memory(gradient, host):
                gradient = (
                    gradient.copy()
                )  # the first server's answer may come before the second has taken it
            requests = worker.push(name, gradient, priority, lr) + worker.pull(name, host, priority)
        return Handle(worker, requests, f"push_pull of {name!r}", host, there)

    def clock(self) -> None:
        """This worker's iteration is over: nothing more will be pushed for it. Does not wait."""
        self._working("clock").clock()

    @property
    def iteration(self) -> int:
        """How often this worker has called ``clock``."""
        return self._working("iteration").iteration

    def barrier(self) -> list[int]:
        """Return once every living worker has called it: their ranks. Pushes are not waited for; their handles can be."""
        return self.sum(np.empty(0))[1]

    def sum(self, x: NDArray[Any]) -> tuple[NDArray[np.float64], list[int]]:
        """The living workers' ``x``, of one shape, added up in float64; and their ranks. All of them must call it."""
        worker = self._working("sum")
        numbers = np.array(x, np.float64)
        self._meetings += 1
        request = worker.meet(self._meetings, numbers.reshape(-1))
        worker.finish([request], "barrier" if not numbers.size else "sum")
        assert request.answer is not None
        told = request.answer.view(np.float64)
        count = int(told[0])
        return told[1 + count :].reshape(numbers.shape), [int(rank) for rank in told[1 : 1 + count]]

    # Checkpoints

    def state_dict(self) -> dict[str, list[dict[str, NDArray[Any]]]]:
        """Of each name, its parts' values ("w") and what the rule keeps with them. One worker calls it, while no push is
        under way (see ``barrier``); no other need do so."""
        worker = self._working("state_dict")
        asked = {key: [worker.state(part) for part in parts] for key, parts in worker.parts.items()}
        worker.finish([r for requests in asked.values() for r in requests], "state_dict")
        return {key: [unpacked(_bytes(r)) for r in requests] for key, requests in asked.items()}

    def load_state_dict(self, state: Mapping[str, Sequence[Mapping[str, NDArray[Any]]]]) -> None:
        """Go on from what ``state_dict`` returned, with the same names and ``part_bytes``, and any number of servers. One
        worker calls it, the others wait in ``barrier``. ValueError: other tensors; nothing has been changed then."""
        worker = self._working("load_state_dict")
        has, given = ({k: list(v) for k, v in shapes.items()} for shapes in (
            {key: [part.shape for part in parts] for key, parts in worker.parts.items()},
            {key: [np.shape(part["w"]) for part in parts] for key, parts in state.items()},
        ))  # fmt: skip
        if has != given:
            wrong = next(key for key in [*has, *given] if has.get(key) != given.get(key))
            raise ValueError(
                f"load_state_dict: {wrong!r} has parts of {given.get(wrong)}, here of {has.get(wrong)}"
            )
        requests = [
            worker.load(part, packed(saved)) for key, parts in worker.parts.items()
            for part, saved in zip(parts, state[key])
        ]  # fmt: skip
        worker.finish(requests, "load_state_dict")

    @property
    def compression(self) -> Feedbacks | None:
        """What this worker has yet to push: its ``state_dict()`` belongs into a checkpoint of this rank, beside what one worker
        gets from ``state_dict``. It may be loaded after ``init``, with the same names, ``part_bytes`` and scheme. None: nothing
        is compressed."""
        return self._working("compression").feedbacks

    def stats(self) -> dict[str, Any]:
        """Of this rank: ``sent``, bytes of all its messages. Of a worker ``pushed``, a Wire: bytes of gradients, and what
        they would be uncompressed. Of a server ``waits``: by rank, seconds that pulls of others have waited for it."""
        found: dict[str, Any] = {"sent": self._post.sent_bytes}
        if self._worker is not None:
            found["pushed"] = self._worker.pushed
        if self._server is not None:
            found["waits"] = dict(self._server.patience.waits)
        return found

    def _working(self, what: str) -> Worker:
        if self._worker is None:
            raise RuntimeError(f"{what}: rank {self.world.rank} serves; workers are {list(self.workers)}")
        if self._closed:
            raise RuntimeError(f"{what}: the parameter server is closed on rank {self.world.rank}")
        return self._worker


def _known(worker: Worker, what: str, name: str, array: Any) -> None:
    tensor = worker.tensors.get(name)
    if tensor is None:
        raise KeyError(f"{what}: no tensor {name!r} was named in init")
    _check(what, name, array)
    if (array.shape, array.dtype) != tensor:
        raise ValueError(
            f"{what}: {name!r} is {tensor.dtype}{list(tensor.shape)}, this array is {array.dtype}{list(array.shape)}"
        )


def _target(worker: Worker, what: str, name: str, out: Any) -> tuple[NDArray[Any], Any]:
    """Where the values of a pull go, in the host's memory, and if that is not ``out``, ``out``."""
    if out is None and name in worker.tensors:
        return np.empty(*worker.tensors[name]), None
    there = on_device(out)
    host = np.empty(out.shape, out.dtype) if there else out
    _known(worker, what, name, host)
    if not host.flags.writeable:
        raise ValueError(f"{what}: the array for {name!r} is read-only")
    return host, out if there else None


def _check(what: str, name: str, array: Any) -> None:
    if not isinstance(array, np.ndarray) or array.dtype.hasobject:
        raise TypeError(f"{what}: {name!r} must be a numpy array of numbers, not {type(array).__name__}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{what}: {name!r} must be contiguous; see numpy.ascontiguousarray")


def _bytes(request: Request) -> NDArray[np.uint8]:
    if request.answer is None:
        raise RankLost("state_dict: no answer")
    return request.answer
