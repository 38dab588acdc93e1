"""Proof that the programs of all ranks together do what their schedule says, whatever the timing.

Checked on the programs as they would run: all cells exist and fit; every send meets a receive of the same
slots; two instructions of a rank that touch one cell, one of them writing, are ordered by ``after``; all
programs end, both when a send completes at once (eager) and when it waits for its receive (rendezvous); and
the contents at the end are what the collective promises.
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
        for program in programs:
            _well_formed(schedule, program)
        _matched(programs)
        for program in programs:
            _ordered(program)
        # What completes when sends wait for their receives also completes, no later, when they do not. So only
        # a deadlock needs the eager run as well, which says whether it would be one there too.
        strict = _Run(schedule, programs, rendezvous=True)
        if deadlock := strict.deadlock():
            raise _Run(schedule, programs, rendezvous=False).deadlock() or deadlock
        strict.state.compare()
    except Fault as fault:
        return Verdict(
            schedule, fault.text, fault.round, fault.rank, fault.slot, fault.buffer, programs, fault.stuck
        )
    return Verdict(schedule)


def _well_formed(schedule: Schedule, program: Program) -> None:
    """Cells exist and fit each other, the input stays as it is, nothing waits for what comes later."""
    assert schedule.collective is not None
    size = {
        "input": 0 if schedule.collective.in_place else schedule.size("input"), STAGE: program.stage,
        "output": schedule.size("output"), "scratch": min(schedule.scratch, program.scratch),
    }  # fmt: skip
    for number, i in enumerate(program.instructions):
        what = f"ill-formed: instruction {number} ({i.kind})"
        for c in (*i.src, *i.dst):
            if fault := _misfit(c, i, size, program.slots):
                text = f"{what} {fault}: {c.width} slots from {c.slot} of {c.buffer}"
                raise Fault(program.rank, c.slot, text, c.buffer, i.round)
        reads, writes = len(i.src), len(i.dst)
        allowed = {
            "send": reads > 0 == writes, "recv": writes > 0 == reads, "copy": reads == writes == 1,
            "reduce": reads > 1 == writes,
        }  # fmt: skip
        if not allowed[i.kind]:
            raise Fault(program.rank, 0, f"{what} reads {i.src} and writes {i.dst}", round=i.round)
        if not all(0 <= a < number for a in i.after):
            raise Fault(program.rank, 0, f"{what} waits for one that is not before it", round=i.round)


def _misfit(c: Cells, i: Instruction, size: dict[str, int], slots: int) -> str | None:
    """What is wrong with the cells ``c`` of ``i``; ``size``: slots of each buffer."""
    if not 0 <= c.slot <= size.get(c.buffer, 0) - c.width:
        return "uses slots that do not exist"
    if c.buffer != STAGE and (c.slot - c.like) % slots:
        return "takes slots for some of another size"
    if c.buffer == "input" and c in i.dst:
        return "writes to the input"
    if i.kind in ("copy", "reduce") and _sizes((c,), slots) != _sizes(i.dst, slots):
        return "combines slots whose size may differ"
    return None


def _matched(programs: Sequence[Program]) -> None:
    """The k-th message from a to b has the same slots at both ends."""
    sent: dict[tuple[int, int], list[Instruction]] = defaultdict(list)
    received: dict[tuple[int, int], list[Instruction]] = defaultdict(list)
    slots = programs[0].slots
    for p in programs:
        for i in p.instructions:
            if i.kind == "send":
                sent[p.rank, i.peer].append(i)
            elif i.kind == "recv":
                received[i.peer, p.rank].append(i)
    for a, b in sorted(sent.keys() | received.keys()):
        there, here = sent[a, b], received[a, b]
        if len(there) != len(here):
            extra = max(there, here, key=len)[min(len(there), len(here))]
            text = f"sends {len(there)} messages to rank {b}, which receives {len(here)}"
            raise Fault(a, 0, text, round=extra.round, stuck=((b, extra.round),))
        for number, (send, recv) in enumerate(zip(there, here, strict=True)):
            x, y = _sizes(send.src, slots), _sizes(recv.dst, slots)
            if x != y:
                text = f"message {number} to rank {b} is slots {x}, but slots {y} are received"
                raise Fault(a, x[0], text, round=send.round, stuck=((b, recv.round),))


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
                text = f"instruction {number} reads {cell[0]} too early"
                raise Fault(program.rank, cell[1], text, cell[0], i.round)
            readers[cell] |= 1 << number
        for cell in each_cell(i.dst):
            others = readers[cell] & ~(1 << number) | (1 << writer[cell] if cell in writer else 0)
            if others & ~done:
                text = f"instruction {number} overwrites {cell[0]} while in use"
                raise Fault(program.rank, cell[1], text, cell[0], i.round)
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

    def deadlock(self) -> Fault | None:
        """Run as far as it goes: None if to the end."""
        moving = True
        while moving:
            moving = sum(self._advance(p) for p in self.programs) > 0  # every one gets its turn
        undone = {
            p.rank: min(left) for p in self.programs
            if (left := set(range(len(p.instructions))) - self.done[p.rank])
        }  # fmt: skip
        if not undone:
            return None
        first = {rank: self.programs[rank].instructions[at] for rank, at in undone.items()}
        rank, i = next(iter(first.items()))
        how = "rendezvous" if self.rendezvous else "eager"
        text = f"deadlock ({how}) at instruction {undone[rank]}: {i.kind}, peer {i.peer}"
        return Fault(rank, 0, text, round=i.round, stuck=tuple((r, w.round) for r, w in first.items()))

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
