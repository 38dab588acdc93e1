"""What the research algorithms promise beyond being right: rounds, bytes, partners, distances, sizes."""

import numpy as np
import pytest
from helpers.traffic import log2, messages
from ringleader.collectives import Schedule, build, count, find, simulate, topology, verify
from ringleader.collectives.collective import ALLREDUCE
from ringleader.collectives.library import swing_torus
from ringleader.collectives.library.circulant import base_blocks, receive_schedule, skips
from ringleader.collectives.library.generalised import balanced_tree
from ringleader.collectives.library.swing import distance, partner, steps, tree
from ringleader.collectives.schedule import fold

MOST = 130


def most_partners(schedule):
    """The most ranks that one rank sends to in a round."""
    most = 0
    for found in messages(schedule):
        senders = [src for src, _ in found]
        most = max([most, *(senders.count(r) for r in set(senders))])
    return most


def hops(schedule):
    """Slots times the ranks they pass on the ring, all messages together."""
    n = schedule.n
    return sum(
        slots * min((dst - src) % n, (src - dst) % n)
        for found in messages(schedule)
        for (src, dst), slots in found.items()
    )


# Circulant graphs


@pytest.mark.parametrize("chunks", [1, 2, 3, 5, 8, 17])
@pytest.mark.parametrize("collective", ["broadcast", "reduce"])
def test_circulant_takes_the_fewest_rounds(collective, chunks):
    for n in range(2, MOST + 1):
        schedule = build(collective, "circulant", n, root=n // 3, chunks=chunks)
        assert len(schedule) == count(schedule).rounds == chunks - 1 + log2(n), n
    assert len(build(collective, "circulant", 1, chunks=chunks)) == 0


@pytest.mark.parametrize("n", [*range(2, MOST + 1), 255, 256, 257, 1000, 2049])
def test_the_receive_schedule_of_a_phase(n):
    skip, base, blocks = skips(n), base_blocks(n), receive_schedule(n)
    q = log2(n)
    assert len(skip) == q + 1
    had = [{int(b) - q} for b in base]
    for k in range(q):
        before = [set(h) for h in had]
        for r in range(1, n):
            block, sender = int(blocks[r, k]), (r - skip[k]) % n
            assert block not in before[r], "no block comes twice"
            assert block in before[sender] or sender == 0, "whoever sends a block has it"
            had[r].add(block)
        assert blocks[skip[k], k] == k, "the root sends a new block in each round"
    for r in range(1, n):
        assert had[r] == {*range(-q, 0), base[r]}


def test_in_the_circulant_broadcast_nobody_sends_or_receives_two_chunks_in_a_round():
    for n in (5, 33, 100, 128):
        for found in messages(build("broadcast", "circulant", n, root=2, chunks=7)):
            assert set(found.values()) == {1}
            for end in (0, 1):
                ranks = [ends[end] for ends in found]
                assert len(set(ranks)) == len(ranks)


def test_chunks_must_be_positive():
    with pytest.raises(ValueError, match="chunks must be at least 1, got 0"):
        build("broadcast", "circulant", 4, chunks=0)


# Allgathers, reduce-scatters and AllReduces that move each byte once


@pytest.mark.parametrize("name", ["circulant", "swing", "pat"])
@pytest.mark.parametrize("collective", ["allgather", "reduce_scatter"])
def test_blocks_move_once_in_the_fewest_rounds(collective, name):
    for n in range(1, MOST + 1):
        found = count(build(collective, name, n))
        assert (found.rounds, found.sent, found.path_sent) == (log2(n), n - 1, n - 1), n


@pytest.mark.parametrize("name", ["circulant", "swing", "generalised"])
def test_allreduces_reach_the_lower_bound_on_bytes(name):
    for n in range(1, 70):
        found = count(build("allreduce", name, n))
        assert (found.rounds, found.sent, found.reduced, found.slots) == (2 * log2(n), 2 * (n - 1), n - 1, n)


# PAT


@pytest.mark.parametrize("aggregate", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("collective", ["allgather", "reduce_scatter"])
def test_pat_keeps_to_its_message_size(collective, aggregate):
    for n in range(2, 70):
        sizes = [
            size
            for found in messages(build(collective, "pat", n, aggregate=aggregate))
            for size in found.values()
        ]
        assert max(sizes) <= aggregate, n


def test_pat_sends_little_far():
    for n in range(2, 70):
        for found in messages(build("allgather", "pat", n)):
            for (src, dst), size in found.items():
                assert (2 * size - 1) * ((dst - src) % n) < n


@pytest.mark.parametrize(
    ("aggregate", "rounds"), [(0, 5), (1, 31), (2, 16), (4, 9), (8, 6), (16, 5), (99, 5)]
)
def test_pat_is_logarithmic_down_to_its_subtrees_and_then_linear(aggregate, rounds):
    for n in (31, 32):
        schedule = build("allgather", "pat", n, aggregate=aggregate)
        assert len(schedule) == count(schedule).rounds == min(rounds, n - 1)


@pytest.mark.parametrize("aggregate", [1, 2, 4])
def test_in_pat_few_blocks_wait_to_be_passed_on(aggregate):
    for n in (16, 31, 64, 100):
        schedule = build("allgather", "pat", n, aggregate=aggregate)
        came, last = {}, {}
        for number, (g,) in enumerate(schedule.expand()):
            for src, dst, block in zip(g.src.tolist(), g.dst.tolist(), g.src_slot.tolist()):
                came[dst, block] = last[src, block] = number
        waiting = np.zeros(len(schedule) + 1, np.int64)
        for block in range(n):
            if (0, block) in came and (0, block) in last:
                waiting[came[0, block] : last[0, block]] += 1
        assert waiting.max() <= aggregate * log2(n), n


# Swing


def test_swing_distances_are_the_papers():
    assert [distance(s) for s in range(7)] == [1, -1, 3, -5, 11, -21, 43]


def test_swing_partners_are_partners_of_each_other():
    positions = np.arange(-50, 50)
    for step in range(6):
        others = partner(positions, step)
        assert np.all(partner(others, step) == positions)
        assert np.all((others - positions) % 2 == 1), "even ranks meet odd ones"
        assert np.all(abs(others - positions) == abs(distance(step)))


def test_swing_ranks_have_one_partner_a_round_and_two_at_most_with_odd_n():
    for n in range(2, 66):
        assert most_partners(build("allgather", "swing", n)) <= 1 + n % 2, n


def test_swing_meets_the_partners_of_the_paper():
    n, r = 16, np.arange(16)
    rounds = list(messages(build("allreduce", "swing", n)))
    for number, step in enumerate([0, 1, 2, 3, 3, 2, 1, 0]):
        expected = {(int(a), int(b)): n >> (step + 1) for a, b in zip(r, partner(r, step) % n)}
        assert rounds[number] == expected


def test_nearest_partners_first_would_give_ranks_different_bits():
    r = np.arange(8)
    rounds = tuple(fold(r, partner(r, step) % 8) for step in steps(8))
    assert "other" in str(verify(Schedule(8, 1, rounds, ALLREDUCE)))
    assert verify(Schedule(8, 1, rounds[::-1], ALLREDUCE))


def test_swing_on_a_torus_takes_the_dimensions_in_turn():
    """4 x 4, rank 5 = (1, 1): one column back, one row back, one column on, one row on (odd ones look back)."""
    found = [int(there[5]) for there in swing_torus.partners((4, 4))]
    assert found == [4, 1, 5 + 1, 5 + 4]
    for shape in ((2, 8), (4, 4, 4), (1, 16)):
        for there in swing_torus.partners(shape):
            assert np.array_equal(there[there], np.arange(int(np.prod(shape))))


@pytest.mark.parametrize(
    ("name", "where", "links"), [("swing-2d", "torus:8x8", 4), ("swing-3d", "torus:4x4x4", 6)]
)
def test_all_ports_of_a_torus_are_busy(name, where, links):
    """In the first round every rank sends to all its neighbours, a message each."""
    schedule = build("allreduce", name, 64)
    first = next(iter(messages(schedule)))
    assert len(first) == 64 * links
    at = topology(where)
    assert all(len(at.route(src, dst)[0]) == 1 for src, dst in first)
    others = ("ring", "swing", "halving-doubling", "recursive-doubling")
    took = {a: simulate(build("allreduce", a, 64), 1 << 20, at).total for a in (name, *others)}
    assert min(took, key=took.get) == name


# Bine


def test_trees_reach_everyone_once():
    for n in range(1, 600):
        for order in [steps(n)[::-1]] + [steps(n)] * (n % 2 == 0):
            takers = np.concatenate([[0], *(takers for _, takers in tree(n, order))])
            assert sorted(takers % n) == list(range(n)), n


def test_bine_trees_are_shorter_than_binomial_trees():
    for n in (8, 16, 32, 64, 128):
        binomial = hops(build("broadcast", "binomial", n))
        for collective in ("broadcast", "reduce"):
            assert hops(build(collective, "bine", n)) < 0.76 * binomial
    assert hops(build("broadcast", "bine", 128)) < 0.7 * binomial


@pytest.mark.parametrize("name", ["bine", "swing"])
def test_bine_and_swing_move_bytes_less_far_than_recursive_halving(name):
    for n in (8, 16, 32, 64, 128):
        halving = 2 * sum(n * (n >> (step + 1)) * (1 << step) for step in steps(n))
        assert hops(build("allreduce", name, n)) < 0.76 * halving


def test_every_message_of_bine_allreduce_is_one_piece():
    for n in (2, 8, 13, 64):
        for groups in build("allreduce", "bine", n).expand():
            for g in groups:
                assert len(set(zip(g.src.tolist(), g.dst.tolist()))) == len(g.src)


# Generalised AllReduce


def test_generalised_saves_a_round_for_each_step_of_latency():
    for n in range(2, 66):
        for latency in range(9):
            schedule = build("allreduce", "generalised", n, latency=latency)
            assert len(schedule) == count(schedule).rounds == 2 * log2(n) - min(latency, log2(n))


def test_generalised_is_proved_for_every_latency():
    for n in range(1, 34):
        for latency in range(log2(n) + 1):
            verify(build("allreduce", "generalised", n, latency=latency)).require()


def test_generalised_pays_for_rounds_in_bytes():
    closed = find("allreduce", "generalised").count
    for n in [*range(1, 200), 1000, 131_072]:
        sent = [closed(n=n, latency=latency).sent for latency in range(log2(n) + 1)]
        assert sent == sorted(sent)
        assert sent[0] == 2 * (n - 1)
        assert sent[-1] <= n * log2(n), "never more than recursive doubling"


def test_generalised_partners():
    for n in range(2, 40):
        for latency in (0, 1, 2, 9):
            schedule = build("allreduce", "generalised", n, latency=latency)
            one = n & (n - 1) == 0 or latency == 0
            assert most_partners(schedule) <= (1 if one else 4), (n, latency)


def test_balanced_tree_tells_every_place_in_the_fewest_rounds():
    for places in range(1, 70):
        knows = [{i} for i in range(places)]
        rounds = list(balanced_tree(places))
        assert len(rounds) == log2(places)
        for sources, targets in rounds:
            before = [set(k) for k in knows]
            for s, t in zip(sources, targets):
                assert not before[s] & before[t], "nothing is folded twice"
                knows[t] |= before[s]
        assert all(len(k) == places for k in knows)


def test_latency_must_not_be_negative():
    with pytest.raises(ValueError, match="latency must be at least 0, got -1"):
        build("allreduce", "generalised", 4, latency=-1)
