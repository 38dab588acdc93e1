"""Ranks as MPI processes, over mpi4py.

Nothing here blocks inside MPI while it waits for another rank: requests are tested, so that the control
channel is watched, time-outs work, and more ranks than cores make progress.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray
from ringleader.runtime.comm import ulfm, vendor
from ringleader.runtime.comm.errors import RankLost
from ringleader.runtime.comm.ops import Op
from ringleader.runtime.comm.transport import ANY, Bytes, Channel, Request, Sizes, Transport

NODES_VARIABLE = "RINGLEADER_NODES"
NUMBER_BITS = 6  # of the tag: call number; the other bits are the digest
PIECE = (
    1 << 20
)  # bytes of a message; a longer one travels in pieces, each folded while the next is on its way
SPIN, NAP = 2000, 5e-5  # turns before a waiting loop sleeps; seconds of sleep


def split_by_node(comm: MPI.Intracomm, world_rank: int) -> MPI.Intracomm:
    """The ranks of ``comm`` that run on this node. Collective. RINGLEADER_NODES=k pretends that the world's ranks
    are spread evenly over k nodes, in order: to try on one machine what several would do."""
    local = comm.Split_type(MPI.COMM_TYPE_SHARED)
    nodes = os.environ.get(NODES_VARIABLE, "1")
    if not nodes.isdigit() or int(nodes) < 1:
        raise ValueError(f"{NODES_VARIABLE}={nodes!r} must be a number of nodes, 1 or more")
    pretended = local.Split(world_rank * int(nodes) // MPI.COMM_WORLD.size)
    local.Free()
    assert isinstance(pretended, MPI.Intracomm)
    return pretended


class Membership:
    """Which ranks of MPI_COMM_WORLD have left, and which have died; shared by all communicators of this process."""

    def __init__(self, world: MPI.Intracomm) -> None:
        self.comm = ulfm.raising(world.Dup())
        self.left: set[int] = set()
        self.dead: set[int] = set()
        self.requests: list[MPI.Request] = []

    def leave(self) -> None:
        """Tell all ranks that this one makes no more calls."""
        self.left.add(self.comm.rank)
        others = set(range(self.comm.size)) - {self.comm.rank} - self.dead
        self.requests = [self.comm.isend(None, dest=p) for p in others]

    def look(self) -> None:
        self.left.update(rank for rank, _ in ulfm.arrived(self.comm))
        self.dead = ulfm.dead(self.comm)


class _Request(Request):
    """``request``: MPI's, on ``comm``; None if the other rank is dead."""

    def __init__(
        self, transport: MpiTransport, comm: MPI.Intracomm, request: MPI.Request | None, view: Bytes, peer: int,
        channel: Channel, is_recv: bool,
    ) -> None:  # fmt: skip
        self.transport, self.comm, self.request = transport, comm, request
        self.view, self.channel = view, channel
        self.peer, self.tag, self.is_recv = peer, channel.tag, is_recv
        self.done = False

    def test(self) -> bool:
        if not self.done and self.request is not None:
            try:
                self.done = self.request.Test()
            except MPI.Exception as error:
                if ulfm.acknowledge(self.comm, error):
                    self.request = None
        return self.done

    @property
    def lost(self) -> bool:
        return self.request is None

    def cancel(self) -> None:
        """A receive is cancelled; a send cannot be, so its memory is kept alive instead."""
        if self.is_recv and not self.test() and self.request is not None:
            self.request.Cancel()
            ulfm.ask(self.comm, self.request.Wait)
        elif not self.done and self.request is not None:
            self.transport.abandoned.append(self)

    def conflict(self) -> bool:
        return self.transport.conflict(self.channel, self.peer)


class _FromAnyone(_Request):
    """It waits for a message, and then receives that: MPI's own receive from anyone would be stuck for ever if it had
    taken the message of a rank that died while sending it."""

    def __init__(self, transport: MpiTransport, comm: MPI.Intracomm, view: Bytes, channel: Channel) -> None:
        super().__init__(transport, comm, None, view, ANY, channel, is_recv=True)
        with transport.lock:
            transport.listening.append(self)
        transport.listen()

    def match(self) -> bool:
        """Take the oldest message that nobody has taken."""
        tag, status = MPI.ANY_TAG if self.channel.tag == ANY else self.channel.tag, MPI.Status()
        message = ulfm.ask(self.comm, self.comm.Improbe, MPI.ANY_SOURCE, tag, status)
        if message is not None:
            self.request = message.Irecv([self.view, MPI.BYTE])
            self.peer, self.tag = status.source, status.tag
        return message is not None

    def test(self) -> bool:
        if self.request is None and not self.done:
            self.transport.listen()
        if self.request is not None and not super().test() and self.request is None:
            self.peer = ANY
            with self.transport.lock:
                self.transport.listening.insert(0, self)
        return self.done

    @property
    def lost(self) -> bool:
        return False

    def cancel(self) -> None:
        with self.transport.lock:
            waiting = self in self.transport.listening
            if waiting:
                self.transport.listening.remove(self)
        if not waiting:
            super().cancel()


class MpiTransport(Transport):
    """One communicator: duplicates of ``comm`` for collectives, point-to-point and control messages."""

    name = "mpi"
    max_message = PIECE
    watch_every = 64

    def __init__(self, comm: MPI.Intracomm, membership: Membership | None = None) -> None:
        self.comm = comm
        self.data, self.direct, self.control = (ulfm.raising(comm.Dup()) for _ in range(3))
        self.rank, self.size = comm.rank, comm.size
        self.membership = membership or Membership(comm)
        self.world = self._world_ranks()
        self.nodes = self._nodes()
        highest = comm.Get_attr(MPI.TAG_UB)
        self.highest_tag = int(highest if highest is not None else 32767)
        self.number_mask = (1 << NUMBER_BITS) - 1
        self.digest_mask = (1 << (self.highest_tag.bit_length() - NUMBER_BITS - 1)) - 1
        self.abandoned: list[_Request] = []
        self.posted: list[MPI.Request] = []
        self.listening: list[_FromAnyone] = []
        self.lock = threading.Lock()  # of ``listening``: threads may share a communicator

    def _world_ranks(self) -> list[int]:
        group, world = self.comm.Get_group(), self.membership.comm.Get_group()
        ranks = MPI.Group.Translate_ranks(group, list(range(self.size)), world)
        group.Free()
        world.Free()
        return [int(r) for r in ranks]

    def _nodes(self) -> list[int]:
        """Ranks that can share memory are on one node; nodes are numbered by their first rank."""
        local = split_by_node(self.comm, self.membership.comm.rank)
        first = local.bcast(self.rank)
        local.Free()
        leaders = self.comm.allgather(first)
        numbers = {leader: i for i, leader in enumerate(dict.fromkeys(leaders))}
        return [numbers[leader] for leader in leaders]

    def tag(self, channel: Channel) -> int:
        """Call number below, digest above; both shortened to what the MPI library's tags can hold."""
        return (channel.digest & self.digest_mask) << NUMBER_BITS | channel.number & self.number_mask

    def _route(self, channel: Channel) -> tuple[MPI.Intracomm, int]:
        if channel.number >= 0:
            return self.data, self.tag(channel)
        return self.direct, MPI.ANY_TAG if channel.tag == ANY else channel.tag

    def _isend(self, view: Bytes, peer: int, channel: Channel) -> Request:
        comm, tag = self._route(channel)
        kind = comm.Issend if channel.synchronous else comm.Isend
        # To the dead nothing is sent: what nobody takes would fill up MPI's buffers.
        fallen = self.world[peer] in self.membership.dead
        request = None if fallen else kind([view, MPI.BYTE], peer, tag)
        return _Request(self, comm, request, view, peer, channel, is_recv=False)

    def _irecv(self, view: Bytes, peer: int, channel: Channel) -> Request:
        comm, tag = self._route(channel)
        if peer == ANY:
            return _FromAnyone(self, comm, view, channel)
        return _Request(
            self, comm, comm.Irecv([view, MPI.BYTE], peer, tag), view, peer, channel, is_recv=True
        )

    def listen(self) -> None:
        """Receives from anyone take what has come, the oldest of them first."""
        if self.lock.acquire(blocking=False):
            try:
                self.listening = [request for request in self.listening if not request.match()]
            finally:
                self.lock.release()

    def conflict(self, channel: Channel, peer: int) -> bool:
        """A probe shows the oldest message that no receive has matched: of the peer, and of anyone."""
        if channel.number < 0:
            return False
        mine, status = self.tag(channel), MPI.Status()
        for source in (MPI.ANY_SOURCE if peer == ANY else peer, MPI.ANY_SOURCE):
            if ulfm.ask(self.data, self.data.Iprobe, source, MPI.ANY_TAG, status):
                other = status.tag
                if other != mine and other & self.number_mask == mine & self.number_mask:
                    return True
        return False

    def pause(self, turn: int) -> None:
        """Whatever is waited for, receives from anyone go on."""
        if self.listening:
            self.listen()
        if turn < SPIN:
            os.sched_yield()
        else:
            time.sleep(NAP)

    def post(self, peer: int, report: Any) -> None:
        self.posted = ulfm.under_way(self.control, self.posted)
        if peer not in self.dead():
            self.posted.append(self.control.isend(report, dest=peer))

    def poll(self) -> Iterable[tuple[int, Any]]:
        return ulfm.arrived(self.control)

    def leave(self) -> None:
        self.membership.leave()

    def gone(self) -> set[int]:
        self.membership.look()
        gone = self.membership.left | self.membership.dead
        return {rank for rank, member in enumerate(self.world) if member in gone}

    def dead(self) -> set[int]:
        self.membership.look()
        return {rank for rank, member in enumerate(self.world) if member in self.membership.dead}

    def publish(self, key: int, value: Any) -> None:
        """MPI_Comm_split exchanges the values itself."""

    def over(self, comm: MPI.Intracomm) -> MpiTransport:
        """A transport of the same kind for a communicator of some of the world's ranks. Collective over these."""
        return MpiTransport(comm, self.membership)

    def split(self, key: int, color: int | None, order: int) -> Transport | None:
        comm = self.comm.Split(MPI.UNDEFINED if color is None else color, order)
        if comm == MPI.COMM_NULL:
            return None
        assert isinstance(comm, MPI.Intracomm)
        return self.over(comm)

    def free(self) -> None:
        """Give the duplicates back. Collective; no call may be under way."""
        for comm in (self.data, self.direct, self.control):
            comm.Free()

    def vendor_refuses(self, collective: str, dtype: np.dtype[Any], op: Op | None, equal: bool) -> str | None:
        return vendor.refuses(collective, dtype, op, equal)

    def vendor_suits(self, collective: str, dtype: np.dtype[Any], op: Op | None, equal: bool) -> bool:
        return vendor.alike(dtype, op) and vendor.refuses(collective, dtype, op, equal) is None

    def vendor(
        self, collective: str, buffers: dict[str, NDArray[Any]], op: Op | None, root: int, sizes: Sizes
    ) -> None:
        try:
            vendor.run(self.data, collective, buffers, op, root, sizes)
        except MPI.Exception as error:
            ulfm.acknowledge(self.data, error)
            self.data.Revoke()  # or ranks that do not miss the dead one themselves would wait for ever
            raise RankLost(f"the MPI library's own {collective}: {error}") from None
