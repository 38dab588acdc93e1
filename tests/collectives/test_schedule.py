"""The compact form, its combinators and its fingerprint."""

import time

import numpy as np
import pytest
from helpers.library import ALGORITHMS
from ringleader.collectives import (
    COLLECTIVES,
    Schedule,
    algorithm,
    algorithms,
    build,
    copy,
    count,
    find,
    fold,
    fragment,
    lower,
    registry,
    together,
    verify,
)
from ringleader.collectives.library.allreduce import ring


def unrolled(schedule):
    """Sent and reduced slots of the busiest rank, and rounds, counted transfer by transfer."""
    sent, reduced = np.zeros(schedule.n, int), np.zeros(schedule.n, int)
    rounds = 0
    for groups in schedule.expand():
        crossing = False
        for g in groups:
            for src, dst, order in zip(g.src, g.dst, g.order, strict=True):
                sent[src] += g.width * (src != dst)
                reduced[dst] += g.width * (order != 0)
                crossing |= src != dst
        rounds += crossing
    return rounds, sent.max(), reduced.max()


@pytest.mark.parametrize(("collective", "name"), ALGORITHMS)
def test_counting_the_compact_form_equals_unrolling_it(collective, name):
    for n in (1, 2, 3, 6, 13, 16):
        schedule = build(collective, name, n)
        assert count(schedule)[:3] == unrolled(schedule)


def test_ring_costs_what_the_paper_says():
    for n in (1, 2, 5, 8):
        assert count(build("allreduce", "ring", n))[:4] == (2 * (n - 1), 2 * (n - 1), n - 1, n)


def test_131072_ranks_are_built_and_counted_in_seconds():
    """Loose by a factor of a hundred: this is about form (vectors, not objects), not about speed."""
    n, start = 131_072, time.monotonic()
    assert count(build("allreduce", "ring", n))[:4] == (2 * (n - 1), 2 * (n - 1), n - 1, n)
    hierarchical = count(build("allreduce", "hierarchical", n, group=8))
    assert hierarchical.rounds == 2 * 7 + 2 * (n // 8 - 1)
    assert hierarchical.sent == 2 * (n - 1)
    assert time.monotonic() - start < 20


def test_lowering_one_rank_does_not_unroll_the_others():
    program = lower(build("allreduce", "ring", 4096), 17)
    assert sum(i.kind == "send" for i in program.instructions) == 2 * 4095


def test_then_and_beside():
    right, left = fragment(2, 2, [copy(0, 1, slot=0)]), fragment(2, 2, [copy(1, 0, slot=1)])
    both = right.beside(left)
    assert len(both) == 1
    assert len(right.then(left)) == 2
    with pytest.raises(ValueError, match="2 ranks x 2 slots and 3 x 2"):
        right.then(fragment(3, 2, []))


def test_beside_splits_repetitions():
    """Three repetitions beside two: cells of each step are those of the parts."""
    n = 4
    r = np.arange(n)
    three = fragment(n, 2 * n, [fold(r, (r + 1) % n, slot=r).repeat(3, shift=1)])
    two = fragment(n, 2 * n, [fold(r, (r + 1) % n, slot=n + r).repeat(2, shift=-1)])
    steps = list(three.beside(two).expand())
    assert [len(groups) for groups in steps] == [2, 2, 1]
    for part, offset in ((three, 0), (two, 1)):
        for t, groups in enumerate(part.expand()):
            np.testing.assert_array_equal(steps[t][offset].src_slot, groups[0].src_slot)


def test_refine_keeps_the_meaning():
    coarse = build("allreduce", "ring", 5)
    fine = coarse.refine(3)
    assert fine.slots == 15
    verify(fine).require()


def test_on_ranks_places_groups_side_by_side():
    rows = np.arange(6).reshape(2, 3)
    placed = fragment(3, 3, ring(3)).on_ranks(rows, 6)
    assert len(placed) == 4
    first = next(placed.expand())[0]
    assert sorted(zip(first.src.tolist(), first.dst.tolist(), strict=True)) == [
        (0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="3 ranks to place, but groups of 2"):
        fragment(3, 3, ring(3)).on_ranks([[0, 1]], 2)
    with pytest.raises(ValueError, match="do not fit"):
        fragment(3, 3, ring(3)).on_ranks(rows, 6, first=[0, 3], slots=5)


def test_digest_tells_schedules_apart():
    names = algorithms("allreduce")
    digests = {build("allreduce", name, n).digest for name in names for n in (4, 6, 8)}
    assert len(digests) == 3 * len(names)
    assert build("allreduce", "hierarchical", 5).digest == build("allreduce", "ring", 5).digest  # groups of 1
    assert build("broadcast", "binomial", 4, 1).digest != build("broadcast", "binomial", 4, 2).digest
    assert build("allreduce", "ring", 4).digest == Schedule(
        4, 4, tuple(ring(4)), COLLECTIVES["allreduce"]
    ).digest  # fmt: skip


def test_bad_input_says_what_would_be_right():
    with pytest.raises(ValueError, match=r"unknown allreduce algorithm 'rign'; known: .*ring"):
        build("allreduce", "rign", 4)
    with pytest.raises(ValueError, match=r"unknown collective 'allredcue'; known: .*allreduce"):
        build("allredcue", "ring", 4)
    with pytest.raises(ValueError, match="root 4 is out of range for 4 ranks"):
        build("broadcast", "chain", 4, root=4)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        build("allreduce", "ring", 0)
    with pytest.raises(ValueError, match="takes n; not chunks"):
        build("allreduce", "ring", 4, chunks=3)
    with pytest.raises(ValueError, match="no buffer 'inptu'"):
        copy(0, 1, source="inptu")
    with pytest.raises(ValueError, match="order 0"):
        fold(0, 1, order=0)
    with pytest.raises(ValueError, match="cannot be one round"):
        together(copy(0, 1).repeat(2), copy(1, 0))


def test_registering_makes_an_algorithm_known(monkeypatch):
    monkeypatch.setattr(registry, "_algorithms", dict(registry._algorithms))  # forgets it afterwards

    @algorithm("allreduce", name="test-star", ordered=True)
    def star(n):
        others = np.arange(1, n)
        yield fold(others, 0, order=others)
        yield copy(0, others)

    assert "test-star" in algorithms("allreduce")
    assert find("allreduce", "test-star").rounds is star
    verify(build("allreduce", "test-star", 7)).require()


def test_numbers_and_lists_of_any_kind_are_one_parameter():
    """Equal schedules have equal digests, or ranks would disagree about them."""
    plain = build("broadcast", "chain", 5, 2, chunks=4)
    assert build("broadcast", "chain", np.int64(5), np.int32(2), chunks=np.int64(4)) is plain
    groups = ((0, 2), (1, 3))
    whole = build("allreduce", "hierarchical", 4, groups=groups)
    assert build("allreduce", "hierarchical", 4, groups=[[0, 2], [1, 3]]) is whole
    assert build("allreduce", "hierarchical", 4, groups=np.array(groups)) is whole
    assert build("allreduce", "recursive-doubling", np.int64(8)).n == 8
