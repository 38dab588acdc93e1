"""Prices: never below what is possible, never by building, and term by term what the papers say."""

import math
import sys
from fractions import Fraction

import numpy as np
import pytest
from helpers.library import VARIANTS
from ringleader.collectives import COLLECTIVES, build, find, fragment, registry
from ringleader.collectives.bounds import bounds
from ringleader.collectives.cost import closed_cost, cost, cost_of
from ringleader.collectives.library.allgather import ring as ring_rounds

MOST = 130  # ranks
BUILT = (1, 2, 3, 4, 7, 8, 13, 24)  # rank counts for which schedules are built here
SIZE = 3 << 30  # bytes


def roots(collective, n):
    return sorted({0, n // 3, n - 1}) if COLLECTIVES[collective].rooted else [0]


def ports(schedule):
    """The most ranks that one rank sends to, or receives from, in a round."""
    most = 1
    for groups in schedule.expand():
        pairs = np.concatenate([np.stack([g.src, g.dst], axis=1) for g in groups] or [np.empty((0, 2), int)])
        pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
        if len(pairs):
            most = max(most, *(int(np.bincount(end).max()) for end in pairs.T))
    return most


@pytest.mark.parametrize(("collective", "name", "parameters"), VARIANTS)
def test_no_price_is_below_the_bounds(collective, name, parameters):
    for n in range(1, MOST + 1):
        if n not in BUILT and closed_cost(collective, name, n, SIZE, **parameters) is None:
            continue
        for root in roots(collective, n):
            price = cost(collective, name, n, SIZE, root, **parameters)
            allowed = ports(build(collective, name, n, root, **parameters)) if n in BUILT else n
            least = bounds(collective, n, price.nbytes, allowed)
            for field in least._fields:
                assert getattr(price, field) >= getattr(least, field), (n, root, field, price, least)
            assert all(1 <= factor < math.inf for factor in price.factors(least).values())


@pytest.mark.parametrize(("collective", "name", "parameters"), VARIANTS)
def test_a_closed_form_builds_nothing(collective, name, parameters, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("built")

    counted = 0
    for n in (1, 6, 8):
        want = cost_of(build(collective, name, n, **parameters), SIZE)
        cost_module = sys.modules[cost.__module__]  # the package exports a function of that name
        with monkeypatch.context() as patch:
            for where, what in ((cost_module, "build"), (cost_module, "count"), (registry, "_build")):
                patch.setattr(where, what, forbidden)
            price = closed_cost(collective, name, n, SIZE, **parameters)
            if price is not None:
                assert price == cost(collective, name, n, SIZE, **parameters)
                assert price.closed
                assert price._replace(closed=False) == want
                counted += 1
    assert counted or find(collective, name).count is None


def test_without_a_closed_form_the_schedule_is_counted(monkeypatch):
    known = find("allreduce", "ring")
    unknown = registry.Algorithm(
        known.collective, "ring", known.rounds, known.slots, known.scratch, False, None, {}, {}
    )
    monkeypatch.setitem(registry._algorithms, ("allreduce", "ring"), unknown)
    assert closed_cost("allreduce", "ring", 5, 100) is None
    price = cost("allreduce", "ring", 5, 100)
    assert not price.closed
    assert price == cost_of(build("allreduce", "ring", 5), 100)
    assert (price.rounds, price.sent, price.reduced) == (8, 160.0, 80.0)


@pytest.mark.parametrize(
    ("collective", "name", "per_block"),
    [("allgather", "ring", 8), ("scatter", "linear", 8), ("broadcast", "chain", 1)],
)
def test_bytes_are_those_of_the_larger_buffer(collective, name, per_block):
    """Of n blocks where there are as many, of the vector otherwise."""
    counted = cost_of(build(collective, name, 8), 4096)
    slots = build(collective, name, 8).slots * per_block
    assert counted.sent * slots / 4096 == {"ring": 7, "linear": 7, "chain": 8}[name]


def test_a_barrier_moves_nothing():
    price = cost("barrier", "dissemination", 8, 4096)
    assert price[:7] == (3, 3, 0, 0, 0, 0, 0)
    assert set(price.factors(bounds("barrier", 8, 4096)).values()) == {1.0}


def test_fragments_have_a_price():
    assert cost_of(fragment(4, 4, ring_rounds(4)), 400)[:4] == (3, 3, 300.0, 0.0)


def test_time_is_the_sum_of_its_terms():
    price = cost("allreduce", "ring", 4, 4000)
    assert price.terms(1.0, 10.0, 100.0) == (6.0, 60000.0, 300000.0)
    assert price.time(1.0, 10.0, 100.0) == 360006.0


def test_factors_stay_finite():
    ring = cost("allreduce", "ring", 8, 800)
    assert ring.factors(bounds("allreduce", 8, 800)) == {
        "rounds": 14 / 3, "starts": 14 / 3, "sent": 1.0, "reduced": 1.0, "path_sent": 1.0, "path_reduced": 1.0,
    }  # fmt: skip
    assert set(cost("allreduce", "ring", 8, 0).factors(bounds("allreduce", 8, 0)).values()) == {14 / 3, 1.0}
    wasteful = ring._replace(reduced=1600.0).factors(bounds("broadcast", 8, 800))
    assert wasteful["reduced"] == 3.0  # nothing need be reduced; two buffers were


def test_several_messages_in_a_round_are_started_one_after_the_other():
    shot = cost("allreduce", "one-shot", 65, 1024)
    assert (shot.rounds, shot.starts) == (1, 64)
    assert shot.time(1.0, 0.0, 0.0) == 64.0
    assert shot.factors(bounds("allreduce", 65, 1024))["starts"] == 64 / 7
    assert cost("allgather", "recursive-doubling", 65, 1024).starts == 6 + 64  # the last rank serves 64


def test_several_ports_need_fewer_rounds():
    for n, rounds in ((1, 0), (2, 1), (3, 1), (9, 2), (10, 3), (27, 3)):
        assert bounds("allreduce", n, 1, ports=2).rounds == rounds
    assert [bounds("broadcast", n, 1).rounds for n in (1, 2, 3, 4, 5, 8, 9)] == [0, 1, 2, 2, 3, 3, 4]


def test_every_collective_has_bounds_and_a_single_rank_needs_nothing():
    for collective in COLLECTIVES:
        assert bounds(collective, 1, 4096) == (0, 0, 0, 0, 0, 0)
        assert bounds(collective, 5, 4096)[:2] == (3, 3)


def test_known_bounds():
    """Of 8 ranks and 8 bytes: eighths."""
    table = {
        "allreduce": (14, 7, 14), "broadcast": (8, 0, 8), "reduce": (8, 7, 8), "allgather": (7, 0, 7),
        "reduce_scatter": (7, 7, 7), "gather": (1, 0, 7), "scatter": (7, 0, 7), "alltoall": (7, 0, 7),
        "scan": (8, 7, 8), "exscan": (8, 6, 8), "barrier": (0, 0, 0),
    }  # fmt: skip
    for collective, (sent, reduced, path_sent) in table.items():
        assert bounds(collective, 8, 8)[2:] == (sent, reduced, path_sent, reduced), collective
    assert set(table) == set(COLLECTIVES)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: cost("allreduce", "rings", 4, 1), "unknown allreduce algorithm 'rings'"),
        (lambda: cost("allreduced", "ring", 4, 1), "unknown collective 'allreduced'"),
        (lambda: cost("allreduce", "ring", 0, 1), "at least 1, got 0"),
        (lambda: cost("broadcast", "chain", 4, 1, root=4), "root 4 is out of range"),
        (lambda: cost("broadcast", "chain", 4, 1, chunk=4), "not chunk"),
        (lambda: cost("broadcast", "chain", 4, 1, chunks=0), "chunks must be at least 1, got 0"),
        (lambda: cost("broadcast", "k-nomial", 4, 1, radix=1), "radix must be at least 2, got 1"),
        (lambda: cost("broadcast", "chain", 4, 1, chunks=2**20 + 1), "chunks must be at most 1048576"),
        (lambda: cost("broadcast", "chain", 4, 1, chunks=2.0), "chunks must be a whole number, got 2.0"),
        (lambda: cost("broadcast", "k-nomial", 100_000, 1, radix=1), "radix must be at least 2, got 1"),
        (lambda: cost("allreduce", "torus-2d", 100_000, 1, ports=3), "ports must be 1, 2 or 4, got 3"),
        (lambda: cost("allreduce", "generalised", 100_000, 1, latency=-1), "latency must be at least 0"),
        (lambda: cost("allreduce", "ring", 8.0, 1), "rank count must be a whole number, got 8.0"),
        (lambda: cost("allreduce", "ring", True, 1), "rank count must be a whole number, got True"),
        (lambda: cost("broadcast", "chain", 8, 1, root=1.0), "root must be a whole number, got 1.0"),
        (lambda: cost("broadcast", "bine", 5000, 1), "no closed form for 5000 ranks"),
        (lambda: cost("allreduce", "ring", 4, -1), "got -1"),
        (lambda: cost("allreduce", "ring", 4, 1.5), "got 1.5"),
        (lambda: bounds("allreduce", 4, -1), "nbytes=-1"),
        (lambda: bounds("allreduce", 4, 1, ports=0), "ports=0"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(call, text):
    with pytest.raises(ValueError) as caught:
        call()
    assert text in str(caught.value)


# What the papers say, term by term. p: ranks; n: bytes of the larger buffer; each entry is (collective,
# algorithm, parameters, where it holds, coefficients of alpha, of n beta and of n gamma as functions of p).

TWO = (2, 4, 8, 16, 64, 128)  # the paper assumes, or is exact for, powers of two
ANY = (2, 3, 5, 6, 8, 12, 13, 31, 64, 100, 130)


def lg(p):
    return (p - 1).bit_length()


def share(p):
    return Fraction(p - 1, p)


def none(p):
    return 0


# Thakur, Rabenseifner and Gropp, "Optimization of Collective Communication Operations in MPICH" (2005)
THAKUR = [
    # 4.1 Allgather
    ("allgather", "ring", {}, ANY, lambda p: p - 1, share, none),
    ("allgather", "recursive-doubling", {}, TWO, lg, share, none),
    ("allgather", "bruck", {}, ANY, lg, share, none),
    # 4.2 Broadcast
    ("broadcast", "binomial", {}, ANY, lg, lg, none),
    ("broadcast", "scatter-allgather-doubling", {}, TWO, lambda p: 2 * lg(p), lambda p: 2 * share(p), none),
    ("broadcast", "scatter-allgather-ring", {}, ANY, lambda p: lg(p) + p - 1, lambda p: 2 * share(p), none),
    # 4.3 All-to-all. Pairwise: n beta in the paper, whose n is what leaves a rank; ours counts its own block too.
    ("alltoall", "bruck", {}, TWO, lg, lambda p: Fraction(lg(p), 2), none),
    ("alltoall", "pairwise", {}, ANY, lambda p: p - 1, share, none),
    # 4.4 Reduce-scatter
    ("reduce_scatter", "recursive-halving", {}, TWO, lg, share, share),
    ("reduce_scatter", "pairwise", {}, ANY, lambda p: p - 1, share, share),
    # 4.5 Reduce and Allreduce
    ("reduce", "binomial", {}, ANY, lg, lg, lg),
    ("reduce", "reduce-scatter-gather", {}, TWO, lambda p: 2 * lg(p), lambda p: 2 * share(p), share),
    ("allreduce", "tree", {}, ANY, lambda p: 2 * lg(p), lambda p: 2 * lg(p), lg),
    ("allreduce", "recursive-doubling", {}, TWO, lg, lg, lg),
    ("allreduce", "halving-doubling", {}, TWO, lambda p: 2 * lg(p), lambda p: 2 * share(p), share),
    # 5 Further optimisation of Allreduce and Reduce: the ring
    ("allreduce", "ring", {}, ANY, lambda p: 2 * (p - 1), lambda p: 2 * share(p), share),
]

# Chan, Heimlich, Purkayastha and van de Geijn, "Collective communication: theory, practice, and experience"
# (2007), under the paper's names of the algorithms
CHAN = [
    ("broadcast", "binomial", {}, ANY, lg, lg, none),  # MST broadcast
    ("reduce", "binomial", {}, ANY, lg, lg, lg),  # MST reduce(-to-one)
    ("scatter", "binomial", {}, ANY, lg, share, none),  # MST scatter
    ("gather", "binomial", {}, ANY, lg, share, none),  # MST gather
    ("allgather", "ring", {}, ANY, lambda p: p - 1, share, none),  # bucket allgather
    ("reduce_scatter", "ring", {}, ANY, lambda p: p - 1, share, share),  # bucket reduce-scatter
    ("allgather", "recursive-doubling", {}, TWO, lg, share, none),  # bidirectional exchange allgather
    ("reduce_scatter", "recursive-halving", {}, TWO, lg, share, share),  # bidirectional exchange
    ("allreduce", "recursive-doubling", {}, TWO, lg, lg, lg),  # bidirectional exchange allreduce
    # composed, short vectors: MST reduce, MST broadcast
    ("allreduce", "tree", {}, ANY, lambda p: 2 * lg(p), lambda p: 2 * lg(p), lg),
    # composed, long vectors: MST scatter and bucket allgather; bucket reduce-scatter and bucket allgather
    ("broadcast", "scatter-allgather-ring", {}, ANY, lambda p: lg(p) + p - 1, lambda p: 2 * share(p), none),
    ("allreduce", "ring", {}, ANY, lambda p: 2 * (p - 1), lambda p: 2 * share(p), share),
    # composed, on hypercubes: bidirectional-exchange reduce-scatter and MST gather (reduce), or allgather
    ("reduce", "reduce-scatter-gather", {}, TWO, lambda p: 2 * lg(p), lambda p: 2 * share(p), share),
    ("allreduce", "halving-doubling", {}, TWO, lambda p: 2 * lg(p), lambda p: 2 * share(p), share),
]


def pipelined(chunks, steps):
    """So many steps of one chunk each."""
    return steps, lambda p: Fraction(steps(p), chunks)


OTHERS = [
    # Pjesivac-Grbovic et al., "Performance analysis of MPI collective operations" (2007), pipeline
    *(
        ("broadcast", "chain", {"chunks": c}, ANY, *pipelined(c, lambda p, c=c: p + c - 2), none)
        for c in (1, 2, 8)
    ),
    # Träff, "Optimal broadcast schedules in logarithmic time" (2023): ceil(lg p) - 1 + chunks rounds
    *(
        ("broadcast", "circulant", {"chunks": c}, ANY, *pipelined(c, lambda p, c=c: lg(p) + c - 1), none)
        for c in (1, 2, 8)
    ),
    # Hensgen, Finkel and Manber, "Two algorithms for barrier synchronization" (1988)
    ("barrier", "dissemination", {}, ANY, lg, none, none),
]
PAPERS = [
    pytest.param(*row, id=f"{source}-{row[0]}-{row[1]}-{row[2]}")
    for source, rows in (("thakur", THAKUR), ("chan", CHAN), ("others", OTHERS))
    for row in rows
]


@pytest.mark.parametrize(("collective", "name", "parameters", "where", "alpha", "beta", "gamma"), PAPERS)
def test_the_papers_coefficients(collective, name, parameters, where, alpha, beta, gamma):
    for p in where:
        known = find(collective, name)
        slots = known.slots(**known.arguments(p, 0, parameters))
        n = p * slots * 1024  # whole bytes everywhere, so floats are exact
        price = cost(collective, name, p, n, **parameters)
        terms = [price.time(*unit) for unit in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
        found = [Fraction(terms[0]), Fraction(terms[1]) / n, Fraction(terms[2]) / n]
        assert found == [alpha(p), beta(p), gamma(p)], f"p={p}"
