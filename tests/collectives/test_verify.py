"""The verifier accepts every algorithm, for every rank count and root, and rejects what is broken."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.library import ALGORITHMS
from ringleader.collectives import (
    COLLECTIVES,
    Round,
    Schedule,
    VerificationError,
    build,
    copy,
    fold,
    together,
    verify,
    verify_programs,
)


@pytest.mark.parametrize("name", ["binomial", "chain"])
@pytest.mark.parametrize("chunks", [1, 2, 3, 5, 16])
def test_broadcast_with_any_slot_count(name, chunks):
    for n in (1, 2, 3, 8, 11):
        for root in range(n):
            schedule = build("broadcast", name, n, root, chunks=chunks)
            assert schedule.slots == chunks
            verify(schedule).require()
    assert verify_programs(build("broadcast", name, 7, 3, chunks=chunks))


def test_hierarchical_over_every_group_size():
    for n in (12, 16):
        for group in range(1, n + 2):
            verify(build("allreduce", "hierarchical", n, group=group)).require()


def allreduce(n, *rounds, slots=1, ordered=False):
    return Schedule(n, slots, rounds, COLLECTIVES["allreduce"], name="mine", ordered=ordered)


def test_names_round_rank_and_slot_of_the_first_fault():
    two_writers = allreduce(3, copy([0, 1], [2, 2]))
    verdict = verify(two_writers)
    assert not verdict
    assert (verdict.round, verdict.rank, verdict.slot) == (0, 2, 0)
    assert "2 writers" in str(verdict)
    with pytest.raises(VerificationError, match="round 0, rank 2, slot 0"):
        verdict.require()


def test_missing_and_doubled_contributions():
    assert "holds r0.0" in str(verify(allreduce(2, fold(0, 1))))
    twice = verify(allreduce(2, fold([0, 1], [1, 0]), fold([0, 1], [1, 0])))
    assert not twice
    assert "holds r0.0 r1.0 r1.0 r0.0" in str(twice)


def test_rank_order_is_the_sequence_not_the_multiset():
    """Folding behind instead of before is the same sum, but not the same product of matrices."""
    down = fold(1, 0)  # r0 then r1
    assert verify(allreduce(2, down, copy(0, 1), ordered=True))
    swapped = verify(allreduce(2, fold(1, 0, order=-1), copy(0, 1), ordered=True))
    assert "not rank order" in str(swapped)
    assert verify(allreduce(2, fold(1, 0, order=-1), copy(0, 1), ordered=False))


def test_replicas_must_be_bit_identical():
    """One-shot AllReduce in which everyone folds its own value first: right sums, different roundings."""
    n = 3
    r = np.arange(n)
    one_shot = together(*(fold(r, (r + d) % n, order=d) for d in range(1, n)))
    assert "another shape than rank 0" in str(verify(allreduce(n, one_shot)))
    swapped = fold([0, 1], [1, 0], order=[-1, 1])  # operands swapped only: a + b and b + a round alike
    assert verify(allreduce(2, swapped, ordered=True))


def test_a_fold_may_have_several_sources_in_order():
    n = 4
    star = fold([1, 2, 3], [0, 0, 0], order=[1, 2, 3])
    verify(allreduce(n, star, copy([0, 0, 0], [1, 2, 3]), ordered=True)).require()
    ambiguous = fold([1, 2, 3], [0, 0, 0], order=[1, 2, 2])
    assert "not one fold" in str(verify(allreduce(n, ambiguous, copy([0, 0, 0], [1, 2, 3]))))


def test_refuses_cells_that_do_not_exist_or_do_not_fit():
    assert "no rank 5" in str(verify(allreduce(2, copy(0, 5))))
    assert "leave output of 1" in str(verify(allreduce(2, replace_window(copy(0, 1, slot=3), 9))))
    assert "size may differ" in str(verify(allreduce(2, copy(0, 1, slot=0, to=1), slots=2)))
    reads_scratch = Schedule(
        2, 1, (copy(0, 1, source="scratch"),), COLLECTIVES["allreduce"], scratch=1, name="mine"
    )
    assert "never written" in str(verify(reads_scratch))


def replace_window(r: Round, window: int) -> Round:
    return Round(tuple(replace(g, window=window) for g in r.groups))


def test_exscan_must_leave_rank_zero_alone():
    good = build("exscan", "distance-doubling", 3)
    meddling = copy(0, 0, source="input", target="output")
    verdict = verify(replace(good, rounds=(*good.rounds, meddling)))
    assert (verdict.rank, verdict.fault) == (0, "was promised to stay untouched but was written")


@pytest.mark.parametrize(("collective", "name"), ALGORITHMS)
def test_dropping_any_transfer_is_noticed(collective, name):
    """No algorithm here sends anything that is not needed (barrier at n = 6 hears some ranks twice)."""
    n = {"barrier": 8}.get(collective, 6)
    whole = build(collective, name, n)
    rounds = [Round(groups) for groups in whole.expand()]
    for at, r in enumerate(rounds):
        for which, g in enumerate(r.groups):
            for element in range(len(g.src)):
                if collective == "exscan" and at >= 2 and g.target == "scratch":
                    continue  # the last partials of exscan serve nobody
                kept = np.arange(len(g.src)) != element
                mutant = [*r.groups[:which], g.pick(kept), *r.groups[which + 1 :]]
                broken = replace(whole, rounds=(*rounds[:at], Round(tuple(mutant)), *rounds[at + 1 :]))
                assert not verify(broken), f"round {at}, group {which}, element {element}"


def test_fragments_promise_nothing():
    with pytest.raises(ValueError, match="promises nothing"):
        verify(Schedule(2, 1, (copy(0, 1),)))
