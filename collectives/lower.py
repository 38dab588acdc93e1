"""From a schedule to what one rank runs: send, recv, copy and reduce, with their dependencies.

All transfers of a round read the state at its start, so a value that arrives for a cell which this rank
still reads in the same round goes to the *stage* first, as does a value to be folded. Everything else is
received in place. A rank's program needs only the transfers that it takes part in, so lowering rank r of
a ring of 131,072 does not unroll the other ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from ringleader.collectives.program import STAGE, Cells, Instruction, Program, each_cell
from ringleader.collectives.schedule import COPY, Schedule, Transfers

Kind = Literal["send", "recv", "copy", "reduce"]


def lower(schedule: Schedule, rank: int) -> Program:
    """The program of ``rank``. The schedule should be verified; a conflict in it is an error here too."""
    if not 0 <= rank < schedule.n:
        raise ValueError(f"lower: rank {rank} is out of range for {schedule.n} ranks")
    building = _Building(rank)
    for number, groups in enumerate(_own_rounds(schedule, rank)):
        building.round(number, groups)
    return Program(
        rank, schedule.n, schedule.slots, schedule.scratch, 2 * building.lane, tuple(building.finish())
    )


def _own_rounds(schedule: Schedule, rank: int) -> Iterator[list[Transfers]]:
    for r in schedule.rounds:
        mine = [g.pick(np.flatnonzero((g.src == rank) | (g.dst == rank))) for g in r.groups]
        for t in range(r.times):
            yield [g.at(t) for g in mine]


class _Write(NamedTuple):
    """A value on its way into ``target``: from ``source`` on this rank, or in message ``message``."""

    target: Cells
    order: int
    source: Cells
    message: int | None


class _Message(NamedTuple):
    peer: int
    elements: list[tuple[Cells, Cells, int]]  # source cells, target cells, order


class _Building:
    """Instructions so far, and who last wrote and who has read each cell since."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.out: list[Instruction] = []
        self.writer: dict[tuple[str, int], int] = {}
        self.readers: dict[tuple[str, int], list[int]] = {}
        self.number = 0
        self.lane = 0  # stage slots that the hungriest round needs
        self.used = 0  # of them, in this round

    def add(self, kind: Kind, peer: int, src: tuple[Cells, ...], dst: tuple[Cells, ...]) -> None:
        """Append an instruction; what it must wait for follows from the cells it touches."""
        me, after = len(self.out), set()
        for cell in each_cell(src):
            if cell in self.writer:
                after.add(self.writer[cell])
        for cell in each_cell(dst):
            if cell in self.writer:
                after.add(self.writer[cell])
            after.update(self.readers.pop(cell, ()))
            self.writer[cell] = me
        for cell in each_cell(src):
            self.readers.setdefault(cell, []).append(me)
        after.discard(me)
        self.out.append(Instruction(kind, peer, src, dst, tuple(sorted(after)), self.number))

    def staged(self, like: Cells) -> Cells:
        """Room for one value in this round's half of the stage (rounds alternate; see ``finish``)."""
        room = Cells(f"{STAGE}{self.number % 2}", self.used, like.width, like.like)
        self.used += like.width
        self.lane = max(self.lane, self.used)
        return room

    def round(self, number: int, groups: list[Transfers]) -> None:
        """Receives first, then sends, then local work: no rank waits before it has posted its round."""
        self.number, self.used = number, 0
        outgoing, incoming, local = _sort(self.rank, groups)
        self._refuse_conflicts(incoming, local)
        read = {c for m in outgoing for src, _, _ in m.elements for c in each_cell((src,))}
        read |= {c for w in local for c in each_cell((w.source,))}
        writes = list(local)
        for message in incoming:
            places = []
            for _, target, order in message.elements:
                direct = order == COPY and not read.intersection(each_cell((target,)))
                place = target if direct else self.staged(target)
                places.append(place)
                if not direct:
                    writes.append(_Write(target, order, place, message.peer))
            self.add("recv", message.peer, (), tuple(places))
        for message in outgoing:
            self.add("send", message.peer, tuple(src for src, _, _ in message.elements), ())
        self._apply(writes)

    def _refuse_conflicts(self, incoming: list[_Message], local: list[_Write]) -> None:
        """ValueError if several write to a cell of this rank without being one fold."""
        orders: dict[tuple[str, int], set[int]] = {}
        arriving = [(target, order) for m in incoming for _, target, order in m.elements]
        for target, order in [*arriving, *((w.target, w.order) for w in local)]:
            for cell in each_cell((target,)):
                others = orders.setdefault(cell, set())
                if order in others or (others and COPY in (order, *others)):
                    raise ValueError(
                        f"lower: in round {self.number} several transfers that are not one fold write to slot "
                        f"{cell[1]} of {cell[0]} on rank {self.rank}; verify the schedule first"
                    )
                others.add(order)

    def _apply(self, writes: list[_Write]) -> None:
        """Local copies and folds, as if all read before any wrote."""
        folds: dict[Cells, list[_Write]] = {}
        for w in _aligned(writes):
            folds.setdefault(w.target, []).append(w)
        written = set(each_cell(tuple(folds)))
        for ws in folds.values():
            for i, w in enumerate(ws):
                if w.message is None and written.intersection(each_cell((w.source,))):
                    saved = self.staged(w.source)
                    self.add("copy", self.rank, (w.source,), (saved,))
                    ws[i] = w._replace(source=saved)
        for target, ws in folds.items():
            if ws[0].order == COPY:
                self.add("copy", self.rank, (ws[0].source,), (target,))
            else:
                operands = sorted([(w.order, w.source) for w in ws] + [(0, target)], key=lambda o: o[0])
                self.add("reduce", self.rank, tuple(source for _, source in operands), (target,))

    def finish(self) -> Iterator[Instruction]:
        """The two halves of the stage become one buffer, now that the size of a half is known."""
        for i in self.out:
            yield i._replace(src=tuple(map(self._on_stage, i.src)), dst=tuple(map(self._on_stage, i.dst)))

    def _on_stage(self, c: Cells) -> Cells:
        if not c.buffer.startswith(STAGE):
            return c
        return c._replace(buffer=STAGE, slot=c.slot + int(c.buffer[-1]) * self.lane)


def _sort(rank: int, groups: list[Transfers]) -> tuple[list[_Message], list[_Message], list[_Write]]:
    """One round's own transfers as outgoing messages, incoming messages and local writes.

    Messages are one per group and pair, in the order of groups and, within a group, of peers, which is
    the same order on both sides.
    """
    outgoing: list[_Message] = []
    incoming: list[_Message] = []
    local: list[_Write] = []
    for g in groups:
        sends: dict[int, _Message] = {}
        recvs: dict[int, _Message] = {}
        vectors = (g.src, g.dst, g.src_slot, g.dst_slot, g.order)
        for src, dst, src_slot, dst_slot, order in zip(*(v.tolist() for v in vectors), strict=True):
            source = Cells(g.source, src_slot, g.width, src_slot)
            target = Cells(g.target, dst_slot, g.width, dst_slot)
            if src == dst:
                if source != target or order != COPY:
                    local.append(_Write(target, order, source, None))
            elif src == rank:
                sends.setdefault(dst, _Message(dst, [])).elements.append((source, target, order))
            else:
                recvs.setdefault(src, _Message(src, [])).elements.append((source, target, order))
        outgoing += sends.values()
        incoming += recvs.values()
    return outgoing, incoming, local


def _aligned(writes: list[_Write]) -> list[_Write]:
    """Writes whose targets are equal or disjoint; slot by slot where they overlap otherwise."""
    owner: dict[tuple[str, int], Cells] = {}
    for w in writes:
        for cell in each_cell((w.target,)):
            if owner.setdefault(cell, w.target) != w.target:
                return [one for w in writes for one in _slot_by_slot(w)]
    return writes


def _slot_by_slot(w: _Write) -> Iterator[_Write]:
    if w.source.buffer.startswith(STAGE) and w.target.width > 1:
        raise ValueError(
            f"lower: messages of {w.target.width} slots are folded into overlapping ranges "
            f"at slot {w.target.slot}; use transfers of equal width for one fold"
        )
    for i in range(w.target.width):
        source, target = (c._replace(slot=c.slot + i, width=1, like=c.like + i) for c in (w.source, w.target))
        yield w._replace(source=source, target=target)
