"""A mutant before both courts: what the verifier says, and what the numbers say when it is run.

A Disagreement is what these tests look for. What is no question of contents is exhibited: by an order of
the writers, an interleaving, a size or a content of scratch with which the fault shows.
"""

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from ringleader.collectives import Program, Schedule, Verdict, lower, verify, verify_programs
from ringleader.collectives.program import each_cell
from ringleader.collectives.schedule import COPY

from helpers import delayed
from helpers.delayed import Hold, Outcome
from helpers.meaning import Case, Wrong, combine
from helpers.mutants import DST, DST_SLOT, ORDER, SRC, SRC_SLOT, resolved, singled, unrolled
from helpers.rules import first_broken, meant

BY_RULE = "by rule only: right in all that was tried"
RULES_ONLY = {"conflict", "unwritten scratch", "waits for one that is not before it"}  # may be harmless
RIGHT, CONTENTS = "right", "contents"


class Disagreement(AssertionError):
    """The verifier and the numbers do not say the same."""


class Finding(NamedTuple):
    """The kind of ``verdict``, and how it ``shows`` when the mutant runs."""

    verdict: str
    shows: str


def agree(condition: bool, *what: object) -> None:
    if not condition:
        raise Disagreement("; ".join(map(str, what)))


def judge(schedule: Schedule, rng: random.Random) -> Finding:
    """Raises Disagreement."""
    verdict, broken = verify(schedule), first_broken(schedule)
    if verdict.round is None:
        agree(broken is None, verdict, f"but rules are broken: {broken}")
        return _contents(schedule, verdict, rng)
    rule = meant(verdict)
    agree(
        broken is not None and broken[0] == verdict.round and rule in broken[1], verdict, f"broken: {broken}"
    )
    if rule == "conflict":
        agree(_refused(schedule) or _copies_onto_itself(schedule), verdict, "but lower does not refuse it")
        return Finding(rule, _two_orders(schedule, rng))
    return _shown(verdict, rule, _misbehaves(schedule, rng))


def _shown(verdict: Verdict, kind: str, shows: str) -> Finding:
    harmless = kind in RULES_ONLY or any(rule in str(verdict.fault) for rule in RULES_ONLY)
    harmless |= kind == "writes to input" and _copies_onto_itself(verdict.schedule)
    agree(shows != BY_RULE or harmless, verdict, f"but {shows}")
    return Finding(kind, shows)


def _contents(schedule: Schedule, verdict: Verdict, rng: random.Random) -> Finding:
    """Proved or wrong at the end: the numbers must say so too, at the same cell, in both ways of sending."""
    shows = "both ways of sending"
    try:
        programs = _lowered(schedule)
    except ValueError as error:
        agree("overlapping ranges" in str(error), verdict, error)
        programs, shows = _lowered(singled(schedule)), "lower wants it slot by slot; " + shows
    found = verify_programs(schedule, programs)
    agree(found.fault == verdict.fault, verdict, f"but of its programs: {found}")
    case = Case(schedule, rng, schedule.slots + rng.randrange(schedule.slots))
    for eager in (True, False):
        _as_promised(verdict, *_ran(case, programs, rng, eager))
    return Finding(_about(verdict), shows)


def _lowered(schedule: Schedule) -> list[Program]:
    return [lower(schedule, rank) for rank in range(schedule.n)]


def _refused(schedule: Schedule) -> bool:
    try:
        _lowered(schedule)
    except ValueError:
        return True
    return False


def _copies_onto_itself(schedule: Schedule) -> bool:
    """Does a transfer move a cell to where it is? Lowering leaves it out, so that it disturbs nobody."""
    return any(
        g.source == g.target and e[SRC] == e[DST] and e[SRC_SLOT] == e[DST_SLOT] and e[ORDER] == COPY
        for groups in unrolled(schedule) for g in groups for e in g.elements
    )  # fmt: skip


def _ran(
    case: Case, programs: Sequence[Program], rng: random.Random, eager: bool, hold: Hold | None = None
) -> tuple[Outcome, Wrong | None]:
    buffers = case.buffers()
    outcome = delayed.run(programs, buffers, combine, case.size, rng, eager, hold)
    return outcome, case.wrong(buffers)


def _as_promised(verdict: Verdict, outcome: Outcome, wrong: Wrong | None) -> None:
    """The run ended without a race; its numbers are wrong just where and how the verdict says."""
    agree(outcome == Outcome("done"), verdict, f"but ran: {outcome}")
    agree(wrong == _located(verdict), verdict, f"but in numbers: {wrong}")


def _located(verdict: Verdict) -> Wrong | None:
    """The verdict as numbers show it."""
    if verdict:
        return None
    assert verdict.schedule.collective is not None
    text, word = str(verdict.fault), "union" if verdict.schedule.collective.at_least_once else "sum"
    if "another shape" in text:
        word = "shape"
    elif "not rank order" in text:
        word = "affine"
    assert verdict.rank is not None and verdict.slot is not None
    return Wrong(word, verdict.rank, verdict.slot)


def _about(verdict: Verdict) -> str:
    """Right, or which of the questions about contents is answered with no."""
    wrong = _located(verdict)
    return f"{CONTENTS} ({wrong.word})" if wrong else RIGHT


def _two_orders(schedule: Schedule, rng: random.Random) -> str:
    """A conflict: the writers one after the other, in either order, on the same inputs."""
    case = Case(schedule, rng, schedule.slots)
    ends, right = [], True
    for backwards in (False, True):
        buffers = case.buffers()
        try:
            programs = _lowered(resolved(schedule, backwards))
        except ValueError:
            return "lower refuses, as another rule is broken too"
        outcome = delayed.run(programs, buffers, combine, case.size, rng, eager=backwards)
        if outcome.end != "done":
            return f"{outcome.end}, as another rule is broken too"
        right = right and case.wrong(buffers) is None
        ends.append(np.stack([b["output"] for b in buffers]))
    differ = ends[0] != ends[1]
    if np.any((ends[0]["sum"] != ends[1]["sum"]) & case.matters):
        return "contents depend on the order"
    if not right:
        return "wrong in either order"
    if np.any(differ & case.matters):
        return "right in either order, but not the same bits"
    return "only cells that nobody is promised depend on it" if np.any(differ) else BY_RULE


def _misbehaves(schedule: Schedule, rng: random.Random) -> str:
    """Any other rule: with some size of the blocks it fails or ends wrong, or what scratch held shows."""
    try:
        programs = _lowered(schedule)
    except ValueError:
        return "lower refuses"
    return _faulty(schedule, programs, rng)


def _faulty(schedule: Schedule, programs: Sequence[Program], rng: random.Random) -> str:
    """The first thing that goes wrong, over all sizes that cut slots differently and both ways of sending."""
    for size in range(schedule.slots, 2 * schedule.slots):
        case, ends = Case(schedule, rng, size), []
        for eager in (True, False):
            buffers = case.buffers()
            outcome = delayed.run(programs, buffers, combine, size, rng, eager)
            if outcome.end != "done":
                return outcome.end
            if case.wrong(buffers) is not None:
                return "wrong contents"
            ends.append(np.stack([b["output"] for b in buffers]))
        if np.any(ends[0] != ends[1]):
            return "what scratch held shows"
    return BY_RULE


# Programs

KINDS = {
    "messages to rank": "matching", "are received": "matching", "too early": "hazard", "while in use": "hazard",
    "deadlock (eager)": "deadlock (eager)", "deadlock (rendezvous)": "deadlock (rendezvous)",
    "ill-formed": "ill-formed",
}  # fmt: skip


def judge_programs(schedule: Schedule, programs: Sequence[Program], rng: random.Random) -> Finding:
    """As ``judge``, for programs that are not what the schedule was lowered to."""
    verdict = verify_programs(schedule, programs)
    kind = next((kind for saying, kind in KINDS.items() if saying in str(verdict.fault)), CONTENTS)
    if verdict:
        return Finding(RIGHT, _right_however_timed(verdict, programs, rng))
    if kind == CONTENTS:
        case = Case(schedule, rng, schedule.slots + rng.randrange(schedule.slots))
        for eager in (True, False):
            _as_promised(verdict, *_ran(case, programs, rng, eager))
        return Finding(_about(verdict), "both ways of sending")
    if kind == "hazard":
        return Finding(kind, _unsafe(verdict, programs, rng))
    if kind.startswith("deadlock"):
        case = Case(schedule, rng, schedule.slots)
        outcome, _ = _ran(case, programs, rng, eager="eager" in kind)
        agree(outcome.end == "deadlock", verdict, f"but ran: {outcome}")
        return Finding(kind, outcome.end)
    return _shown(verdict, kind, _faulty(schedule, programs, rng))


def _holds(program: Program, rng: random.Random) -> Iterator[Hold]:
    """Each instruction kept back, in random order; of a message, its start and its completion."""
    holds = [Hold(program.rank, number, start) for number, i in enumerate(program.instructions)
             for start in ((False, True) if i.kind in ("send", "recv") else (False,))]  # fmt: skip
    yield from rng.sample(holds, len(holds))


def _right_however_timed(verdict: Verdict, programs: Sequence[Program], rng: random.Random) -> str:
    """No delay of an instruction, way of sending or size makes an accepted program go wrong."""
    schedule = verdict.schedule
    holds = [hold for p in programs for hold in _holds(p, rng)]
    for eager in (True, False):
        case = Case(schedule, rng, schedule.slots + rng.randrange(schedule.slots))
        for hold in [None, *rng.sample(holds, min(len(holds), 4))]:
            _as_promised(verdict, *_ran(case, programs, rng, eager, hold))
    return "both ways of sending"


def _unsafe(verdict: Verdict, programs: Sequence[Program], rng: random.Random) -> str:
    """Keep back an instruction of the rank in question until another touches what it still uses. Only where
    starting in order already prevents that, a hazard is none but for what starts out of order."""
    assert verdict.rank is not None
    program = programs[verdict.rank]
    exposed = _exposed(program)
    case = Case(verdict.schedule, rng, verdict.schedule.slots)
    for hold in [h for h in _holds(program, rng) if h.number in exposed]:
        for eager in (True, False):
            outcome, wrong = _ran(case, programs, rng, eager, hold)
            if outcome.raced:
                return "touches cells in use" + (", and ends wrong" if wrong else "")
    agree(not exposed, verdict, "but no delay exhibits it")
    return "none as long as instructions start in order"


def _exposed(program: Program) -> set[int]:
    """Instructions whose cells a later one disturbs, although neither it nor any that started before it has
    waited for them."""
    exposed: set[int] = set()
    complete: set[int] = set()
    for number, i in enumerate(program.instructions):
        complete.update(i.after)
        reads, writes = set(each_cell(i.src)), set(each_cell(i.dst))
        for at in set(range(number)) - complete:
            other = program.instructions[at]
            if not writes.isdisjoint(each_cell(other.src + other.dst)) or not reads.isdisjoint(
                each_cell(other.dst)
            ):
                exposed.add(at)
    return exposed
