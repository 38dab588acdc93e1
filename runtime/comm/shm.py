"""Ranks of one node over shared memory (csrc/cpu); ranks of other nodes over MPI, link by link.

MPI brings the ranks together. After that, ranks of a node that share a communicator need it no more: data,
reports and farewells go through memory, so that the survivors can speak when a rank has been killed.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import DTypeLike, NDArray
from ringleader.collectives.tuning import Choice
from ringleader.csrc.cpu import _engine
from ringleader.runtime.comm import engine, ulfm
from ringleader.runtime.comm.mpi import Membership, MpiTransport, split_by_node
from ringleader.runtime.comm.ops import OPS
from ringleader.runtime.comm.transport import ANY, Bytes, Channel, Mail, Request, Source, UnderWay

MEMORY_VARIABLE = "RINGLEADER_SHARED_MEMORY"  # bytes that a rank may share; default: as much as there is
# Bytes from which an AllReduce across nodes folds inside of each node first.
HIERARCHICAL = 64 << 10
WAIT = 1000  # microseconds of a wait for messages
PATIENT = 20  # such waits before a rank sleeps although nobody needs its core
NOTHING = np.empty(0, np.uint8)
ADDRESSES = 1 << 46  # bytes of address space for the arenas of all ranks of a node


class Home:
    """This rank's node: ``ranks`` of the world that run there, itself at ``index``."""

    def __init__(self, world: MPI.Intracomm) -> None:
        """Collective. RuntimeError on every rank of a node where some rank cannot share memory."""
        local = split_by_node(world, world.rank)
        self.index, self.ranks = local.rank, local.allgather(world.rank)
        size = _arena_size(local.size)
        try:
            self.node = _engine.Node(local.rank, local.size, size)
            told: Any = self.node.address()
        except (OSError, MemoryError) as error:
            told = f"rank {world.rank}: {type(error).__name__}: {error}"
        addresses = local.allgather(told)
        problem = next((a for a in addresses if isinstance(a, str)), "")
        if not problem:
            try:
                self.node.connect(addresses)
            except OSError as error:  # another user's process, or a container of its own
                problem = f"rank {world.rank} cannot map its neighbours' memory: {error}"
        problems = [p for p in local.allgather(problem) if p]
        local.Free()
        if problems:
            raise RuntimeError(problems[0])
        self.next_context = 1

    def claim(self, comm: MPI.Intracomm) -> int:
        """A range of message contexts that no member of ``comm`` uses. Collective."""
        first = int(comm.allreduce(self.next_context, MPI.MAX))
        self.next_context = first + int(_engine.CONTEXTS)
        return first


def _arena_size(ranks: int) -> int:
    given = os.environ.get(MEMORY_VARIABLE)
    if given is None:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return int(min(memory, ADDRESSES // ranks))
    if not given.isdigit() or int(given) < 16 << 20:
        raise ValueError(f"{MEMORY_VARIABLE}={given!r} must be a number of bytes, 16777216 or more")
    return int(given)


class _Request(Request):
    """A message through memory."""

    def __init__(
        self, transport: ShmTransport, view: Bytes, peer: int, channel: Channel, is_recv: bool
    ) -> None:  # fmt: skip
        self.transport, self.channel, self.is_recv = transport, channel, is_recv
        self.view, self.peer, self.tag = view, peer, channel.tag
        self.message = self._start()

    def _start(self) -> _engine.Message:
        channel = self.channel
        collective = channel.number >= 0
        purpose = _engine.Purpose.collective if collective else _engine.Purpose.direct
        key = channel.number << 32 | channel.digest if collective else max(channel.tag, 0)
        there = ANY if self.peer == ANY else self.transport.local[self.peer]
        return _engine.Message(
            self.transport.caller, self.view, self.is_recv, there, purpose, key, channel.tag == ANY,
            channel.synchronous,
        )  # fmt: skip

    def test(self) -> bool:
        done = bool(self.message.test())
        if done and self.is_recv and self.channel.number < 0:
            self.peer, self.tag = self.transport.ranks[self.message.peer], int(self.message.key)
        elif not done and self.peer == ANY and self._severed(self.message.peer):  # amid its message
            self.message.cancel()
            self.message = self._start()  # the next may come
        return done

    def _severed(self, there: int) -> bool:
        """Has that rank, as the engine counts them, died, with all that it had sent before already here?"""
        if there == ANY or not self.transport.fallen(there):
            return False
        return not self.message.test()

    @property
    def lost(self) -> bool:
        return self.peer != ANY and self._severed(self.transport.local[self.peer])

    def cancel(self) -> None:
        self.message.cancel()

    def conflict(self) -> bool:
        number = self.channel.number
        return number >= 0 and bool(self.transport.caller.conflict(number))


@cache
def _summed(dtype: np.dtype[Any]) -> str | None:
    """What the engine calls it, if it can add such numbers."""
    return dtype.name if engine.runs(OPS["sum"], dtype) else None


class _Mail(Mail):
    """Through memory: the note travels with what tells where the payload lies."""

    def __init__(self, transport: ShmTransport) -> None:
        self.transport, self.caller = transport, transport.caller

    def send(
        self, peer: int, note: bytes, payload: NDArray[Any] | None, tag: int, quiet: bool = True
    ) -> UnderWay | None:  # fmt: skip
        message = _engine.Message(
            self.caller, NOTHING if payload is None else payload, False, peer, _engine.Purpose.direct, tag, note=note,
            quiet=quiet,
        )  # fmt: skip
        return None if message.done else message

    def hear(self) -> list[tuple[int, bytes, bool]]:
        return _engine.hear(self.caller)

    def take_now(self, peer: int, tag: int, array: NDArray[Any], together: int = 0) -> bool:
        return _engine.take(self.caller, peer, tag, array, together > _engine.CACHED)

    def add_up(self, total: NDArray[Any], sources: Sequence[Source], onto: bool) -> None:
        name = _summed(total.dtype)
        if name is not None:
            _engine.add_up(self.caller, total, sources, name, onto)
        else:
            super().add_up(total, [self._read(source, total) for source in sources], onto)

    def _read(self, source: Source, like: NDArray[Any]) -> NDArray[Any]:
        if isinstance(source, np.ndarray):
            return source
        here = np.empty_like(like)
        _engine.take(self.caller, *source, here)
        return here

    def close(self) -> None:
        pass


class ShmTransport(MpiTransport):
    """``ranks``: of this communicator that run on this node. If these are all, the engine runs whole calls."""

    name = "shm"
    max_message = 1 << 62

    def __init__(self, comm: MPI.Intracomm, home: Home, membership: Membership | None = None) -> None:
        super().__init__(comm, membership)
        self.home = home
        self.ranks = [r for r, world in enumerate(self.world) if world in home.ranks]
        self.local = {r: i for i, r in enumerate(self.ranks)}
        self.whole = len(self.ranks) == self.size
        members = [home.ranks.index(self.world[r]) for r in self.ranks]
        self.caller = _engine.Caller(home.node, home.claim(comm), self.local[self.rank], members)
        areas = comm.allgather(self.caller.area)
        self.caller.connect([areas[r] for r in self.ranks])
        self.members = members
        if self.whole:
            self.engine = engine.Engine(self.caller)
        else:
            self.name, self.max_message = "shm+mpi", MpiTransport.max_message
        self.sending: list[Any] = []
        self.hearing: list[tuple[int, Bytes, Any]] = []

    def _isend(self, view: Bytes, peer: int, channel: Channel) -> Request:
        if self._by_memory(peer, channel):
            return _Request(self, view, peer, channel, is_recv=False)
        return super()._isend(view, peer, channel)

    def _irecv(self, view: Bytes, peer: int, channel: Channel) -> Request:
        if self._by_memory(peer, channel):
            return _Request(self, view, peer, channel, is_recv=True)
        return super()._irecv(view, peer, channel)

    def _by_memory(self, peer: int, channel: Channel) -> bool:
        """Receives from anyone cannot look at two kinds of link, so point-to-point is all of one kind."""
        return self.whole or (channel.number >= 0 and peer in self.local)

    def pause(self, turn: int) -> None:
        """Whichever kind of link is waited for, the messages of the other kind must move as well."""
        self.home.node.progress()
        if not self.whole:
            ulfm.ask(self.data, self.data.Iprobe, MPI.ANY_SOURCE, MPI.ANY_TAG)
        super().pause(turn)

    def mail(self, nbytes: int) -> Mail:
        return _Mail(self) if self.whole else super().mail(nbytes)

    def await_message(self, turn: int) -> None:
        if not self.whole:
            return self.pause(turn)
        self.home.node.await_news(WAIT, turn > PATIENT)
        return None

    def empty(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        array: NDArray[Any] = self.home.node.empty(list(shape), np.dtype(dtype))
        return array

    # Reports

    def post(self, peer: int, report: Any) -> None:
        if not self.whole:
            return super().post(peer, report)
        if self.fallen(peer):
            return None
        self.sending = [message for message in self.sending if not message.test()]
        data = np.frombuffer(pickle.dumps(report), np.uint8)
        self.sending.append(_engine.Message(self.caller, data, False, peer, _engine.Purpose.control, 0))
        self.caller.raise_alarm(peer)
        return None

    def poll(self) -> Iterable[tuple[int, Any]]:
        if not self.whole:
            yield from super().poll()
            return
        self.sending = [message for message in self.sending if not message.test()]
        while (waiting := self.caller.probe(_engine.Purpose.control)) is not None:
            peer, _, length = waiting
            data = np.empty(length, np.uint8)
            message = _engine.Message(self.caller, data, True, peer, _engine.Purpose.control, 0)
            self.hearing.append((peer, data, message))
        for entry in list(self.hearing):
            peer, data, message = entry
            if message.test():
                self.hearing.remove(entry)
                self.caller.heard()
                yield peer, pickle.loads(data.tobytes())

    def leave(self) -> None:
        self.home.node.leave()
        if not self.whole:
            super().leave()

    def gone(self) -> set[int]:
        here = {r for r, i in zip(self.ranks, self.members) if self.home.node.left(i)} | self.dead()
        return here if self.whole else here | super().gone()

    def dead(self) -> set[int]:
        here = {r for i, r in enumerate(self.ranks) if self.fallen(i)}
        return here if self.whole else here | super().dead()

    def fallen(self, there: int) -> bool:
        """Has that rank died, as the engine counts those of this communicator and node?"""
        return bool(self.home.node.dead(self.members[there]))

    def free(self) -> None:
        self.data.Barrier()  # nobody looks at another's memory any more
        self.caller.free()
        super().free()

    def untuned(
        self, collective: str, n: int, nbytes: int, ordered: bool, equal: bool, vendor: bool
    ) -> Choice:  # fmt: skip
        """On one node what suits the engine; across nodes, large arrays are folded inside of each one first."""
        if self.whole:
            return engine.untuned(collective, n, nbytes, ordered, equal, vendor)
        nodes = [tuple(r for r in range(n) if self.nodes[r] == node) for node in dict.fromkeys(self.nodes)]
        if collective == "allreduce" and nbytes >= HIERARCHICAL and len(nodes) < n and not ordered:
            return Choice.of("hierarchical", {"groups": tuple(nodes)})
        return super().untuned(collective, n, nbytes, ordered, equal, vendor)

    def over(self, comm: MPI.Intracomm) -> ShmTransport:
        return ShmTransport(comm, self.home, self.membership)
