"""Ranks as machines: clocks that take one thing after another, and the messages on their way to them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ringleader.collectives.simulate.result import NOBODY, Recorder
from ringleader.collectives.topology.base import Floats, Ints

NEVER = -1  # as number of a message


class Waits(NamedTuple):
    """Instruction ``instruction[i]`` needs message ``message[i]``."""

    instruction: Ints
    message: Ints


class Work(NamedTuple):
    """Instructions in the order in which their ranks have them: not before ``ready``, and for ``cost`` seconds
    of CPU. ``peer`` and ``nbytes`` are for the record."""

    kind: str
    rank: Ints
    ready: Floats
    cost: Floats
    peer: Ints
    nbytes: Floats


def in_turn(clock: Floats, rank: Ints, ready: Floats, cost: Floats) -> tuple[Floats, Floats]:
    """Each rank does its things, which stand together and in order, one by one: when it came to each, and when
    that began. ``clock`` moves on."""
    came, began = np.empty(len(rank)), np.empty(len(rank))
    if not len(rank):
        return came, began
    head = np.flatnonzero(np.concatenate([[True], rank[1:] != rank[:-1]]))
    count = np.diff(np.append(head, len(rank)))
    for turn in range(int(count.max())):
        now = head[count > turn] + turn
        who = rank[now]
        came[now] = clock[who]
        began[now] = np.maximum(clock[who], ready[now])
        clock[who] = began[now] + cost[now]
    return came, began


def queue(clock: Floats, rank: Ints, ready: Floats, cost: Floats) -> Floats:
    """As ``in_turn``, for things in any order that are done first come, first served: when each began."""
    order = np.lexsort((ready, rank))
    began = np.empty(len(rank))
    began[order] = in_turn(clock, rank[order], ready[order], cost[order])[1]
    return began


class Machine:
    """The CPUs of all ranks, and every message so far: when it has arrived, and whether it was taken in."""

    def __init__(self, slow: Floats, o: float, per_byte: float, recorder: Recorder) -> None:
        n = len(slow)
        self.slow, self.o, self.per_byte, self.recorder = slow, o, per_byte, recorder
        self.clock, self.busy = np.zeros(n), np.zeros(n)
        self.count = 0
        self.arrival, self.nbytes = np.zeros(n), np.zeros(n)
        self.sender, self.receiver = np.zeros(n, np.int32), np.zeros(n, np.int32)
        self.taken = np.zeros(n, bool)

    def handling(self, rank: Ints, nbytes: Floats) -> Floats:
        """CPU seconds for sending or taking in a message."""
        return self.slow[rank] * (self.o + self.per_byte * nbytes)

    def send(self, sender: Ints, receiver: Ints, nbytes: Floats, arrival: Floats) -> Ints:
        """The numbers of new messages."""
        new = np.arange(self.count, self.count + len(sender))
        self.count += len(new)
        columns = {
            "sender": sender,
            "receiver": receiver,
            "nbytes": nbytes,
            "arrival": arrival,
            "taken": False,
        }
        for name, values in columns.items():
            column = getattr(self, name)
            if self.count > len(column):
                column = np.concatenate([column, np.zeros(max(self.count, len(column)), column.dtype)])
                setattr(self, name, column)
            column[new] = values
        return new

    def run(self, work: Work, waits: Waits, round: int) -> Floats:
        """Do the work, taking in the messages it waits for, each when it is first needed: when each began."""
        instruction, message = self._new(waits)
        receiver = work.rank[instruction]
        rank = np.concatenate([receiver, work.rank])
        cost = np.concatenate([self.handling(receiver, self.nbytes[message]), work.cost])
        ready = np.concatenate([self.arrival[message], work.ready])
        own = np.arange(len(work.rank))
        order = np.lexsort(
            (
                np.concatenate([message, np.full(len(own), self.count)]),
                np.concatenate([instruction, own]),
                rank,
            )
        )
        came, began = np.empty(len(rank)), np.empty(len(rank))
        came[order], began[order] = in_turn(self.clock, rank[order], ready[order], cost[order])
        np.add.at(self.busy, rank, cost)
        if self.recorder.wanted:
            m = len(message)
            peer = np.concatenate([self.sender[message], work.peer])
            self.recorder.add("wait", rank, came, began, peer, 0.0, round)
            done = began + cost
            self.recorder.add("recv", receiver, began[:m], done[:m], peer[:m], self.nbytes[message], round)
            if work.kind:
                self.recorder.add(work.kind, work.rank, began[m:], done[m:], work.peer, work.nbytes, round)
        return began[len(message) :]

    def _new(self, waits: Waits) -> Waits:
        """Only the first need of each message that was not taken in yet; those are, now."""
        fresh = np.flatnonzero(waits.message != NEVER)
        fresh = fresh[~self.taken[waits.message[fresh]]]
        fresh = fresh[np.argsort(waits.instruction[fresh], kind="stable")]
        message, first = np.unique(waits.message[fresh], return_index=True)
        self.taken[message] = True
        return Waits(waits.instruction[fresh[first]], message)

    def drain(self, until: Floats, round: int) -> None:
        """Each rank takes in what it has not needed yet, in order, and waits ``until`` its cells are free."""
        left = np.flatnonzero(~self.taken[: self.count])
        receiver = self.receiver[left].astype(np.int64)
        nothing = np.zeros(len(left))
        last = Work("", receiver, nothing, nothing, np.full(len(left), NOBODY), nothing)
        self.run(last, Waits(np.arange(len(left)), left), round)
        self.clock = np.maximum(self.clock, until)
