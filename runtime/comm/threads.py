"""Ranks as threads of one process: nothing to install, and every send is a rendezvous.

A message is copied once, from the sender's memory into the receiver's, by whichever of the two comes
second; the sender's request completes only then. Code that deadlocks under rendezvous deadlocks here.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any

from ringleader.runtime.comm.transport import ANY, Bytes, Channel, Request, Transport

PATIENCE = 0.05  # seconds between looks at the control channel while nothing arrives


class Hub:
    """What the ranks of one ``spawn`` share. ``lock`` guards everything here."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.lock = threading.Lock()
        self.wake = [threading.Condition(self.lock) for _ in range(size)]
        self.events = [0] * size  # counts what happened to each rank, so that no wake-up is lost
        self.sends: dict[tuple[Any, int], deque[_Message]] = defaultdict(deque)  # by (group, receiver)
        self.recvs: dict[tuple[Any, int], deque[_Message]] = defaultdict(deque)
        self.control: dict[tuple[Any, int], deque[tuple[int, Any]]] = defaultdict(deque)
        self.board: dict[tuple[Any, int], dict[int, Any]] = defaultdict(dict)
        self.gone: set[int] = set()

    def leave(self, rank: int) -> None:
        """World rank ``rank`` has returned or raised."""
        with self.lock:
            self.gone.add(rank)
            for other in range(self.size):
                self.notify(other)

    def notify(self, rank: int) -> None:
        """Something happened to world rank ``rank``; the lock is held."""
        self.events[rank] += 1
        self.wake[rank].notify_all()


class _Message(Request):
    def __init__(
        self, transport: ThreadsTransport, view: Bytes, peer: int, channel: Channel, is_recv: bool
    ) -> None:
        self.transport, self.view, self.channel = transport, view, channel
        self.peer, self.tag, self.is_recv = peer, channel.tag, is_recv
        self.done = False

    def test(self) -> bool:
        return self.done

    def cancel(self) -> None:
        hub, t = self.transport.hub, self.transport
        with hub.lock:
            boxes, owner = (hub.recvs, t.rank) if self.is_recv else (hub.sends, self.peer)
            box = boxes[t.group, owner]
            if self in box:
                box.remove(self)

    def conflict(self) -> bool:
        t, number, digest = self.transport, self.channel.number, self.channel.digest
        with t.hub.lock:
            waiting = t.hub.sends[t.group, t.rank]
            return number >= 0 and any(
                m.channel.number == number and m.channel.digest != digest for m in waiting
            )

    def accepts(self, sent: _Message) -> bool:
        """For a receive: does it match this send?"""
        from_there = self.peer in (ANY, sent.transport.rank)
        if self.channel.number < 0 and self.channel.tag == ANY:
            return from_there and sent.channel.number < 0
        return from_there and self.channel == sent.channel


class ThreadsTransport(Transport):
    """``group``: names the communicator within the hub. ``world``: the hub rank of each rank."""

    name = "threads"

    def __init__(self, hub: Hub, group: Any, world: list[int], rank: int) -> None:
        self.hub, self.group, self.world = hub, group, world
        self.rank, self.size = rank, len(world)
        self.nodes = [0] * len(world)
        self.events = 0  # of this rank, when it last looked

    def _isend(self, view: Bytes, peer: int, channel: Channel) -> Request:
        sent = _Message(self, view, peer, channel, is_recv=False)
        with self.hub.lock:
            waiting = self.hub.recvs[self.group, peer]
            matching = next((r for r in waiting if r.accepts(sent)), None)
            if matching is None:
                self.hub.sends[self.group, peer].append(sent)
                return sent
            waiting.remove(matching)
        self._deliver(sent, matching)
        return sent

    def _irecv(self, view: Bytes, peer: int, channel: Channel) -> Request:
        wanted = _Message(self, view, peer, channel, is_recv=True)
        with self.hub.lock:
            waiting = self.hub.sends[self.group, self.rank]
            matching = next((s for s in waiting if wanted.accepts(s)), None)
            if matching is None:
                self.hub.recvs[self.group, self.rank].append(wanted)
                return wanted
            waiting.remove(matching)
        self._deliver(matching, wanted)
        return wanted

    def _deliver(self, sent: _Message, wanted: _Message) -> None:
        """Copy outside the lock, then tell both."""
        if sent.view.size != wanted.view.size:
            raise RuntimeError(f"message of {sent.view.size} bytes for a receive of {wanted.view.size}")
        wanted.view[:] = sent.view
        wanted.peer, wanted.tag = sent.transport.rank, sent.channel.tag
        with self.hub.lock:
            sent.done = wanted.done = True
            for transport in (sent.transport, wanted.transport):
                self.hub.notify(transport.world[transport.rank])

    def pause(self, turn: int) -> None:
        """Sleep until something happens to this rank."""
        me = self.world[self.rank]
        with self.hub.lock:
            if self.hub.events[me] == self.events:
                self.hub.wake[me].wait(PATIENCE)
            self.events = self.hub.events[me]

    def post(self, peer: int, report: Any) -> None:
        with self.hub.lock:
            self.hub.control[self.group, peer].append((self.rank, report))
            self.hub.notify(self.world[peer])

    def poll(self) -> Iterable[tuple[int, Any]]:
        box = self.hub.control[self.group, self.rank]
        while box:
            yield box.popleft()

    def leave(self) -> None:
        self.hub.leave(self.world[self.rank])

    def gone(self) -> set[int]:
        return {rank for rank, member in enumerate(self.world) if member in self.hub.gone}

    def publish(self, key: int, value: Any) -> None:
        with self.hub.lock:
            self.hub.board[self.group, key][self.rank] = value

    def split(self, key: int, color: int | None, order: int) -> Transport | None:
        if color is None:
            return None
        board = self.hub.board[self.group, key]
        members = sorted((o, rank) for rank, (c, o) in board.items() if c == color)
        ranks = [rank for _, rank in members]
        group = (self.group, key, color)
        return ThreadsTransport(self.hub, group, [self.world[r] for r in ranks], ranks.index(self.rank))
