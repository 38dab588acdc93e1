"""Parameter servers for tests: on ranks that are threads (or processes, see coded.py), at a desk without any transport,
and over a transport that delivers letters more than once."""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from ringleader.runtime.comm.communicator import Communicator
from ringleader.runtime.comm.leader import ParameterServer
from ringleader.runtime.comm.leader.kinds import Kind
from ringleader.runtime.comm.leader.placement import PART_BYTES, Tensor
from ringleader.runtime.comm.leader.post import Letter
from ringleader.runtime.comm.leader.rules import RULES
from ringleader.runtime.comm.leader.server import Server
from ringleader.runtime.comm.leader.settings import Settings, staleness_of
from ringleader.runtime.comm.leader.worker import Worker
from ringleader.runtime.comm.threads import ThreadsTransport
from ringleader.runtime.comm.transport import Bytes, Channel, Request

from helpers.coded import on_ranks


def served(n: int, work: Callable[[ParameterServer], Any], servers: Any = 1, **options: Any) -> list[Any]:
    """What ``work(server)`` returns on each worker of ``n`` ranks; None of those that only serve."""

    def rank(world: Communicator) -> Any:
        with ParameterServer(world, servers, **options) as server:
            return work(server) if server.is_worker else None

    return on_ranks(n, rank)


def fence(server: ParameterServer) -> None:
    """Whatever the servers had to answer to this worker's earlier letters is here afterwards: letters stay in order."""
    server.state_dict()


def settings(
    workers: int, mode: str = "bsp", staleness: int | None = None, servers: int = 1, reduction: str = "sum",
    part_bytes: int = PART_BYTES, replicas: int = 0,
) -> Settings:  # fmt: skip
    """Workers are ranks 0 ... workers - 1, servers the next ones."""
    return Settings(
        tuple(range(workers, workers + servers)), tuple(range(workers)), mode, staleness_of(mode, staleness), reduction,
        "balanced", part_bytes, replicas, whole=False, rule="add",
    )  # fmt: skip


# A desk


class Sent(NamedTuple):
    peer: int
    letter: Letter
    payload: np.ndarray | None
    done: Callable[[], None] | None


class Wanted(NamedTuple):
    letter: Letter
    into: np.ndarray
    done: Callable[[], None]


class Desk:
    """A post that keeps what is to be sent and received, until somebody says that it has gone or come. ``there(letter)``:
    a payload that can be read where it lies, else None."""

    def __init__(self, rank: int) -> None:
        self.transport = SimpleNamespace(rank=rank, empty=np.empty)
        self.lock = threading.RLock()
        self.sent: list[Sent] = []
        self.wanted: list[Wanted] = []
        self.discarded: list[Letter] = []
        self.there: Callable[[Letter], np.ndarray | None] = lambda letter: None
        self.idle: Callable[[], bool] = lambda: False
        self.calls: deque[Callable[[], None]] = deque()

    def send(
        self, peer: int, letter: Letter, payload: np.ndarray | None = None, done: Callable[[], None] | None = None,
        quiet: bool = True,
    ) -> None:  # fmt: skip
        nbytes = -1 if payload is None else payload.nbytes
        self.sent.append(Sent(peer, letter._replace(nbytes=nbytes), payload, done))

    def receive(self, letter: Letter, into: np.ndarray, done: Callable[[], None]) -> None:
        assert into.nbytes == letter.nbytes
        self.wanted.append(Wanted(letter, into, done))

    def receive_now(self, letter: Letter, into: np.ndarray, together: int = 0) -> bool:
        payload = self.there(letter) if letter.readable else None
        if payload is not None:
            into.reshape(payload.shape)[...] = payload
        return payload is not None

    def add_up(self, total: np.ndarray, sources: Sequence[np.ndarray | Letter], onto: bool) -> None:
        numbers = [self.there(source) if isinstance(source, Letter) else source for source in sources]
        if not onto:
            total[...] = 0
        for number in numbers:
            assert number is not None
            total += number.reshape(total.shape)

    def later(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def discard(self, letter: Letter) -> None:
        self.discarded.append(letter)

    def comes(self, wanted: Wanted, payload: np.ndarray) -> None:
        """The payload is here."""
        self.wanted.remove(wanted)
        wanted.into.reshape(-1).view(np.uint8)[:] = np.ascontiguousarray(payload).reshape(-1).view(np.uint8)
        wanted.done()

    def settle(self) -> None:
        """All that has come has been heard."""
        while self.calls:
            self.calls.popleft()()

    def take_sent(self) -> list[Sent]:
        self.settle()
        taken, self.sent = self.sent, []
        return taken


def server_at_desk(agreed: Settings, tensors: Mapping[str, np.ndarray]) -> tuple[Server, Desk]:
    """Server 0, to whom all workers have said hello and the first has sent its values."""
    desk = Desk(agreed.servers[0])
    server = Server(0, desk, agreed, RULES[agreed.rule])  # type: ignore[arg-type]  # as good as a post
    worker, other = worker_at_desk(agreed, tensors)
    hello = next(sent for sent in other.take_sent() if sent.letter.kind == Kind.HELLO)
    for rank in agreed.workers:
        server.handle(hello.letter._replace(sender=rank))
        assert hello.payload is not None
        desk.comes(desk.wanted[0], hello.payload)
    for key, w in tensors.items():
        worker.init(key, w)
    for sent in other.take_sent():
        server.handle(sent.letter._replace(sender=agreed.workers[0]))
        assert sent.payload is not None
        desk.comes(desk.wanted[0], sent.payload)
    desk.sent.clear()
    return server, desk


def worker_at_desk(agreed: Settings, tensors: Mapping[str, np.ndarray]) -> tuple[Worker, Desk]:
    """Worker 0, whose hello has been answered; it is the first letter in the desk."""
    desk = Desk(0)
    desk.wait_until = lambda ready, timeout: True  # type: ignore[attr-defined]
    worker = Worker(desk, agreed, timeout=0.0)  # type: ignore[arg-type]
    worker.say_hello({key: Tensor(w.shape, w.dtype) for key, w in tensors.items()})
    return worker, desk


# A transport that cannot be relied on


class Repeating(ThreadsTransport):
    """Every letter comes once more, ``lag`` messages of its sender later: 0, at once. Hand it a world with ``repeat``."""

    lag: int

    def _isend(self, view: Bytes, peer: int, channel: Channel) -> Request:
        request = super()._isend(view, peer, channel)
        if channel.number < 0:
            self.copies.append((view.copy(), peer, channel))
            while len(self.copies) > self.lag:
                super()._isend(*self.copies.popleft())
        return request

    def split(self, key: int, color: int | None, order: int) -> ThreadsTransport | None:
        inner = super().split(key, color, order)
        assert isinstance(inner, ThreadsTransport)
        return _repeating(inner, self.lag)


def _repeating(transport: ThreadsTransport, lag: int) -> Repeating:
    transport.__class__ = Repeating
    assert isinstance(transport, Repeating)
    transport.lag, transport.copies = lag, deque()
    return transport


def repeat(world: Communicator, lag: int) -> None:
    """From now on, and on what is split from it."""
    assert isinstance(world._transport, ThreadsTransport)
    _repeating(world._transport, lag)
