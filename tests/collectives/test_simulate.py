"""The round-synchronous simulator: closed forms, contention by hand, compact against expanded, bounds."""

import itertools
import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from helpers.library import VARIANTS
from ringleader.collectives import (
    Round,
    Schedule,
    algorithms,
    build,
    copy,
    fold,
    fragment,
    together,
)
from ringleader.collectives.simulate import LogGP, simulate
from ringleader.collectives.simulate import result as results
from ringleader.collectives.topology import topology
from ringleader.collectives.tuning import Choice, Model

ALPHA, GAMMA = 3e-6, 1e-11
BANDWIDTH, LATENCY = 25e9, 1e-6
MB = 1e6


def close(x):
    return pytest.approx(x, rel=1e-12)


def timed(schedule, nbytes, text, **options):
    t = text if not isinstance(text, str) else topology(text, ranks=schedule.n)
    return simulate(schedule, nbytes, t, overhead=ALPHA, gamma=GAMMA, **options)


# Without contention: the textbook's formulas.


@pytest.mark.parametrize("n", [2, 3, 8, 17])
def test_ring_allreduce_on_a_ring(n):
    s = timed(build("allreduce", "ring", n), MB, "ring")
    message = ALPHA + LATENCY + MB / n / BANDWIDTH
    assert s.total == close(2 * (n - 1) * message + (n - 1) * GAMMA * MB / n)
    assert s.per_round() == close([message + GAMMA * MB / n] * (n - 1) + [message] * (n - 1))
    assert [r.times for r in s.rounds] == [n - 1, n - 1]
    assert s.idle == pytest.approx(np.zeros(n), abs=1e-12)


@pytest.mark.parametrize("n", [2, 4, 16, 64])
def test_recursive_doubling_on_a_switch(n):
    s = timed(build("allreduce", "recursive-doubling", n), MB, "switch")
    assert s.total == close(math.log2(n) * (ALPHA + 2 * LATENCY + MB / BANDWIDTH + GAMMA * MB))


@pytest.mark.parametrize("n", [2, 3, 5, 8, 33])
def test_binomial_broadcast_on_a_switch(n):
    s = timed(build("broadcast", "binomial", n), MB, "switch")
    assert s.total == close((n - 1).bit_length() * (ALPHA + 2 * LATENCY + MB / BANDWIDTH))


def test_chain_broadcast_fills_and_empties_its_pipeline():
    n, chunks = 5, 12
    s = timed(build("broadcast", "chain", n, chunks=chunks), MB, "mesh:1x5")
    assert s.per_round() == close([ALPHA + LATENCY + MB / chunks / BANDWIDTH] * (n + chunks - 2))
    assert s.link_bytes.max() == close(MB)


@pytest.mark.parametrize(("collective", "name", "parameters"), VARIANTS)
def test_one_rank_takes_no_time(collective, name, parameters):
    s = timed(build(collective, name, 1, **parameters), MB, "switch")
    assert (s.total, s.bound, s.ratio) == (0, 0, 1)
    assert s.idle.tolist() == [0]
    assert s.bottleneck == ("none", 0, 0)


# Contention, by hand.


def messages(src, dst, n, slots=1, **options):
    return fragment(n, slots, [copy(src, dst, **options)])


def one_round(share, hops, nbytes=MB, bandwidth=BANDWIDTH, starts=1):
    """A message that has 1/share of a link; one of its ends has ``starts`` messages."""
    return close(starts * ALPHA + hops * LATENCY + share * nbytes / bandwidth)


def test_recursive_doubling_on_a_ring_shares_links_at_a_distance():
    """At distance 4 of 8 all go the same way round: four messages on every link."""
    s = timed(build("allreduce", "recursive-doubling", 8), MB, "ring")
    expected = [one_round(share, hops).expected + GAMMA * MB for share, hops in ((1, 1), (2, 2), (4, 4))]
    assert [x for x in s.per_round() if x] == close(expected)


@pytest.mark.parametrize(("oversubscription", "share"), [(1, 1), (2, 2), (4, 4)])
def test_oversubscribed_fat_tree(oversubscription, share):
    r = np.arange(128)
    s = timed(messages(r, (r + 64) % 128, 128), MB, f"fat-tree:k=8,oversubscription={oversubscription}")
    assert s.total == one_round(share, 6)
    assert s.bottleneck.nbytes == share * MB


def test_incast_on_a_switch_waits_for_the_last_cable():
    s = timed(messages(range(1, 6), 0, 6), MB, "switch")
    assert s.total == one_round(5, 2, starts=5)
    assert s.bottleneck == ("switch 0 -> host 0", 5 * MB, close(5 * MB / BANDWIDTH / s.total))
    assert s.topology.link_name(s.rounds[0].link) == "switch 0 -> host 0"


def test_star_has_a_cable_for_each_spoke_and_passes_through_the_hub():
    assert timed(messages(range(1, 6), 0, 6), MB, "star").total == one_round(1, 1, starts=5)
    assert timed(messages([0, 2, 3, 4, 5], 1, 6), MB, "star").total == one_round(5, 2, starts=5)


@pytest.mark.parametrize(("ports", "starts"), [(1, 5), (2, 3), (4, 2), (5, 1), (math.inf, 1)])
def test_several_messages_of_a_rank_start_in_turn(ports, starts):
    for schedule in (messages(range(1, 6), 0, 6), messages(0, range(1, 6), 6)):
        assert timed(schedule, MB, "star", ports=ports).total == one_round(1, 1, starts=starts)
    spread = messages([0, 1, 2], [3, 4, 5], 6)
    assert timed(spread, MB, "switch", ports=ports).total == one_round(1, 2)


@pytest.mark.parametrize(("collective", "name", "parameters"), VARIANTS)
def test_on_a_switch_it_is_the_flat_model(collective, name, parameters):
    """Where all messages of a round are alike; otherwise the flat model takes each maximum by itself."""
    nbytes = 0 if collective == "barrier" else 8_000_000
    schedule = build(collective, name, 8, **parameters)
    flat = Model(alpha=ALPHA, beta=1 / BANDWIDTH, gamma=GAMMA)
    predicted = flat.predict(collective, Choice.of(name, parameters), 8, nbytes).seconds
    found = timed(schedule, nbytes, "switch:8,latency=0us").total
    assert found <= predicted * (1 + 1e-12)
    if name in ("ring", "recursive-doubling", "halving-doubling", "pairwise", "bruck", "direct", "two-shot"):
        assert found == close(predicted)


@pytest.mark.parametrize(("rails", "share"), [(8, 1), (4, 2), (2, 4), (1, 8)])
def test_islands_share_rails(rails, share):
    r = np.arange(16)
    s = timed(messages(r, (r + 8) % 16, 16), MB, f"islands:rails={rails}")
    assert s.total == one_round(share, 4, bandwidth=50e9)
    inside = timed(messages(r, r ^ 1, 16), MB, f"islands:rails={rails}")
    assert inside.total == one_round(1, 2, bandwidth=450e9)


def test_message_waits_for_its_worst_link_only():
    """Ranks 0 and 1 of a ring both send to 2; rank 3 sends elsewhere and is done earlier."""
    s = timed(messages([0, 1, 3], [2, 2, 4], 8), MB, "ring")
    assert s.total == one_round(2, 2, starts=2)
    done = [one_round(2, 2, starts=2).expected, one_round(2, 1, starts=2).expected, one_round(1, 1).expected]
    busy = [done[0], done[1], done[0], done[2], done[2], 0, 0, 0]
    assert s.idle == pytest.approx(1 - np.array(busy) / s.total, abs=1e-12)
    assert s.link_bytes[:3].tolist() == [MB, 2 * MB, 0]


def test_what_travels_together_starts_once_and_local_copies_are_free():
    slots = together(copy([0, 0], [1, 1], slot=[0, 2]), copy(1, 1, slot=1, to=3))
    assert timed(fragment(2, 4, [slots]), MB, "ring:2").total == one_round(0.5, 1)
    apart = together(
        copy(0, 1, slot=0), copy(0, 1, slot=2)
    )  # two groups are two messages, as lower makes them
    assert timed(fragment(2, 4, [apart]), MB, "ring:2").total == one_round(0.5, 1, starts=2)
    assert timed(fragment(2, 4, [copy(0, 0, to=1)]), MB, "ring:2").total == 0


def test_folds_cost_where_they_happen():
    rounds = [together(fold(1, 0, order=1), fold(2, 0, order=2)), fold(0, 0, slot=0)]
    s = timed(fragment(3, 1, rounds), MB, "star:3")
    assert s.per_round() == close([one_round(1, 1, starts=2).expected + 2 * GAMMA * MB, GAMMA * MB])


def test_slots_of_an_n_block_buffer_are_shares_of_it():
    for collective in ("allgather", "reduce_scatter"):
        s = timed(build(collective, "ring", 5), MB, "ring")
        fold_time = GAMMA * MB / 5 if collective == "reduce_scatter" else 0
        assert s.total == close(4 * (one_round(0.2, 1).expected + fold_time))


# The compact form is the schedule.


def expanded(schedule):
    return replace(schedule, rounds=tuple(Round(groups) for groups in schedule.expand()), name="unrolled")


PLACES = [("torus:8x6x3", "random:1"), ("fat-tree:oversubscription=2", "cyclic")]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("collective", "name", "parameters"), VARIANTS)
def test_compact_form_equals_expanded_form(collective, name, parameters):
    for n, (text, placement) in zip((2, 3, 8, 13, 31, 60, 97, 130), PLACES * 4):
        schedule = build(collective, name, n, n // 2, **parameters)
        a, b = (timed(s, MB, text, placement=placement) for s in (schedule, expanded(schedule)))
        assert a.per_round() == close(b.per_round())
        assert a.link_bytes == close(b.link_bytes)
        assert a.idle == pytest.approx(b.idle, abs=1e-9)
        assert len(a.per_round()) == len(schedule)


def test_a_pipeline_is_as_many_steps_as_it_has_shapes():
    """Rank 3 is slow: rounds before it has a part, those in which it receives, its last send, the last round."""
    n, chunks = 6, 500
    s = timed(build("broadcast", "chain", n, chunks=chunks), MB, "ring", slow={3: 2.0})
    assert [r.times for r in s.rounds] == [2, chunks, 1, 1]
    widths = fragment(
        4, 9, [copy([0, 1, 2], [1, 2, 3], slot=[4, -2, 0], width=2).repeat(9, shift=-3, wrap=False)]
    )
    compact, single = (timed(s, MB, "ring").per_round() for s in (widths, expanded(widths)))
    assert len(compact) == 9  # in most of which all transfers have left the window
    assert compact[compact > 0] == close(single)


@pytest.mark.parametrize("shift", [-3, -1, 1, 2])
def test_repetitions_that_leave_the_window(shift):
    rng = np.random.default_rng(shift + 10)
    src, dst = rng.integers(0, 9, (2, 40))
    slot, to = rng.integers(-12, 24, (2, 40))
    shifted = copy(src, dst, slot=slot, to=to, width=2).repeat(14, shift=shift, wrap=False)
    steady = copy([0, 4], [5, 3], slot=[1, 2]).repeat(14)
    s = fragment(9, 12, [together(shifted, steady)])
    assert timed(s, MB, "mesh:3x3").per_round() == close(timed(expanded(s), MB, "mesh:3x3").per_round())


# No schedule beats the bound.

TOPOLOGIES = [
    "switch", "star", "ring", "mesh", "torus", "hypercube", "fat-tree", "fat-tree:oversubscription=2",
    "dragonfly", "islands:gpus=4,rails=2", "islands:gpus=2,inside=1G",
]  # fmt: skip


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("collective", "name", "parameters"), VARIANTS)
def test_nothing_is_faster_than_the_bound(collective, name, parameters):
    for n in (2, 7, 12):
        for text in TOPOLOGIES:
            t = topology(text, ranks=n)
            schedule = build(collective, name, n, n // 3, **parameters)
            for nbytes, placement, options in (
                (0, "block", {}),
                (64 * MB, "cyclic", {"overhead": 0.0, "gamma": 0.0}),
                (64 * MB, "random", {"overhead": 0.0, "gamma": 0.0, "model": "loggp"}),
                (64 * MB, "block", {"loggp": LogGP(o=2e-6, G=1e-12), "model": "loggp"}),
            ):
                s = simulate(schedule, nbytes, t, placement=placement, **options)
                assert s.bound > 0
                assert s.ratio >= 1 - 1e-12, (n, text, nbytes, placement, options)


def free(schedule, nbytes, text):
    t = topology(text, ranks=schedule.n)
    return simulate(schedule, nbytes, t, overhead=0.0, gamma=0.0)


def test_bounds_by_hand():
    gb = 1e9
    r = LATENCY
    on_ring = {
        name: free(build(name, "ring", 8), gb, "ring:bandwidth=1G") for name in ("allreduce", "allgather")
    }
    # all 8 hosts send on two cables each, at least 2 * 7 buffers in all; the ring itself uses one of the two
    assert on_ring["allreduce"].bound == close(r + 2 * 7 / 16)
    assert on_ring["allreduce"].ratio == pytest.approx(2, rel=1e-4)
    assert on_ring["allgather"].bound == close(r + 7 / 8 / 2)
    assert free(build("reduce_scatter", "ring", 8), gb, "switch:bandwidth=1G").bound == close(2 * r + 7 / 8)
    assert free(build("reduce_scatter", "ring", 8), gb, "switch:bandwidth=1G").ratio == pytest.approx(
        1, rel=1e-4
    )
    assert free(build("broadcast", "binomial", 8), gb, "switch:bandwidth=1G").bound == close(2 * r + 1)
    islands = "islands:gpus=4,rails=1,inside=9G,between=1G"
    # half of the ranks' blocks for the other half: 4 * 4 blocks of 1/8 over one rail
    assert free(build("alltoall", "bruck", 8), gb, islands).bound == close(2 * r + 16 / 8)
    assert free(build("allreduce", "ring", 8), gb, islands).bound == close(2 * r + 1)
    assert free(build("exscan", "distance-doubling", 8), gb, islands).bound == close(2 * r + 1)
    assert free(build("barrier", "dissemination", 8), 0, "switch").bound == close(2 * r)
    assert free(fragment(2, 1, [copy(0, 1)]), gb, "switch").bound == 0


# Stragglers, jitter, faults, records.


def test_stragglers_slow_their_start_up_and_their_folding():
    schedule = build("allreduce", "ring", 4)
    s = timed(schedule, MB, "ring", slow={2: 5.0})
    message = 5 * ALPHA + LATENCY + MB / 4 / BANDWIDTH
    assert s.per_round() == close([message + 5 * GAMMA * MB / 4] * 3 + [message] * 3)
    assert s.idle[0] > s.idle[2] == pytest.approx(0, abs=1e-12)
    assert timed(schedule, MB, "ring", slow={2: 1.0}).total == timed(schedule, MB, "ring").total


@pytest.mark.parametrize("model", ["rounds", "loggp"])
def test_jitter_is_reproducible_and_only_slows(model):
    schedule = build("allreduce", "ring", 8)
    runs = [timed(schedule, MB, "ring", jitter=0.1, seed=seed, model=model) for seed in (1, 1, 2)]
    assert runs[0].total == runs[1].total != runs[2].total
    still = timed(schedule, MB, "ring", model=model)
    assert min(r.total for r in runs) > still.total
    assert runs[0].link_bytes.tolist() == still.link_bytes.tolist()


def test_jitter_has_the_mean_it_says():
    """One message a round: the mean of 20,000 exponentials is 1 within five standard deviations."""
    schedule = fragment(2, 1, [copy(0, 1).repeat(20_000)])
    times = timed(schedule, MB, "ring", jitter=0.5).per_round()
    still = one_round(1, 1).expected
    assert abs(times.mean() / still - 1.5) < 5 * 0.5 / math.sqrt(20_000)


def test_a_cut_link_that_is_needed_is_named():
    t = topology("ring:8").without([("host 2", "host 3")])
    with pytest.raises(ValueError, match="rank 2 cannot send to rank 3: host 2 -> host 3 is cut"):
        timed(build("allreduce", "ring", 8), MB, t)
    with pytest.raises(ValueError, match="rank 2 cannot send to rank 3"):
        timed(build("allreduce", "ring", 8), MB, t, model="loggp")
    assert timed(messages([3, 4], [4, 5], 8), MB, t).total == one_round(1, 1)
    with pytest.raises(ValueError, match="host 1 -> host 2 is cut"):
        timed(messages(0, 1, 2), MB, topology("ring:8").without(["host 1 -> host 2"]), placement=[0, 3])


def test_a_degraded_cable_slows_what_uses_it():
    t = topology("ring:4").degraded({("host 1", "host 2"): 0.25})
    s = timed(build("allreduce", "ring", 4), MB, t)
    message = ALPHA + LATENCY + MB / BANDWIDTH
    assert s.per_round() == close([message + GAMMA * MB / 4] * 3 + [message] * 3)
    assert s.bottleneck.link == "host 1 -> host 2"
    assert all(s.topology.link_name(r.link) == "host 1 -> host 2" for r in s.rounds)


def test_placement_decides_which_links_are_shared():
    schedule = messages([0, 1], [2, 3], 4)
    assert timed(schedule, MB, "islands:gpus=2").total == one_round(1, 4, bandwidth=50e9)
    assert timed(schedule, MB, "islands:gpus=2", placement="cyclic").total == one_round(1, 2, bandwidth=450e9)
    assert timed(schedule, MB, "islands:gpus=2", placement=[0, 2, 1, 3]).total == one_round(
        1, 2, bandwidth=450e9
    )
    with pytest.raises(ValueError, match="several ranks"):
        timed(schedule, MB, "islands:gpus=2", placement=[0, 0, 1, 2])


@pytest.mark.parametrize("model", ["rounds", "loggp"])
@pytest.mark.parametrize("name", ["ring", "recursive-doubling", "tree", "hierarchical"])
def test_recorded_events_add_up(model, name):
    schedule = build("allreduce", name, 6)
    plain = timed(schedule, MB, "torus", model=model)
    s = timed(schedule, MB, "torus", model=model, record=True)
    assert s.total == close(plain.total)
    assert plain.events == []
    sent = sum(e.nbytes for e in s.events if e.kind == "send")
    assert sent == close(sum(e.nbytes for e in s.events if e.kind == "recv"))
    assert sum(e.end - e.start for e in s.events if e.kind == "reduce") == close(
        GAMMA * sum(e.nbytes for e in s.events if e.kind == "reduce")
    )
    assert min(e.start for e in s.events) == 0
    assert max(e.end for e in s.events) == close(s.total)
    for rank in range(6):
        mine = [e for e in s.events if e.rank == rank]
        if model == "rounds":
            waited = sum(e.end - e.start for e in mine if e.kind == "wait")
            assert waited / s.total == pytest.approx(s.idle[rank], abs=1e-9)
        else:  # a CPU does one thing at a time
            work = sum(e.end - e.start for e in mine if e.kind != "wait")
            assert 1 - work / s.total == pytest.approx(s.idle[rank], abs=1e-9)
            spans = sorted((e.start, e.end) for e in mine)
            assert all(a[1] <= b[0] + 1e-15 for a, b in itertools.pairwise(spans))
    for a in (e for e in s.events if e.kind == "send"):
        assert any(
            (b.kind, b.rank, b.peer, b.round) == ("recv", a.peer, a.rank, a.round) for b in s.events
        ) or (model == "loggp")


def test_too_many_events_are_refused(monkeypatch):
    monkeypatch.setattr(results, "MOST_EVENTS", 100)
    with pytest.raises(ValueError, match="more than 100 events by round"):
        timed(build("allreduce", "ring", 8), MB, "ring", record=True)


def test_summary_is_json_and_text():
    s = timed(build("allreduce", "ring", 4), MB, "torus", placement=[3, 2, 1, 0])
    d = json.loads(json.dumps(s.as_dict()))
    assert (d["collective"], d["algorithm"], d["ranks"], d["rounds"]) == ("allreduce", "ring", 4, 6)
    assert d["placement"] == [3, 2, 1, 0]
    assert d["ratio"] == s.ratio
    assert "allreduce 'ring' on 4 ranks, 977 KiB, on torus:2x2x1 (rounds)" in str(s)
    assert s.bottleneck.link in str(s)
    part = timed(fragment(2, 1, [copy(0, 1)]), MB, "ring")
    assert json.loads(json.dumps(part.as_dict()))["ratio"] is None
    assert "fragment" in str(part)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": "magic"}, "unknown model 'magic'; known: rounds, loggp"),
        ({"nbytes": -1}, r"nbytes must be a number from 0 to 4.61169e\+18, got -1"),
        ({"overhead": -1.0}, "overhead must be a number from 0 "),
        ({"overhead": 1e7}, "overhead must be a number from 0 "),
        ({"gamma": float("inf")}, "gamma must be a number from 0 "),
        ({"gamma": None}, "gamma must be a number from 0 "),
        ({"seed": -1}, "seed must be a number from 0 "),
        ({"nbytes": 1 << 63}, "nbytes must be a number from 0 "),
        ({"loggp": LogGP()}, "loggp is for model loggp only"),
        ({"model": "loggp", "ports": 7}, "ports are for model rounds only"),
        ({"ports": 0}, "ports must be a number from 1 to inf, got 0"),
        ({"jitter": float("nan")}, "jitter must be a number from 0 "),
        ({"slow": {4: 2.0}}, r"slow names rank 4, but ranks are 0 \.\.\. 3"),
        ({"slow": {1: 0.0}}, "factor of rank 1 must be a number from 1e-06 to"),
    ],
)
def test_wrong_options_are_refused(options, says):
    given = {"nbytes": MB, **options}
    with pytest.raises(ValueError, match=says):
        simulate(build("allreduce", "ring", 4), topology=topology("ring:4"), **given)


def test_a_barrier_moves_nothing_whatever_its_size():
    for name in algorithms("barrier"):
        barrier = build("barrier", name, 8)
        for model in ("rounds", "loggp"):
            s, empty = (timed(barrier, nbytes, "switch", model=model) for nbytes in (MB, 0))
            assert (s.total, s.nbytes, s.link_bytes.sum()) == (empty.total, 0, 0)


def test_schedules_without_rounds_and_rounds_without_transfers():
    t = topology("ring:3")
    assert simulate(Schedule(3, 1, ()), MB, t).total == 0
    assert simulate(Schedule(3, 1, (Round((), 4), copy([], []))), MB, t).per_round().tolist() == []


BIG = """
import resource
from ringleader.collectives import build
from ringleader.collectives.simulate import simulate
from ringleader.collectives.topology import topology
n, nbytes = 131_072, 1 << 30
h = simulate(build("allreduce", "hierarchical", n, group=8), nbytes, topology("fat-tree", n))
r = simulate(build("allreduce", "ring", n), nbytes, topology("torus", n))
print(len(h.per_round()), h.link_bytes.max(), r.total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_131072_ranks_in_little_memory():
    done = subprocess.run(
        [sys.executable, "-c", BIG], capture_output=True, text=True, check=True, timeout=100
    )
    rounds, most, ring, memory = map(float, done.stdout.split())
    n, slot = 131_072, (1 << 30) / 131_072
    assert rounds == 2 * 7 + 2 * (n // 8 - 1)
    assert most == 2 * (n - 1) * slot  # every host sends as much as in a ring
    # the longest way in a row-major walk wraps all three dimensions, and no link is shared
    assert ring == pytest.approx(2 * (n - 1) * (4e-6 + slot / BANDWIDTH) + (n - 1) * slot / 50e9, rel=1e-9)
    assert memory < 2e9
