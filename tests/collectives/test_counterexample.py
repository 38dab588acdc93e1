"""Counter-examples as grids: the ranks and rounds that matter, and the fault where it is."""

from dataclasses import replace

import numpy as np
import pytest
from ringleader.collectives import (
    COLLECTIVES,
    Schedule,
    VerificationError,
    build,
    copy,
    fold,
    lower,
    verify,
    verify_programs,
)
from ringleader.collectives.program import Cells, Instruction, Program


def allreduce(n, *rounds, slots=1):
    return Schedule(n, slots, rounds, COLLECTIVES["allreduce"], name="mine")


def test_two_writers_are_marked_in_their_round():
    verdict = verify(allreduce(3, fold(0, 1), copy([0, 1], [2, 2])))
    assert verdict.grid() == (
        "writes to output slot 0: =3 copied from rank 3, +3 folded behind, 3+ before; ! the fault\n"
        "rank  round 0  round 1\n"
        "0     .        .\n"
        "1     +0       .\n"
        "2     .        =0 =1 !"
    )


def test_wrong_contents_are_marked_at_the_end():
    verdict = verify(allreduce(2, fold(1, 0, order=-1)))
    assert verdict.grid().splitlines()[1:] == ["rank  round 0  end", "0     1+       .", "1     .        !"]
    with pytest.raises(VerificationError, match=r"holds r1\.0\n(.|\n)*1     \.        !"):
        verdict.require()


def test_other_slots_and_buffers_are_named():
    good = build("alltoall", "bruck", 3)
    wrong = replace(good, rounds=good.rounds[:-2])
    said = verify(wrong).grid()
    assert "writes to output slot 0" in said
    scratch = replace(good, rounds=(copy(0, 1, slot=2, to=2, source="scratch"), *good.rounds))
    verdict = verify(scratch)
    assert (verdict.buffer, verdict.round, verdict.rank, verdict.slot) == ("scratch", 0, 0, 2)
    assert "writes to scratch slot 2" in verdict.grid()


def test_missing_messages_are_marked_at_both_ends():
    schedule = build("allreduce", "ring", 3)
    programs = [lower(schedule, rank) for rank in range(3)]
    programs[2] = replace(programs[2], instructions=programs[2].instructions[:-2])
    assert verify_programs(schedule, programs).grid() == (
        "messages: >3 to rank 3, <3 from rank 3; ! the fault\n"
        "rank  round 0  round 1  round 2  round 3\n"
        "0     <2 >1    <2 >1    <2 >1    <2 >1\n"
        "1     <0 >2    <0 >2    <0 >2    <0 >2 !\n"
        "2     <1 >0    <1 >0    <1 >0    !"
    )


def swapping(rank, first, second):
    """Exchange with the other rank, one after the other."""
    mine, staged = (Cells("output", 0, 1, 0),), (Cells("stage", 0, 1, 0),)
    steps = {"send": (mine, ()), "recv": ((), staged)}
    fold_in = Instruction("reduce", rank, mine + staged if rank == 0 else staged + mine, mine, (0, 1), 1)
    return Program(rank, 2, 1, 0, 1, (
        Instruction(first, 1 - rank, *steps[first], (), 0),
        Instruction(second, 1 - rank, *steps[second], (0,), 0), fold_in,
    ))  # fmt: skip


def test_a_deadlock_marks_every_rank_that_is_stuck():
    """Both send first and wait: right if sends are eager, stuck for ever if they wait for their receives."""
    schedule = build("allreduce", "recursive-doubling", 2)
    assert verify_programs(schedule, [swapping(0, "send", "recv"), swapping(1, "recv", "send")])
    verdict = verify_programs(schedule, [swapping(rank, "send", "recv") for rank in (0, 1)])
    assert "deadlock (rendezvous) at instruction 0: send, peer 1" in str(verdict)
    assert verdict.stuck == ((0, 0), (1, 0))
    assert verdict.grid().splitlines()[1:] == ["rank  round 0", "0     >1 <1 !", "1     >0 <0 !"]
    both_receive = verify_programs(schedule, [swapping(rank, "recv", "send") for rank in (0, 1)])
    assert "deadlock (eager)" in str(both_receive)


def test_a_hazard_is_marked_where_it_strikes():
    schedule = build("broadcast", "chain", 3, chunks=2)
    programs = [lower(schedule, rank) for rank in range(3)]
    free = tuple(i._replace(after=()) for i in programs[1].instructions)
    verdict = verify_programs(schedule, [programs[0], replace(programs[1], instructions=free), programs[2]])
    assert "too early" in str(verdict)
    assert (verdict.rank, verdict.round) == (1, 1)
    assert "1     <0       <0 >2 !" in verdict.grid()


def test_it_stays_small():
    n = 60
    schedule = build("allreduce", "ring", n)
    rounds = (*schedule.rounds[:1], copy(np.arange(n), (np.arange(n) + 2) % n, slot=0))
    grid = verify(replace(schedule, rounds=rounds)).grid()
    assert len(grid.splitlines()) <= 2 + 8
    assert max(map(len, grid.splitlines())) < 110
    assert grid.count("!") == 2  # one of them explains the mark


def test_what_is_proved_has_no_grid():
    assert verify(build("allreduce", "ring", 3)).grid() == ""
