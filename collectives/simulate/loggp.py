"""The LogGOPS model: every rank at its own pace, in the order of its program.

Alexandrov, Ionescu, Schauser and Scheiman, "LogGP" (1995); Hoefler, Schneider and Lumsdaine, "LogGOPSim" (2010).
There is no contention inside the network; a rank has one CPU, and one network card that sends and receives
at the same time. With s bytes in a message (all s count here, not s - 1: a slot may be less than a byte):

- CPU: sending takes o + s O, and so does taking a message in. Folding takes gamma a byte. Copies are free.
- Card: after a message it is taken for g + s G, on the sending side as on the receiving side. The last byte
  leaves s G after the first. Messages of one round go out in the order in which they are ready, and come
  in in the order in which they arrive. A card keeps the order of rounds (head-of-line blocking): a message of a
  later round never overtakes one of an earlier round on the same card, even if it is ready first. So where
  messages of different rounds compete for a card, the time is an upper bound of LogGOPSim's.
- Wire: L, which is that of the parameters plus the latencies of the links between the two hosts.
- A message of fewer than S bytes is eager: the card may start when the CPU has. From S bytes on it is a
  rendezvous: the sender asks (L), the receiver answers once it has posted the receive (L), then the card may
  start; the sender's cells are free again when the last byte has left.

Each rank runs its program (see lower and runtime/comm/work.py), instruction after instruction: the receives of
a round are posted, then its sends are issued, then its folds. An instruction that needs a message (to send or
fold it, or to overwrite its cell) makes the rank wait for it and take it in then, once; later instructions
wait behind it. One that overwrites cells which a rendezvous still sends waits for that too. A value that is
copied to a cell which is read in the same round is staged, so its rank waits for it at the end of the round.
At the end of its program a rank takes in the messages that it has not needed yet, and waits for its last
rendezvous. A rank is idle while its CPU is.

A straggler's factor multiplies o, O and gamma on that rank; jitter multiplies a message's L and G by
1 + jitter * E, with E exponential of mean 1.

All this is evaluated exactly, round after round, as vectors over ranks: the order of instructions on a rank is
known, so no event queue is needed. Memory is 4 bytes (12 with rendezvous) for each slot of each rank and about
25 for each message; time grows with the transfers of all rounds. Ring AllReduce on 1,024 ranks sends 2 million
messages and takes seconds; on 16,384 it would send 500 million and take 14 GB: use the other model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from ringleader.collectives.schedule import BUFFERS, COPY, Schedule, Transfers
from ringleader.collectives.simulate.machine import NEVER, Machine, Waits, Work, queue
from ringleader.collectives.simulate.network import Network, Part
from ringleader.collectives.simulate.result import NOBODY, Recorder, RoundTime
from ringleader.collectives.simulate.steps import Messages
from ringleader.collectives.topology.base import Floats, Ints
from ringleader.collectives.topology.units import LONGEST, require_number


@dataclass(frozen=True)
class LogGP:
    """Parameters in seconds, seconds a byte (G, O) and bytes (S): from 0 to 1e6, but S has no end.

    ``L`` comes on top of the latencies of the links; ``G`` None: what the slowest link between the two hosts takes.
    """

    L: float = 0.0
    o: float = 1e-6
    g: float = 0.0
    G: float | None = None
    O: float = 0.0  # noqa: E741  (its name in the paper)
    S: float = float("inf")

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name != "G" or value is not None:
                require_number(f"LogGP: {f.name}", value, 0, math.inf if f.name == "S" else LONGEST)


class _Traffic(NamedTuple):
    """The transfers of a round that do something: cells are (buffer, slot) as one column number."""

    src: Ints
    dst: Ints
    source: Ints
    target: Ints
    width: Ints
    order: Ints
    group: Ints

    def pick(self, which: NDArray[Any]) -> _Traffic:
        return _Traffic(*(vector[which] for vector in self))


class Asynchronous:
    """The state between rounds: what every cell waits for, and when the cards are free."""

    def __init__(
        self, network: Network, slow: Floats, params: LogGP, *, gamma: float, jitter: float, seed: int,
        recorder: Recorder,
    ) -> None:  # fmt: skip
        self.network, self.params, self.gamma, self.jitter = network, params, gamma, jitter
        self.random = np.random.default_rng(seed)
        self.machine = Machine(slow, params.o, params.O, recorder)
        self.card_out, self.card_in = np.zeros(len(slow)), np.zeros(len(slow))
        self.leaving = np.zeros(len(slow))  # when a rank's last rendezvous has left
        self.known: tuple[Ints, Ints, list[Part], Floats, Floats] | None = None  # routes of the round before

    def run(self, schedule: Schedule, slot_bytes: float) -> tuple[list[RoundTime], Floats]:
        """The rounds' times (by how much each moves the latest clock or arrival), and how long CPUs were busy."""
        self._lay_out(schedule)
        self.slot_bytes = slot_bytes
        ends = [0.0]
        for number, groups in enumerate(schedule.expand()):
            ends.append(max(ends[-1], self._round(number, groups)))
        self.machine.drain(self.leaving, len(ends) - 2)
        ends[-1] = max(ends[-1], float(self.machine.clock.max()))
        return [RoundTime(1, b - a, NOBODY) for a, b in pairwise(ends)], self.machine.busy

    def _lay_out(self, schedule: Schedule) -> None:
        """Columns for the cells of those buffers that the schedule uses, and what is known of each cell."""
        used = {b for r in schedule.rounds for g in r.groups for b in (g.source, g.target)}
        sizes = [schedule.size(b) if b in used else 0 for b in BUFFERS]
        starts = np.cumsum([0, *sizes]).tolist()
        self.first, self.columns = dict(zip(BUFFERS, starts)), starts[-1]
        cells = schedule.n * self.columns
        self.coming = np.full(cells, NEVER, np.int32)  # the message that last came to it
        self.held = np.zeros(cells if np.isfinite(self.params.S) else 0)  # until a rendezvous has left
        self.mark = np.zeros(cells, bool)

    def _round(self, number: int, groups: tuple[Transfers, ...]) -> float:
        """Receives, sends, local work, as lower orders them: when the last thing so far is done."""
        traffic = self._traffic(groups)
        crossing = traffic.src != traffic.dst
        across, local = traffic.pick(crossing), traffic.pick(~crossing)
        which, lead = _messages(across, len(self.leaving))
        nbytes = np.bincount(which, across.width, len(lead)) * self.slot_bytes
        m = Messages(across.src[lead], across.dst[lead], nbytes)
        direct = self._direct(across, local)
        posted = self._post(number, m, across.pick(direct), which[direct])
        ids = self._send(number, m, across, which, posted)
        owner, cell = self._targets(across.pick(direct))
        self.coming[cell] = ids[which[direct][owner]]
        staged = np.flatnonzero(~direct)
        staged = staged[np.argsort(which[staged], kind="stable")]
        self._apply(number, local, across.pick(staged), ids[which[staged]])
        return max(float(self.machine.clock.max()), float(self.machine.arrival[ids].max(initial=0.0)))

    def _traffic(self, groups: tuple[Transfers, ...]) -> _Traffic:
        columns = [
            np.concatenate(
                [
                    np.stack(
                        np.broadcast_arrays(
                            g.src, g.dst, self.first[g.source] + g.src_slot, self.first[g.target] + g.dst_slot,
                            g.width, g.order, i,
                        )
                    )
                    for i, g in enumerate(groups)
                ],
                axis=1,
            )
        ]  # fmt: skip
        t = _Traffic(*columns[0])
        return t.pick((t.src != t.dst) | (t.source != t.target) | (t.order != COPY))

    def _cells(self, rank: Ints, column: Ints, width: Ints) -> tuple[Ints, Ints]:
        """The cells of all transfers, each with the number of its transfer."""
        first = rank * self.columns + column
        if (width == 1).all():
            return np.arange(len(first)), first
        owner = np.repeat(np.arange(len(first)), width)
        return owner, first[owner] + np.arange(len(owner)) - np.repeat(np.cumsum(width) - width, width)

    def _sources(self, t: _Traffic) -> tuple[Ints, Ints]:
        return self._cells(t.src, t.source, t.width)

    def _targets(self, t: _Traffic) -> tuple[Ints, Ints]:
        return self._cells(t.dst, t.target, t.width)

    def _touching(self, some: Ints, owner: Ints, cell: Ints, count: int) -> NDArray[Any]:
        """Which of ``count`` owners have a cell among ``some``."""
        self.mark[some] = True
        hit = owner[self.mark[cell]]
        self.mark[some] = False
        return np.bincount(hit, minlength=count) > 0

    def _free(self, instruction: Ints, cell: Ints, count: int) -> Floats:
        """When no rendezvous reads the cells any more that each instruction writes."""
        free = np.zeros(count)
        if len(self.held):
            np.maximum.at(free, instruction, self.held[cell])
        return free

    def _direct(self, across: _Traffic, local: _Traffic) -> NDArray[Any]:
        """Values that are received in place: copies to cells that are not read in this round."""
        read = np.concatenate([self._sources(across)[1], self._sources(local)[1]])
        staged = self._touching(read, *self._targets(across), len(across.src))
        direct: NDArray[Any] = (across.order == COPY) & ~staged
        return direct

    def _post(self, number: int, m: Messages, direct: _Traffic, which: Ints) -> Floats:
        """When each receive is posted."""
        owner, cell = self._targets(direct)
        ready = self._free(which[owner], cell, len(m.src))
        posts = Work("", m.dst, ready, np.zeros(len(m.src)), m.src, m.nbytes)
        return self.machine.run(posts, Waits(which[owner], self.coming[cell]), number)

    def _send(self, number: int, m: Messages, across: _Traffic, which: Ints, posted: Floats) -> Ints:
        """From the issue of the sends to the arrival of the last byte: the messages' numbers."""
        p = self.params
        owner, cell = self._sources(across)
        cost = self.machine.handling(m.src, m.nbytes)
        sends = Work("send", m.src, np.zeros(len(cost)), cost, m.dst, m.nbytes)
        ready = self.machine.run(sends, Waits(which[owner], self.coming[cell]), number) + cost
        wire, body = self._wire(m)
        asked = m.nbytes >= p.S
        ready[asked] = np.maximum(ready + wire, posted)[asked] + wire[asked]
        left = queue(self.card_out, m.src, ready, p.g + body)
        if asked.any():
            late = asked[which[owner]]
            np.maximum.at(self.held, cell[late], (left + body)[which[owner]][late])
            np.maximum.at(self.leaving, m.src[asked], (left + body)[asked])
        came = queue(self.card_in, m.dst, left + wire, p.g + body)
        return self.machine.send(m.src, m.dst, m.nbytes, came + body)

    def _wire(self, m: Messages) -> tuple[Floats, Floats]:
        """Seconds for a first byte, and for all bytes to follow it; the links' bytes are counted on the way."""
        if self.known is None or not all(map(np.array_equal, self.known[:2], m[:2])):
            parts = self.network.routes(m.src, m.dst)
            self.known = (m.src, m.dst, parts, self.network.latencies(parts), self.network.narrowest(parts))
        _, _, parts, latency, narrowest = self.known
        self.network.carry(parts, m.nbytes, self.network.carried)
        per_byte = 1 / narrowest if self.params.G is None else self.params.G
        noise = 1 + self.jitter * self.random.exponential(size=len(m.src)) if self.jitter else 1.0
        return (latency + self.params.L) * noise, m.nbytes * per_byte * noise

    def _apply(self, number: int, local: _Traffic, staged: _Traffic, ids: Ints) -> None:
        """Local copies and folds. A source that is written in the same round is saved first."""
        writes = _Traffic(*map(np.concatenate, zip(local, staged)))
        if not len(writes.src):
            return
        owner, cell = self._targets(writes)
        reader, read = self._sources(local)
        saved = self._touching(cell, reader, read, len(local.src))
        saves = int(saved.sum())
        _, first, which = np.unique(
            writes.dst * self.columns + writes.target, return_index=True, return_inverse=True
        )
        turn = np.empty(len(first), np.int64)
        turn[np.argsort(first)] = saves + np.arange(len(first))
        target = turn[which]  # the instruction of each write
        source = np.where(saved, np.cumsum(saved) - 1, target[: len(local.src)])
        count = saves + len(first)
        rank = np.concatenate([local.src[saved], np.empty(len(first), np.int64)])
        rank[target] = writes.dst
        nbytes = np.bincount(target, writes.width * (writes.order != COPY), count) * self.slot_bytes
        ready = self._free(target[owner], cell, count)
        waits = Waits(
            np.concatenate([source[reader], target[len(local.src) :], target[owner]]),
            np.concatenate([self.coming[read], ids, self.coming[cell]]),
        )
        folding = nbytes * self.gamma * self.machine.slow[rank]
        self.machine.run(Work("reduce", rank, ready, folding, np.full(count, NOBODY), nbytes), waits, number)


def _messages(across: _Traffic, n: int) -> tuple[Ints, Ints]:
    """The message of each transfer, one for each group and pair in the order of appearance; and the first transfer
    of each message."""
    key = (across.group * n + across.src) * n + across.dst
    _, first, which = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first)
    turn = np.empty(len(first), np.int64)
    turn[order] = np.arange(len(first))
    return turn[which], first[order]
