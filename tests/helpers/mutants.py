"""Schedules with something wrong in them: drop, duplicate, redirect, reorder, flip or shift a transfer."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from ringleader.collectives import COLLECTIVES, Round, Schedule, build, variants
from ringleader.collectives.schedule import BUFFERS, COPY, Transfers

MOST = 6  # ranks
SRC, DST, SRC_SLOT, DST_SLOT, ORDER = range(5)
Element = list[int]


@dataclass
class Group:
    """As Transfers, as plain lists."""

    source: str
    target: str
    width: int
    elements: list[Element]


Rounds = list[list[Group]]


def unrolled(schedule: Schedule) -> Rounds:
    """All rounds one by one, slots absolute."""

    def listed(g: Transfers) -> Group:
        vectors = (g.src, g.dst, g.src_slot, g.dst_slot, g.order)
        elements = [list(e) for e in zip(*(v.tolist() for v in vectors))]
        return Group(g.source, g.target, g.width, elements)

    return [[listed(g) for g in groups] for groups in schedule.expand()]


def rolled(schedule: Schedule, rounds: Rounds, scratch: int | None = None) -> Schedule:
    """The same promise, these rounds. Slots are as given, even outside the buffers."""

    def vectors(g: Group) -> Transfers:
        columns = np.array(g.elements, dtype=np.int64).T
        return Transfers(
            *columns, first=np.zeros_like(columns[0]), source=g.source, target=g.target, width=g.width,
            wrap=False,
        )  # fmt: skip

    given = (tuple(vectors(g) for g in groups if g.elements) for groups in rounds)
    scratch = schedule.scratch if scratch is None else scratch
    return replace(schedule, rounds=tuple(Round(groups) for groups in given if groups), scratch=scratch)


def original(collective: str, name: str, rng: random.Random) -> Schedule:
    """The algorithm with one of the parameters that it says are worth trying, a rank count and a root. What
    promises rank order promises it only half of the time, as otherwise no fault of shape would come to light."""
    n = rng.randint(2, MOST)
    root = rng.randrange(n) if COLLECTIVES[collective].rooted else 0
    schedule = build(collective, name, n, root, **rng.choice(variants(collective, name)))
    return replace(schedule, ordered=schedule.ordered and rng.random() < 0.5)


def mutant(schedule: Schedule, rng: random.Random) -> tuple[str, Schedule]:
    """One of MUTATIONS, sometimes two, on a random transfer each. Returns what was done, and the result, which
    differs from ``schedule``."""
    same = rolled(schedule, unrolled(schedule)).digest
    while True:
        done, changed = _mutated(schedule, rng)
        if changed.digest != same:
            return done, changed


def _mutated(schedule: Schedule, rng: random.Random) -> tuple[str, Schedule]:
    rounds = unrolled(schedule)
    kinds = rng.choices(list(MUTATIONS), k=2 if rng.random() < 0.15 else 1)
    for kind in kinds:
        if any(g.elements for groups in rounds for g in groups):
            MUTATIONS[kind](schedule, rounds, rng)
    return "two of them" if len(kinds) > 1 else kinds[0], rolled(schedule, rounds)


def _any(rounds: Rounds, rng: random.Random) -> tuple[int, Group, int]:
    """A random element: its round, its group, its place there."""
    number = rng.choice([i for i, groups in enumerate(rounds) if any(g.elements for g in groups)])
    group = rng.choice([g for g in rounds[number] if g.elements])
    return number, group, rng.randrange(len(group.elements))


def _drop(schedule: Schedule, rounds: Rounds, rng: random.Random) -> None:
    _, group, i = _any(rounds, rng)
    del group.elements[i]


def _duplicate(schedule: Schedule, rounds: Rounds, rng: random.Random) -> None:
    """Once more in the same message, in a message of its own, or in a later round."""
    number, group, i = _any(rounds, rng)
    again = list(group.elements[i])
    where = rng.choice(["message", "round", "later"])
    if where == "message":
        group.elements.insert(i + 1, again)
    elif where == "round":
        rounds[number].append(replace(group, elements=[again]))
    else:
        _put(rounds, rng.randint(number + 1, len(rounds)), replace(group, elements=[again]), rng)


def _put(rounds: Rounds, number: int, group: Group, rng: random.Random) -> None:
    """Into that round, or into one of its own before it."""
    if number == len(rounds) or rng.random() < 0.3:
        rounds.insert(number, [group])
    else:
        rounds[number].append(group)


def _redirect(schedule: Schedule, rounds: Rounds, rng: random.Random) -> None:
    """From another rank, to another rank (now and then one that does not exist), or to another buffer."""
    number, group, i = _any(rounds, rng)
    element = group.elements[i]
    assert schedule.collective is not None
    several = schedule.scratch > 0 or not schedule.collective.in_place
    if several and rng.random() < 0.3:
        end = rng.choice(["source", "target"])
        others = [b for b in BUFFERS if schedule.size(b) and b != getattr(group, end)]
        del group.elements[i]
        rounds[number].append(replace(group, elements=[element], **{end: rng.choice(others)}))
        return
    end = rng.choice([SRC, DST])
    there = [-1, schedule.n] if rng.random() < 0.03 else range(schedule.n)
    element[end] = rng.choice([r for r in there if r != element[end]])


def _reorder(schedule: Schedule, rounds: Rounds, rng: random.Random) -> None:
    """Another turn in its fold; or into an earlier or a later round; or two whole rounds swapped."""
    number, group, i = _any(rounds, rng)
    element = group.elements[i]
    mates = [
        e for g in rounds[number] for e in g.elements
        if g.target == group.target and (e[DST], e[DST_SLOT]) == (element[DST], element[DST_SLOT])
    ]  # fmt: skip
    if len(mates) > 1 and rng.random() < 0.5:
        other = rng.choice(mates)
        element[ORDER], other[ORDER] = other[ORDER], element[ORDER]
    elif len(rounds) > 1 and rng.random() < 0.3:
        a, b = rng.sample(range(len(rounds)), 2)
        rounds[a], rounds[b] = rounds[b], rounds[a]
    else:
        to = rng.choice([t for t in range(len(rounds) + 1) if t != number])
        _put(rounds, to, replace(group, elements=[group.elements.pop(i)]), rng)


def _flip(schedule: Schedule, rounds: Rounds, rng: random.Random) -> None:
    """A copy becomes a fold; a fold becomes a copy, a fold from the other side, or one at another turn."""
    _, group, i = _any(rounds, rng)
    order = group.elements[i][ORDER]
    if order == COPY:
        group.elements[i][ORDER] = rng.choice([-1, 1])
    else:
        group.elements[i][ORDER] = rng.choice(
            [COPY, -order, rng.choice([-1, 1]) * rng.randint(1, schedule.n)]
        )


def _shift(schedule: Schedule, rounds: Rounds, rng: random.Random) -> None:
    """Another source slot, another destination slot, or both alike; by whole blocks, or not."""
    _, group, i = _any(rounds, rng)
    blocks = max(schedule.size(group.source), schedule.size(group.target)) // schedule.slots
    by = rng.choice([-1, 1, rng.randint(1, max(blocks, 1)) * rng.choice([-1, 1]) * schedule.slots])
    for end in rng.choice([(SRC_SLOT,), (DST_SLOT,), (SRC_SLOT, DST_SLOT), (SRC_SLOT, DST_SLOT)]):
        group.elements[i][end] += by


MUTATIONS: dict[str, Callable[[Schedule, Rounds, random.Random], None]] = {
    "drop": _drop, "duplicate": _duplicate, "redirect": _redirect, "reorder": _reorder, "flip": _flip,
    "shift": _shift,
}  # fmt: skip


def singled(schedule: Schedule) -> Schedule:
    """The same transfers, slot by slot."""
    return rolled(schedule, [[_narrow(g) for g in groups] for groups in unrolled(schedule)])


def _narrow(g: Group) -> Group:
    elements = [
        [e[SRC], e[DST], e[SRC_SLOT] + w, e[DST_SLOT] + w, e[ORDER]]
        for e in g.elements
        for w in range(g.width)
    ]
    return Group(g.source, g.target, 1, elements)


def resolved(schedule: Schedule, backwards: bool) -> Schedule:
    """Conflicts decided: where a round writes a cell in more than one fold, the writers come one after the
    other, in the order given or backwards, each with the value that its source had at the round's start."""
    rounds: Rounds = []
    deciding = _Deciding(schedule)
    for groups in unrolled(schedule):
        rounds += deciding.split(groups, backwards)
    return rolled(schedule, rounds, deciding.scratch)


class _Deciding:
    """``kept[rank]``: values kept in additional scratch so far; each has a row of ``slots`` slots."""

    def __init__(self, schedule: Schedule) -> None:
        self.slots = schedule.slots
        self.first = -(-schedule.scratch // self.slots) * self.slots
        self.scratch = schedule.scratch
        self.kept = [0] * schedule.n

    def split(self, groups: list[Group], backwards: bool) -> Rounds:
        singles = [replace(g, elements=[e]) for g in map(_narrow, groups) for e in g.elements]
        writers: dict[tuple[str, int, int], list[Group]] = {}
        for g in singles:
            (element,) = g.elements
            writers.setdefault((g.target, element[DST], element[DST_SLOT]), []).append(g)
        contested = [w for w in writers.values() if _conflict(w)]
        if not contested:
            return [groups]
        undisputed = [g for w in writers.values() if not _conflict(w) for g in w]
        rounds: Rounds = [undisputed]
        for rivals in contested:
            for turn, g in enumerate(reversed(rivals) if backwards else rivals, start=1):
                if turn == len(rounds):
                    rounds.append([])
                rounds[turn].append(self._later(g, rounds[0]))
        return rounds

    def _later(self, g: Group, before: list[Group]) -> Group:
        """Keep the source's value ``before``; the same transfer from there."""
        ((src, dst, slot, to, order),) = g.elements
        room = self.first + self.kept[src] * self.slots + slot % self.slots
        self.kept[src] += 1
        self.scratch = max(self.scratch, self.first + self.kept[src] * self.slots)
        before.append(Group(g.source, "scratch", 1, [[src, src, slot, room, COPY]]))
        return Group("scratch", g.target, 1, [[src, dst, room, to, order]])


def _conflict(writers: list[Group]) -> bool:
    orders = [g.elements[0][ORDER] for g in writers]
    return len(orders) > 1 and (COPY in orders or len(set(orders)) < len(orders))
