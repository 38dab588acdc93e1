"""Programs with something wrong in them: what an error in lowering, or in an import, would look like."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from ringleader.collectives import Program
from ringleader.collectives.program import Cells, Instruction

Listed = list[list[Instruction]]  # by rank
MESSAGES = ("send", "recv")
TRIES = 20  # before another kind, as there may be nothing to do for this one


def program_mutant(programs: Sequence[Program], rng: random.Random) -> tuple[str, list[Program]]:
    """One of MUTATIONS on the programs. Returns what was done, and the result, which differs."""
    before = [list(p.instructions) for p in programs]
    while True:
        kind = rng.choice(list(MUTATIONS))
        for _ in range(TRIES):
            listed = [list(instructions) for instructions in before]
            MUTATIONS[kind](listed, rng)
            if listed != before:
                return kind, [replace(p, instructions=tuple(i)) for p, i in zip(programs, listed)]


def _somewhere(listed: Listed, rng: random.Random, kinds: Sequence[str] = ()) -> tuple[int, int]:
    """Rank and number of a random instruction, of one of these kinds if any is given."""
    return rng.choice([
        (rank, number) for rank, instructions in enumerate(listed)
        for number, i in enumerate(instructions) if not kinds or i.kind in kinds
    ])  # fmt: skip


def rearranged(old: list[Instruction], order: list[int]) -> list[Instruction]:
    """The instructions with these old numbers, in this order. What waited for one that is gone waits for what
    that one waited for; nothing waits for a later one."""
    place: dict[int, int] = {}
    for new, number in enumerate(order):
        place.setdefault(number, new)

    def places(number: int) -> set[int]:
        return set().union(*({place[a]} if a in place else places(a) for a in old[number].after))

    return [
        old[number]._replace(after=tuple(sorted(a for a in places(number) if a < new)))
        for new, number in enumerate(order)
    ]


def _drop(listed: Listed, rng: random.Random) -> None:
    rank, number = _somewhere(listed, rng, MESSAGES)
    listed[rank] = rearranged(listed[rank], [i for i in range(len(listed[rank])) if i != number])


def _duplicate(listed: Listed, rng: random.Random) -> None:
    """Once more at once, or later."""
    rank, number = _somewhere(listed, rng, MESSAGES)
    order = list(range(len(listed[rank])))
    order.insert(rng.randint(number + 1, len(order)), number)
    listed[rank] = rearranged(listed[rank], order)


def _redirect(listed: Listed, rng: random.Random) -> None:
    """To or from another rank, now and then one that does not exist."""
    rank, number = _somewhere(listed, rng, MESSAGES)
    there = [-1, len(listed)] if rng.random() < 0.03 else range(len(listed))
    listed[rank][number] = listed[rank][number]._replace(peer=rng.choice(there))


def _reorder(listed: Listed, rng: random.Random) -> None:
    rank, number = _somewhere(listed, rng)
    order = list(range(len(listed[rank])))
    order.insert(rng.randrange(len(order)), order.pop(number))
    listed[rank] = rearranged(listed[rank], order)


def _impatient(listed: Listed, rng: random.Random) -> None:
    """An instruction does not wait for one that it has to wait for."""
    waiting = [(r, n) for r, instructions in enumerate(listed) for n, i in enumerate(instructions) if i.after]
    if waiting:
        rank, number = rng.choice(waiting)
        after = listed[rank][number].after
        dropped = rng.choice(after)
        listed[rank][number] = listed[rank][number]._replace(after=tuple(a for a in after if a != dropped))


def _patient(listed: Listed, rng: random.Random) -> None:
    """An instruction waits for one more; now and then for a later one, which no program may."""
    rank, number = _somewhere(listed, rng)
    latest = len(listed[rank]) if rng.random() < 0.05 else number
    if latest:
        after = {*listed[rank][number].after, rng.randrange(latest)} - {number}
        listed[rank][number] = listed[rank][number]._replace(after=tuple(sorted(after)))


def _blocking(listed: Listed, rng: random.Random) -> None:
    """The textbook's deadlocks: in one round a rank, or every rank, does not receive before its sends are
    complete, or the other way round."""
    rank, number = _somewhere(listed, rng, MESSAGES)
    in_round, kinds = listed[rank][number].round, rng.sample(MESSAGES, 2)
    for r in range(len(listed)) if rng.random() < 0.7 else [rank]:
        listed[r] = _one_kind_first(listed[r], in_round, *kinds)


def _one_kind_first(old: list[Instruction], in_round: int, first: str, second: str) -> list[Instruction]:
    """That round's ``first`` messages before its ``second`` ones, which wait for them."""
    now, later = (
        [n for n, i in enumerate(old) if i.round == in_round and i.kind == kind] for kind in (first, second)
    )
    if not now or not later:
        return old
    start = min(now + later)
    rest = [n for n in range(start, len(old)) if n not in now]
    new = rearranged(old, [*range(start), *now, *rest])
    at = start + len(now) + rest.index(later[0])
    new[at] = new[at]._replace(after=tuple(sorted({*range(start, start + len(now)), *new[at].after})))
    return new


def _swap(listed: Listed, rng: random.Random) -> None:
    """Two cells of an instruction change places, or one changes places with one of another instruction."""
    rank, number = _somewhere(listed, rng)
    end = rng.choice(["src", "dst"])
    mine = list(getattr(listed[rank][number], end))
    other = number if rng.random() < 0.5 else rng.randrange(len(listed[rank]))
    theirs = mine if other == number else list(getattr(listed[rank][other], end))
    if mine and theirs:
        a, b = rng.randrange(len(mine)), rng.randrange(len(theirs))
        mine[a], theirs[b] = theirs[b], mine[a]
        for at, cells in ((number, mine), (other, theirs)):
            listed[rank][at] = listed[rank][at]._replace(**{end: tuple(cells)})


def _shift(listed: Listed, rng: random.Random) -> None:
    """A cell is another slot, perhaps one that does not exist."""
    rank, number = _somewhere(listed, rng)
    end = rng.choice(["src", "dst"])
    cells: list[Cells] = list(getattr(listed[rank][number], end))
    if cells:
        at, by = rng.randrange(len(cells)), rng.choice([-2, -1, 1, 2])
        cells[at] = cells[at]._replace(slot=cells[at].slot + by, like=cells[at].like + by)
        listed[rank][number] = listed[rank][number]._replace(**{end: tuple(cells)})


MUTATIONS: dict[str, Callable[[Listed, random.Random], None]] = {
    "drop": _drop, "duplicate": _duplicate, "redirect": _redirect, "reorder": _reorder,
    "impatient": _impatient, "patient": _patient, "blocking": _blocking, "swap": _swap, "shift": _shift,
}  # fmt: skip
