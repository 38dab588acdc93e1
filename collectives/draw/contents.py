"""What a drawing of a schedule shows: its messages, and what every cell holds after every round.

The contents are the verifier's own expressions, so a picture cannot tell another story than the proof.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from ringleader.collectives.schedule import COPY, Ints, Schedule, Transfers
from ringleader.collectives.verify import UNWRITTEN, Fault, State, verify

EMPTY, OTHER, PARTIAL, COMPLETE = range(4)  # how a cell stands to the final result: see History.judge
RANKS, CELLS, ROUNDS, WORK = 64, 4096, 1000, 200_000  # beyond these a picture is no use to the eye


class Message(NamedTuple):
    """What travels together from ``src`` to ``dst``; on one rank (src = dst) it is local work.

    ``slots``: (source slot, target slot) of every element. ``folds``: at least one is folded, not copied.
    """

    src: int
    dst: int
    source: str
    target: str
    slots: list[tuple[int, int]]
    folds: bool


def messages(groups: tuple[Transfers, ...]) -> Iterator[Message]:
    """The messages of one round, as the programs will send them: one per group and pair of ranks."""
    for g in groups:
        found: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
        for src, dst, *element in zip(*(v.tolist() for v in (g.src, g.dst, g.src_slot, g.dst_slot, g.order))):
            found.setdefault((src, dst), []).append((element[0], element[1], element[2]))
        for (src, dst), elements in found.items():
            slots = [(a + w, b + w) for a, b, _ in elements for w in range(g.width)]
            folds = any(order != COPY for _, _, order in elements)
            yield Message(src, dst, g.source, g.target, slots, folds)


def spans(slots: Iterable[int]) -> str:
    """Slot numbers as short text: 0–3, 6."""
    runs: list[list[int]] = []
    for slot in sorted(set(slots)):
        if runs and slot == runs[-1][1] + 1:
            runs[-1][1] = slot
        else:
            runs.append([slot, slot])
    return ", ".join(f"{a}" if a == b else f"{a}–{b}" for a, b in runs)


def refuse_large(what: str, schedule: Schedule) -> None:
    """ValueError for what no reader could make out, before anything is unrolled."""
    moved = sum(r.times * sum(len(g.src) * g.width for g in r.groups) for r in schedule.rounds)
    for size, most, name in (
        (schedule.n, RANKS, "ranks"), (len(schedule), ROUNDS, "rounds"), (moved, WORK, "slots moved"),
        (schedule.n * len(columns(schedule)), CELLS, "cells (ranks x slots)"),
    ):  # fmt: skip
        if size > most:
            raise ValueError(f"{what}: {size} {name} are too many to see; draw a schedule of at most {most}")


class History:
    """Contents of all cells before the first round and after each.

    ``columns``: (buffer, slot) of each column. ``states[k][rank, column]``: the expression held after k
    rounds. ``rounds[k]``: messages of round k. A schedule that goes wrong in a round ends with it: the
    faulty round's messages are there, and its state is the one before it. ``verdict``: the proof, or the fault.
    """

    def __init__(self, what: str, schedule: Schedule) -> None:
        if schedule.collective is None:
            raise ValueError(f"{what}: a fragment promises nothing; build a Schedule with its collective")
        refuse_large(what, schedule)
        self.schedule = schedule
        self.columns = columns(schedule)
        self.verdict = verify(schedule)
        self._state = State(schedule)
        self.rounds: list[list[Message]] = []
        self.states = [self._snapshot()]
        for groups in schedule.expand():
            self.rounds.append(list(messages(groups)))
            try:
                self._state.step(groups)
            except Fault:
                self.states.append(self.states[-1])
                break
            self.states.append(self._snapshot())
        self._leaves = self._leaves_of_all()
        self.promised, self._wanted = self._promise()
        self.most = max((mask.bit_count() for row in self._wanted for mask in row), default=1)

    def _snapshot(self) -> Ints:
        buffers = dict.fromkeys(buffer for buffer, _ in self.columns)
        return np.hstack([self._state.cells[buffer] for buffer in buffers])

    def _promise(self) -> tuple[NDArray[np.bool_], list[list[int]]]:
        """Which output cells must end in a certain way, and the leaves (as bits) that each output slot is for.

        Where a rank may leave anything in a slot, the slot is for what the first rank that must has in it.
        """
        collective, s = self.schedule.collective, self.schedule
        assert collective is not None
        slot, lo, hi = collective.promise(s.n, s.slots, s.root)
        owner = np.where(lo >= 0, np.arange(s.n)[:, None], np.argmax(lo >= 0, axis=0))
        every = np.arange(lo.shape[1])
        slot, lo_for, hi_for = (m[owner, every].tolist() for m in (slot, lo, hi))
        width = self._state.in_slots
        wanted = [
            [sum(1 << (q * width + a) for q in range(b, c)) for a, b, c in zip(*row)]
            for row in zip(slot, lo_for, hi_for)
        ]
        return lo >= 0, wanted

    def _leaves_of_all(self) -> list[int]:
        """The input cells in every expression, as bits; operands have lower numbers than what folds them."""
        expressions = self._state.expressions
        known = [1 << leaf for leaf in range(expressions.leaves)]
        for left, right in expressions.operands:
            known.append(known[left] | known[right])
        return known

    def judge(self, rank: int, column: int, expression: int) -> tuple[int, int]:
        """How the cell stands to the final result, and how many contributions it holds.

        EMPTY: nothing yet. OTHER: something that is no part of what the cell is for. PARTIAL: a part, or all
        of it on a rank that need not have it. COMPLETE: what the collective promises (it may be to leave the
        cell alone). Scratch is for whatever its rank's output is for; partial folds there count as parts.
        """
        inputs = self.schedule.n * self._state.in_slots
        buffer, slot = self.columns[column]
        if expression == UNWRITTEN or inputs <= expression < self._state.expressions.leaves:
            kept = buffer == "output" and self.promised[rank, slot] and not self._wanted[rank][slot]
            return (COMPLETE if kept else EMPTY), 0
        leaves = self._leaves[expression]
        amount = leaves.bit_count()
        if buffer != "output":
            here = self.most > 1 or leaves in self._wanted[rank]
            return (PARTIAL if here else OTHER), amount
        wanted, collective = self._wanted[rank][slot], self.schedule.collective
        assert collective is not None
        doubled = amount != self._state.expressions.size[expression] and not collective.at_least_once
        if doubled or leaves & ~wanted:
            return OTHER, amount
        return (COMPLETE if leaves == wanted and self.promised[rank, slot] else PARTIAL), amount

    @property
    def leaves(self) -> int:
        """How many expressions are no folds: all input cells, then old contents of outputs."""
        return self._state.expressions.leaves

    @property
    def operands(self) -> list[tuple[int, int]]:
        """[expression - leaves]: the two expressions that it folds, left and right."""
        return self._state.expressions.operands

    def rank_of(self, leaf: int) -> int:
        """The rank whose input it is."""
        return leaf // self._state.in_slots


def columns(schedule: Schedule) -> tuple[tuple[str, int], ...]:
    """Output, then scratch; the input too where a round writes to it (it is constant otherwise)."""
    written = {g.target for r in schedule.rounds for g in r.groups}
    buffers = [b for b in ("output", "scratch", "input") if b in written or b == "output"]
    return tuple((buffer, slot) for buffer in buffers for slot in range(schedule.size(buffer)))
