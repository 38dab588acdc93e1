"""Evidence that the verifier can be trusted: random mutants of all algorithms, judged by it and by running.

Running shares no code with it: a mutant's lowered programs go over the threads transport under seeded
delays, and the words at the end are compared with what the collective means in plain numpy.
"""

import ast
import inspect
import random
import sys
from dataclasses import replace

import pytest
from helpers import delayed, meaning, mutants, rules, tally, trials
from helpers.blindness import BLINDNESS
from helpers.delayed import Hold, Outcome, run
from helpers.library import ALGORITHMS
from helpers.meaning import Case, combine
from helpers.trials import Disagreement
from ringleader.collectives import (
    COLLECTIVES,
    Schedule,
    algorithms,
    build,
    copy,
    fold,
    lower,
    verify,
    verify_programs,
)
from ringleader.collectives.program import Cells, Instruction
from ringleader.collectives.verify import Fault, State, _Expressions
from ringleader.collectives.verify_programs import _Run

verify_programs_module = sys.modules[
    "ringleader.collectives.verify_programs"
]  # not the function of that name


def test_enough_mutants():
    assert len(ALGORITHMS) * tally.SCHEDULES >= 10_000
    assert len(ALGORITHMS) * tally.PROGRAMS >= 2_000


@pytest.mark.parametrize(("collective", "name"), ALGORITHMS)
def test_schedules_are_judged_as_they_run(collective, name):
    found = list(tally.rows(tally.schedules(collective, name), tally.SCHEDULES))
    assert len(found) == tally.SCHEDULES
    assert {row.mutation for row in found} >= mutants.MUTATIONS.keys()


@pytest.mark.parametrize(("collective", "name"), ALGORITHMS)
def test_programs_are_judged_as_they_run(collective, name):
    found = list(tally.rows(tally.programs(collective, name), tally.PROGRAMS))
    assert len(found) == tally.PROGRAMS
    assert {"right", "matching"} <= {row.verdict for row in found}


def test_every_verdict_occurs_and_is_tabulated():
    """A few of each algorithm; the tables have a line for every kind of verdict."""
    table = tally.tally(20, 20)
    contents = [f"contents ({word})" for word in ("sum", "affine", "shape", "union")]
    for verdict in [*rules.SAYINGS.values(), *trials.KINDS.values(), *contents, "right"]:
        assert f"| {verdict} |" in table


# Nothing in common


def test_helpers_take_nothing_from_the_verifier():
    for module in (delayed, meaning, mutants, rules):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.ImportFrom):
                assert "verify" not in node.module
                assert not {"verify", "verify_programs", "Promise", "Collective"} & {
                    a.name for a in node.names
                }


def forbidden(*args, **kwargs):
    raise AssertionError("running a mutant must not ask the verifier or the promise")


@pytest.mark.parametrize("collective", COLLECTIVES)
def test_running_needs_neither_verifier_nor_promise(collective, monkeypatch):
    for owner, method in ((State, "__init__"), (_Expressions, "__init__"), (Fault, "__init__")):
        monkeypatch.setattr(owner, method, forbidden)
    whole = build(collective, next(a for c, a in ALGORITHMS if c == collective), 4)
    unpromised = replace(whole, collective=replace(whole.collective, promise=forbidden))
    with pytest.raises(AssertionError, match="must not ask"):
        verify(unpromised)
    case = Case(unpromised, random.Random(1), unpromised.slots)
    buffers = case.buffers()
    programs = [lower(unpromised, rank) for rank in range(4)]
    assert run(programs, buffers, combine, case.size, random.Random(1), eager=False) == Outcome("done")
    assert case.wrong(buffers) is None
    assert rules.first_broken(unpromised) is None


# What running can show


def test_numbers_show_each_kind_of_mistake():
    allreduce = COLLECTIVES["allreduce"]
    late = fold([1, 2, 0, 2, 0, 1], [0, 0, 1, 1, 2, 2], order=[1, 2, 1, 2, 1, 2])
    for rounds, ordered, word in (
        ((fold(1, 0), copy(0, 1)), True, None),
        ((fold(1, 0, order=-1), copy(0, 1)), True, "affine"),
        ((fold(1, 0), fold(0, 1)), False, "sum"),
        ((late,), False, "shape"),
    ):
        schedule = Schedule(3 if word == "shape" else 2, 1, rounds, allreduce, ordered=ordered)
        case = Case(schedule, random.Random(2), 1)
        buffers = case.buffers()
        run(
            [lower(schedule, r) for r in range(schedule.n)], buffers, combine, 1, random.Random(3), eager=True
        )
        wrong = case.wrong(buffers)
        assert (wrong and wrong.word) == word


def test_a_delay_shows_a_forgotten_dependency():
    """A reduction that does not wait for what it folds is right when messages are fast, and only then."""
    schedule = build("reduce", "binomial", 2)
    programs = [lower(schedule, rank) for rank in range(2)]
    *first, reduction = programs[0].instructions
    assert reduction.kind == "reduce"
    programs[0] = replace(programs[0], instructions=(*first, reduction._replace(after=())))
    case = Case(schedule, random.Random(4), 1)
    buffers = case.buffers()
    held = run(programs, buffers, combine, 1, random.Random(5), eager=True, hold=Hold(0, 0))
    assert held == Outcome("done", raced=True)
    assert "too early" in str(verify_programs(schedule, programs))


# Blind spots planted in the verifier


def must_disagree(draw, collective, count):
    with pytest.raises(Disagreement) as noticed:
        for name in algorithms(collective):
            for _ in tally.rows(draw(collective, name), count):
                pass
    return str(noticed.value)


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_numbers_notice_a_blind_spot(blindness, monkeypatch):
    """Even if the rules, said a second time, had it too."""
    whole = rules.first_broken

    def first_broken(schedule):
        broken = whole(schedule)
        return None if broken and broken[1] == {blindness} else broken

    plant, collective = BLINDNESS[blindness]
    plant(monkeypatch)
    monkeypatch.setattr(trials, "first_broken", first_broken)
    assert "random.Random('" in must_disagree(tally.schedules, collective, tally.SCHEDULES)


@pytest.mark.parametrize("blindness", ["unwritten scratch", "other slot size", "writes to input", "conflict"])
def test_the_rules_notice_a_blind_spot(blindness, monkeypatch):
    plant, collective = BLINDNESS[blindness]
    plant(monkeypatch)
    assert "rules are broken" in must_disagree(tally.schedules, collective, tally.SCHEDULES)


@pytest.mark.parametrize("check", ["_ordered", "_matched", "_well_formed"])
def test_running_notices_a_check_that_programs_miss(check, monkeypatch):
    monkeypatch.setattr(verify_programs_module, check, lambda *_: None)
    must_disagree(tally.programs, "allreduce", tally.PROGRAMS)


def test_running_notices_that_rendezvous_was_not_tried(monkeypatch):
    whole = _Run.__init__
    monkeypatch.setattr(_Run, "__init__", lambda self, *given, rendezvous: whole(self, *given, False))
    assert "deadlock" in must_disagree(tally.programs, "allreduce", tally.PROGRAMS)


# Mutants found these: the smallest cases


@pytest.mark.parametrize(("changed", "says"), [
    ({"dst": (Cells("output", -1, 1, -1),)}, "slots that do not exist"),
    ({"dst": (Cells("output", 2, 1, 2),)}, "slots that do not exist"),
    ({"dst": (Cells("output", 1, 1, 0),)}, "slots for some of another size"),
    ({"after": (0,)}, "not before it"),
    ({"dst": ()}, "reads () and writes ()"),
    ({"kind": "reduce", "src": (Cells("output", 0, 1, 0),)}, "(reduce) reads (Cells"),
])  # fmt: skip
def test_ill_formed_programs_are_refused(changed, says):
    schedule = build("broadcast", "binomial", 2, chunks=2)
    programs = [lower(schedule, rank) for rank in range(2)]
    first, *others = programs[1].instructions
    assert first.kind == "recv"
    programs[1] = replace(programs[1], instructions=(first._replace(**changed), *others))
    assert says in str(verify_programs(schedule, programs))


def test_a_local_copy_between_slots_of_different_sizes_is_refused():
    """There and back again: right where slots are equal, and loses an element where they are not."""
    schedule = build("broadcast", "binomial", 2, chunks=2)
    schedule = replace(schedule, scratch=2)
    programs = [lower(schedule, rank) for rank in range(2)]
    small, large = Cells("output", 0, 1, 0), Cells("scratch", 1, 1, 1)
    at = len(programs[0].instructions)
    there = Instruction("copy", 0, (small,), (large,), tuple(range(at)), 1)
    back = Instruction("copy", 0, (large,), (small,), (at,), 2)
    programs[0] = replace(programs[0], scratch=2, instructions=(*programs[0].instructions, there, back))
    assert "size may differ" in str(verify_programs(schedule, programs))


def test_a_schedule_may_not_write_to_the_callers_input():
    good = build("alltoall", "linear", 3)
    back = copy(0, 1, source="output", target="input")
    assert "writes to input" in str(verify(replace(good, rounds=(*good.rounds, back))))


def test_lower_refuses_a_conflict():
    schedule = Schedule(3, 1, (copy([0, 1], [2, 2]),), COLLECTIVES["broadcast"])
    with pytest.raises(ValueError, match=r"round 0 .* not one fold .* rank 2"):
        lower(schedule, 2)
