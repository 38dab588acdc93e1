"""Proof that the programs of all ranks together do what their schedule says, whatever the timing.

Checked on the programs as they would run: every send meets a receive of the same slots; two instructions
of a rank that touch one cell, one of them writing, are ordered by ``after``; all programs end, both when a
send completes at once (eager) and when it waits for its receive (rendezvous); and the contents at the end
are what the collective promises.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

import numpy as np
from ringleader.collectives.lower import lower
from ringleader.collectives.program import STAGE, Cells, Instruction, Program, each_cell
from ringleader.collectives.schedule import Schedule
from ringleader.collectives.verify import UNWRITTEN, Fault, State, Verdict


def verify_programs(schedule: Schedule, programs: Sequence[Program] | None = None) -> Verdict:
    """Check ``programs`` (default: the schedule, lowered for every rank). Raises nothing: see Verdict."""
    if programs is None:
        programs = [lower(schedule, rank) for rank in range(schedule.n)]
    try:
        _matched(programs)
        for program in programs:
            _ordered(program)
        for rendezvous in (False, True):
            _Run(schedule, programs, rendezvous).to_the_end()
    except Fault as fault:
        return Verdict(schedule, fault.text, None, fault.rank, fault.slot)
    return Verdict(schedule)


def _matched(programs: Sequence[Program]) -> None:
    """The k-th message from a to b has the same slots at both ends."""
    sent: dict[tuple[int, int], list[list[int]]] = defaultdict(list)
    received: dict[tuple[int, int], list[list[int]]] = defaultdict(list)
    for p in programs:
        for i in p.instructions:
            if i.kind == "send":
                sent[p.rank, i.peer].append(_sizes(i.src, p.slots))
            elif i.kind == "recv":
                received[i.peer, p.rank].append(_sizes(i.dst, p.slots))
    for a, b in sorted(sent.keys() | received.keys()):
        there, here = sent[a, b], received[a, b]
        if len(there) != len(here):
            raise Fault(a, 0, f"sends {len(there)} messages to rank {b}, which receives {len(here)}")
        for number, (x, y) in enumerate(zip(there, here, strict=True)):
            if x != y:
                raise Fault(a, x[0], f"message {number} to rank {b} is slots {x}, but slots {y} are received")


def _sizes(cells: tuple[Cells, ...], slots: int) -> list[int]:
    return [like % slots for c in cells for like in range(c.like, c.like + c.width)]


def _ordered(program: Program) -> None:
    """Read after write, write after read and write after write, all covered by ``after``."""
    before: list[int] = []  # bit j of before[i]: instruction j is complete when i starts
    writer: dict[tuple[str, int], int] = {}
    readers: dict[tuple[str, int], int] = defaultdict(int)
    for number, i in enumerate(program.instructions):
        done = 0
        for j in i.after:
            done |= before[j] | 1 << j
        before.append(done)
        for cell in each_cell(i.src):
            if cell in writer and not done >> writer[cell] & 1:
                raise Fault(program.rank, cell[1], f"instruction {number} reads {cell[0]} too early")
            readers[cell] |= 1 << number
        for cell in each_cell(i.dst):
            others = readers[cell] & ~(1 << number) | (1 << writer[cell] if cell in writer else 0)
            if others & ~done:
                raise Fault(program.rank, cell[1], f"instruction {number} overwrites {cell[0]} while in use")
            writer[cell], readers[cell] = number, 0


class _Run:
    """All programs at once, on symbols. One fixed interleaving suffices, since ``_ordered`` holds."""

    def __init__(self, schedule: Schedule, programs: Sequence[Program], rendezvous: bool) -> None:
        self.programs, self.rendezvous = programs, rendezvous
        self.state = State(schedule)
        stage = max(p.stage for p in programs)
        self.state.cells[STAGE] = np.full((schedule.n, stage), UNWRITTEN, np.int64)
        self.next = [0] * schedule.n
        self.done: list[set[int]] = [set() for _ in programs]
        self.sends: dict[tuple[int, int], deque[tuple[int, list[int]]]] = defaultdict(deque)
        self.recvs: dict[tuple[int, int], deque[int]] = defaultdict(deque)

    def to_the_end(self) -> None:
        moving = True
        while moving:
            moving = sum(self._advance(p) for p in self.programs) > 0  # every one gets its turn
        for p in self.programs:
            if len(self.done[p.rank]) < len(p.instructions):
                stuck = min(set(range(len(p.instructions))) - self.done[p.rank])
                i = p.instructions[stuck]
                how = "rendezvous" if self.rendezvous else "eager"
                raise Fault(p.rank, 0, f"deadlock ({how}) at instruction {stuck}: {i.kind}, peer {i.peer}")
        self.state.compare()

    def _advance(self, p: Program) -> bool:
        start = self.next[p.rank]
        while self.next[p.rank] < len(p.instructions):
            i = p.instructions[self.next[p.rank]]
            if not self.done[p.rank].issuperset(i.after):
                break
            self._start(p.rank, self.next[p.rank], i)
            self.next[p.rank] += 1
        return self.next[p.rank] > start

    def _start(self, rank: int, number: int, i: Instruction) -> None:
        if i.kind == "send":
            self.sends[rank, i.peer].append((number, self._values(rank, i.src)))
            if not self.rendezvous:
                self.done[rank].add(number)
            self._meet(rank, i.peer)
        elif i.kind == "recv":
            self.recvs[i.peer, rank].append(number)
            self._meet(i.peer, rank)
        else:
            operands = [self._values(rank, (c,)) for c in i.src]
            folded = [self.state.expressions.fold_all(list(row)) for row in zip(*operands, strict=True)]
            self._write(rank, i.dst, folded)
            self.done[rank].add(number)

    def _meet(self, sender: int, receiver: int) -> None:
        sends, recvs = self.sends[sender, receiver], self.recvs[sender, receiver]
        while sends and recvs:
            (sent, values), received = sends.popleft(), recvs.popleft()
            self._write(receiver, self.programs[receiver].instructions[received].dst, values)
            self.done[sender].add(sent)
            self.done[receiver].add(received)

    def _values(self, rank: int, cells: tuple[Cells, ...]) -> list[int]:
        return [int(self.state.cells[buffer][rank, slot]) for buffer, slot in each_cell(cells)]

    def _write(self, rank: int, cells: tuple[Cells, ...], values: Iterable[int]) -> None:
        for (buffer, slot), value in zip(each_cell(cells), values, strict=True):
            self.state.cells[buffer][rank, slot] = value
