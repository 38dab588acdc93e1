"""What exchanges between peers and leaders promise beyond being right: rounds, partners, loads."""

from itertools import pairwise

import numpy as np
import pytest
from helpers.traffic import log2, messages, rounds_of, total
from ringleader.collectives import (
    build,
    count,
    find,
    verify,
)

# AllReduce


def test_a_bidirectional_ring_sends_half_each_way():
    for n in range(3, 20):
        schedule = build("allreduce", "bidirectional-ring", n)
        for r in range(n):
            for neighbour in ((r + 1) % n, (r - 1) % n):
                assert total(schedule)[r, neighbour] == (n - 1) * schedule.slots // n
        assert len(total(schedule)) == 2 * n
        assert all(set(there.values()) == {1} for there in messages(schedule))


def test_doubling_and_halving_take_two_more_rounds_off_powers_of_two():
    for n in range(2, 130):
        doublings, more = n.bit_length() - 1, 2 * (n & (n - 1) > 0)
        assert rounds_of("allreduce", "recursive-doubling", n) == doublings + more
        assert rounds_of("allreduce", "halving-doubling", n) == 2 * doublings + more


def test_halving_and_doubling():
    """Messages of a half, a quarter, ... and back, each one piece of memory; the nearest get the largest."""
    n = 16
    schedule = build("allreduce", "halving-doubling", n)
    crossing = [there for there in messages(schedule) if there]
    assert [set(there.values()) for there in crossing] == [{8}, {4}, {2}, {1}, {1}, {2}, {4}, {8}]
    for there, distance in zip(crossing, (1, 2, 4, 8, 8, 4, 2, 1)):
        assert set(there) == {(r, r ^ distance) for r in range(n)}
    for n in (16, 23):
        for g in (g for groups in build("allreduce", "halving-doubling", n).expand() for g in groups):
            assert len(set(zip(g.src.tolist(), g.dst.tolist()))) == len(g.src)


def test_halving_and_doubling_is_compact():
    """One element a message, so n log n of them, not n squared."""
    n = 4096
    rounds = build("allreduce", "halving-doubling", n).rounds
    assert sum(len(g.src) for r in rounds for g in r.groups) == n * 2 * log2(n)


@pytest.mark.parametrize(("radix", "levels"), [(2, 6), (3, 4), (4, 3), (8, 2), (64, 1), (100, 1)])
def test_k_nomial_tree_has_fewer_levels_with_more_children(radix, levels):
    assert rounds_of("allreduce", "k-nomial", 64, radix=radix) == 2 * levels


def test_trees_of_radix_two_are_binomial():
    for n in range(1, 20):
        binomial, other = build("allreduce", "tree", n), build("allreduce", "k-nomial", n, radix=2)
        assert binomial.digest == other.digest
        assert count(binomial).rounds == 2 * log2(n)


def test_one_round_and_two():
    for n in range(2, 20):
        everyone = {(src, dst) for src in range(n) for dst in range(n) if src != dst}
        (once,) = messages(build("allreduce", "one-shot", n))
        assert once == dict.fromkeys(everyone, 1)
        twice = list(messages(build("allreduce", "two-shot", n)))
        assert twice == [dict.fromkeys(everyone, 1)] * 2
        assert list(messages(build("allreduce", "leader", n, servers=n))) == twice


# Leader


def test_only_leaders_are_sent_to_and_answer():
    for n, servers, expected in ((8, 1, {0}), (8, 4, {0, 2, 4, 6}), (7, 2, {0, 3}), (3, 99, {0, 1, 2})):
        schedule = build("allreduce", "leader", n, servers=servers)
        push, pull = messages(schedule)
        assert {dst for _, dst in push} == {src for src, _ in pull} == expected
        assert schedule.slots == len(expected)


def test_several_leaders_share_the_load():
    one, four = (find("allreduce", "leader").closed_form(1000, 0, {"servers": s}) for s in (1, 4))
    assert one.path_sent / one.slots == 4 * four.path_sent / four.slots


@pytest.mark.parametrize("servers", [0, -1])
def test_refuses_no_leader(servers):
    with pytest.raises(ValueError, match=f"servers must be at least 1, got {servers}"):
        build("allreduce", "leader", 4, servers=servers)


# AllGather and ReduceScatter


@pytest.mark.parametrize(
    ("collective", "name", "rounds"),
    [
        ("allgather", "ring", lambda n: n - 1),
        ("allgather", "direct", lambda n: 1),
        ("allgather", "bruck", log2),
        ("allgather", "recursive-doubling", log2),
        ("allgather", "neighbour-exchange", lambda n: n - 1 if n % 2 else n // 2),
        ("reduce_scatter", "direct", lambda n: 1),
        ("reduce_scatter", "pairwise", lambda n: n - 1),
        ("reduce_scatter", "recursive-halving", log2),
    ],
)
def test_blocks_cross_once_in_that_many_rounds(collective, name, rounds):
    """In an allgather no rank gets a block twice, in a reduce_scatter none gives one away twice."""
    for n in range(2, 70):
        schedule = build(collective, name, n)
        assert len(schedule) == rounds(n)
        moved = np.zeros(n, int)
        for (src, dst), slots in total(schedule).items():
            moved[dst if collective == "allgather" else src] += slots
        assert np.all(moved == n - 1)


def test_bruck_sends_1_2_4_blocks_and_last_what_is_missing():
    sizes = [set(there.values()) for there in messages(build("allgather", "bruck", 13))]
    assert sizes == [{1}, {2}, {4}, {5}]


def test_doubling_and_halving_meet_one_partner_in_powers_of_two():
    doubling = list(messages(build("allgather", "recursive-doubling", 16)))
    assert doubling == [{(r, r ^ d): d for r in range(16)} for d in (1, 2, 4, 8)]
    assert list(messages(build("reduce_scatter", "recursive-halving", 16))) == doubling[::-1]


def test_in_the_neighbour_exchange_only_neighbours_talk_in_pairs():
    for n in (2, 4, 10, 16):
        rounds = list(messages(build("allgather", "neighbour-exchange", n)))
        for there, size in zip(rounds, [1] + [2] * n):
            assert len(there) == n
            assert set(there.values()) == {size}
            assert all((dst - src) % n in (1, n - 1) and (dst, src) in there for src, dst in there)
        for earlier, later in pairwise(rounds[: n - 1]):
            assert not set(earlier) & set(later) or n == 2, "sides change"


def test_the_neighbour_exchange_of_odd_many_is_the_ring():
    for n in (1, 3, 9):
        assert build("allgather", "neighbour-exchange", n).digest == build("allgather", "ring", n).digest


# AllToAll


@pytest.mark.parametrize("name", ["pairwise", "linear"])
def test_blocks_that_go_straight_may_be_of_unequal_size(name):
    for n in (1, 2, 7, 8):
        schedule = build("alltoall", name, n)
        assert schedule.keeps_blocks
        assert all(there == 1 for there in total(schedule).values())
        assert len(total(schedule)) == n * (n - 1)
    assert rounds_of("alltoall", name, 8) == {"pairwise": 7, "linear": 1}[name]


def test_pairwise_has_one_partner_each_way_a_round():
    for there in messages(build("alltoall", "pairwise", 9)):
        for end in (0, 1):
            assert len({ends[end] for ends in there}) == len(there)


@pytest.mark.parametrize("n", [9, 16, 27, 64, 100])
@pytest.mark.parametrize("radix", [2, 3, 4, 8, 64, 1000])
def test_bruck_of_any_radix(n, radix):
    digits = 1
    while radix**digits < n:
        digits += 1
    schedule = build("alltoall", "bruck", n, radix=radix)
    counted = count(schedule)
    if radix**digits == n:
        assert counted.rounds == (radix - 1) * digits
        assert counted.sent == digits * (radix - 1) * n // radix
    if radix >= n:
        assert counted.rounds == counted.sent == n - 1
    assert counted.rounds <= (radix - 1) * digits
    assert counted == find("alltoall", "bruck").closed_form(n, 0, {"radix": radix})
    for there in messages(schedule):
        assert len({src for src, _ in there}) == len(there), "one partner a round"


def test_bruck_is_proved_for_every_radix():
    for n in range(1, 14):
        for radix in range(2, n + 2):
            verify(build("alltoall", "bruck", n, radix=radix)).require()


def test_refuses_a_radix_that_is_no_base():
    with pytest.raises(ValueError, match="radix must be at least 2, got 1"):
        build("alltoall", "bruck", 4, radix=1)
