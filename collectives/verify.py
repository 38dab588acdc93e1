"""Proof that a schedule does what its collective promises: symbolic, exact, for every rank.

Every cell holds an *expression*: an input cell, or a fold of two expressions. Expressions are interned
so that equal ones have equal numbers, in two ways: as written (which tells the order of operands), and
up to swapping operands (floating-point folds commute but do not associate, so two ranks hold the same
bits exactly if their expressions are equal up to swapping).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ringleader.collectives import counterexample
from ringleader.collectives.program import Program
from ringleader.collectives.schedule import COPY, Schedule, Transfers

UNWRITTEN = -1
SHOWN = 8  # operands named in a message


class VerificationError(ValueError):
    """The schedule does not do what its collective promises."""


@dataclass(frozen=True)
class Verdict:
    """Truthy if the schedule is proved; otherwise ``fault`` says where it first goes wrong.

    ``round`` (None: at the end), ``rank``, ``buffer`` and ``slot`` locate the fault. ``programs``: if these
    were checked; ``stuck``: the (rank, round) of everything that a deadlock leaves undone first.
    """

    schedule: Schedule
    fault: str | None = None
    round: int | None = None
    rank: int | None = None
    slot: int | None = None
    buffer: str = "output"
    programs: Sequence[Program] | None = None
    stuck: tuple[tuple[int, int], ...] = ()

    def __bool__(self) -> bool:
        return self.fault is None

    def __str__(self) -> str:
        s = self.schedule
        what = f"{s.collective.name if s.collective else 'fragment'} {s.name!r} on {s.n} ranks"
        if self:
            order = ", in rank order" if s.ordered and s.collective and s.collective.folds else ""
            return f"{what}: proved in {len(s)} round{'s' * (len(s) != 1)}{order}"
        where = "at the end" if self.round is None else f"in round {self.round}"
        return f"{what}: wrong {where}, rank {self.rank}, slot {self.slot}: {self.fault}"

    def grid(self) -> str:
        """The counter-example as ranks x rounds, the fault marked; an empty text if proved."""
        return counterexample.grid(self)

    def require(self) -> None:
        """Raise VerificationError, which shows the grid, unless proved."""
        if not self:
            raise VerificationError(f"{self}\n{self.grid()}")


class Fault(Exception):
    """What is wrong, and where: see Verdict."""

    def __init__(
        self, rank: int, slot: int, text: str, buffer: str = "output", round: int | None = None,
        stuck: tuple[tuple[int, int], ...] = (),
    ) -> None:  # fmt: skip
        self.rank, self.slot, self.text, self.buffer = int(rank), int(slot), text, buffer
        self.round, self.stuck = round, stuck


class _Expressions:
    """Interned expressions. Number < leaves: that input cell. ``same[e]``: e up to swapping operands."""

    def __init__(self, leaves: int) -> None:
        self.leaves = leaves
        self.operands: list[tuple[int, int]] = []
        self.same = list(range(leaves))
        self.size = [1] * leaves
        self._written: dict[tuple[int, int], int] = {}
        self._swapped: dict[tuple[int, int], int] = {}

    def fold(self, left: int, right: int) -> int:
        known = self._written.get((left, right))
        if known is None:
            known = self.leaves + len(self.operands)
            self._written[left, right] = known
            self.operands.append((left, right))
            self.size.append(self.size[left] + self.size[right])
            a, b = self.same[left], self.same[right]
            self.same.append(self._swapped.setdefault((a, b) if a < b else (b, a), known))
        return known

    def fold_all(self, operands: list[int]) -> int:
        """Left fold."""
        value = operands[0]
        for operand in operands[1:]:
            value = self.fold(value, operand)
        return value

    def leaves_of(self, expression: int) -> set[int]:
        """The input cells it is made of."""
        seen, todo = set(), [expression]
        while todo:
            e = todo.pop()
            if e not in seen:
                seen.add(e)
                if e >= self.leaves:
                    todo += self.operands[e - self.leaves]
        return {e for e in seen if e < self.leaves}

    def sequence(self, expression: int, most: int) -> list[int]:
        """Its leaves from left to right, the first ``most`` (a wrong schedule may double them for ever)."""
        found: list[int] = []
        todo = [expression]
        while todo and len(found) < most:
            e = todo.pop()
            if e < self.leaves:
                found.append(e)
            else:
                left, right = self.operands[e - self.leaves]
                todo += (right, left)
        return found


def verify(schedule: Schedule) -> Verdict:
    """Run the schedule on symbols and compare with the promise. Raises nothing: see Verdict."""
    if schedule.collective is None:
        raise ValueError("verify: a fragment promises nothing; build a Schedule with its collective")
    state = State(schedule)
    for number, groups in enumerate(schedule.expand()):
        try:
            state.step(groups)
        except Fault as fault:
            return Verdict(schedule, fault.text, number, fault.rank, fault.slot, fault.buffer)
    try:
        state.compare()
    except Fault as fault:
        return Verdict(schedule, fault.text, None, fault.rank, fault.slot)
    return Verdict(schedule)


class State:
    """The expression that every cell holds. ``cells[buffer][rank, slot]``."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        assert schedule.collective is not None
        n = schedule.n
        self.in_slots = schedule.size("input")
        inputs = np.arange(n * self.in_slots, dtype=np.int64).reshape(n, self.in_slots)
        old = n * self.in_slots + np.arange(n * schedule.size("output"), dtype=np.int64)
        self.cells = {
            "input": inputs,
            "output": inputs.copy() if schedule.collective.in_place else old.reshape(n, -1),
            "scratch": np.full((n, schedule.scratch), UNWRITTEN, np.int64),
        }
        self.old_output = self.cells["output"].copy()
        self.expressions = _Expressions(inputs.size + old.size)

    def step(self, groups: tuple[Transfers, ...]) -> None:
        """One round: read everything, then write."""
        writes: dict[tuple[str, int, int], list[tuple[int, int]]] = {}
        for g in groups:
            self._check(g)
            for w in range(g.width):
                values = self.cells[g.source][g.src, g.src_slot + w]
                if g.source == "scratch" and np.any(values == UNWRITTEN):
                    i = int(np.argmax(values == UNWRITTEN))
                    text = "reads a scratch slot that was never written"
                    raise Fault(g.src[i], g.src_slot[i] + w, text, g.source)
                vectors = (g.dst, g.dst_slot + w, g.order, values)
                for rank, slot, order, value in zip(*(v.tolist() for v in vectors), strict=True):
                    writes.setdefault((g.target, rank, slot), []).append((order, value))
        for (buffer, rank, slot), sources in writes.items():
            self.cells[buffer][rank, slot] = self._written(buffer, rank, slot, sources)

    def _check(self, g: Transfers) -> None:
        n, k = self.schedule.n, self.schedule.slots
        for ranks in (g.src, g.dst):
            bad = (ranks < 0) | (ranks >= n)
            if np.any(bad):
                i = int(np.argmax(bad))
                raise Fault(ranks[i], g.dst_slot[i], f"there is no rank {ranks[i]} among {n}", g.target)
        for ranks, slots, buffer in ((g.src, g.src_slot, g.source), (g.dst, g.dst_slot, g.target)):
            size = self.schedule.size(buffer)
            bad = (slots < 0) | (slots + g.width > size)
            if np.any(bad):
                i = int(np.argmax(bad))
                text = f"{g.width} slots from {slots[i]} leave {buffer} of {size}"
                raise Fault(ranks[i], slots[i], text, buffer)
        if g.target == "input" and len(g.dst):
            raise Fault(g.dst[0], g.dst_slot[0], "writes to input, which is to be left as it is", g.target)
        bad = (g.src_slot - g.dst_slot) % k != 0
        if np.any(bad):
            i = int(np.argmax(bad))
            text = f"moves slot {g.src_slot[i]} to slot {g.dst_slot[i]}, whose size may differ (slots: {k})"
            raise Fault(g.dst[i], g.dst_slot[i], text, g.target)

    def _written(self, buffer: str, rank: int, slot: int, sources: list[tuple[int, int]]) -> int:
        """The new value of one cell, from the (order, value) pairs written to it."""
        if len(sources) > 1:
            orders = [order for order, _ in sources]
            if COPY in orders or len(set(orders)) < len(orders):
                raise Fault(rank, slot, f"{len(sources)} writers to {buffer} that are not one fold", buffer)
        if sources[0][0] == COPY:
            return sources[0][1]
        old = int(self.cells[buffer][rank, slot])
        if old == UNWRITTEN:
            raise Fault(rank, slot, "folds into a scratch slot that was never written", buffer)
        return self.expressions.fold_all([value for _, value in sorted([*sources, (0, old)])])

    def compare(self) -> None:
        """Hold the final contents against the promise."""
        schedule = self.schedule
        assert schedule.collective is not None
        promise = schedule.collective.promise(schedule.n, schedule.slots, schedule.root)
        same_as: dict[tuple[int, int, int], tuple[int, int]] = {}
        proved: set[tuple[int, int, int, int]] = set()
        for rank in range(schedule.n):
            for slot, held in enumerate(self.cells["output"][rank].tolist()):
                source, lo, hi = (int(m[rank, slot]) for m in promise)
                want = (source, lo, hi)
                if lo < 0:
                    continue
                if lo == hi:
                    if held != self.old_output[rank, slot]:
                        raise Fault(rank, slot, "was promised to stay untouched but was written")
                    continue
                if (held, *want) not in proved:
                    self._contents(rank, slot, held, source, lo, hi)
                    proved.add((held, *want))
                first, bits = same_as.setdefault(want, (rank, self.expressions.same[held]))
                if bits != self.expressions.same[held] and not schedule.collective.at_least_once:
                    text = f"folds in another shape than rank {first}: float results would differ"
                    raise Fault(rank, slot, text)

    def _contents(self, rank: int, slot: int, held: int, source: int, lo: int, hi: int) -> None:
        schedule = self.schedule
        assert schedule.collective is not None
        expected = [q * self.in_slots + source for q in range(lo, hi)]
        if schedule.collective.at_least_once:
            wrong = self.expressions.leaves_of(held) != set(expected)
        elif self.expressions.size[held] != len(expected):
            wrong = True
        else:
            found = self.expressions.sequence(held, len(expected))
            wrong = found != expected if schedule.ordered else sorted(found) != expected
        if wrong:
            raise Fault(rank, slot, self._difference(held, expected))

    def _difference(self, held: int, expected: list[int]) -> str:
        size = self.expressions.size[held]
        found = self.expressions.sequence(held, max(SHOWN, len(expected)))
        wanted = self._name(expected, len(expected))
        text = f"should hold the fold of {wanted}; holds {self._name(found, size)}"
        if self.schedule.ordered and size == len(expected) and sorted(found) == expected:
            text += ", which is not rank order"
        return text

    def _name(self, leaves: list[int], size: int) -> str:
        """Leaves as r<rank>.<slot>, the first few of ``size``."""
        known = self.schedule.n * self.in_slots
        names = [
            f"r{leaf // self.in_slots}.{leaf % self.in_slots}" if 0 <= leaf < known else "an unwritten cell"
            for leaf in leaves[:SHOWN]
        ]
        return " ".join(names) + (f" ... ({size} in all)" if size > SHOWN else "")
