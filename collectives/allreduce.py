"""AllReduce: every rank ends with the fold of all ranks' buffers, bit for bit the same on all of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Round, Schedule, copy, fold, fragment


@algorithm("allreduce", slots=lambda n: n)
def ring(n: int) -> Iterator[Round]:
    """Reduce-scatter, then allgather, both around the ring: 2(n-1) rounds, each sends 1/n of the bytes.

    Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations" (2009).
    """
    yield from ring_reduce_scatter(n)
    yield from ring_allgather(n)


def ring_reduce_scatter(n: int) -> Iterator[Round]:
    """In place over n slots; rank r ends with the whole of slot r + 1."""
    r = np.arange(n)
    yield fold(r, (r + 1) % n, slot=r).repeat(n - 1, shift=-1)


def ring_allgather(n: int) -> Iterator[Round]:
    """In place over n slots; rank r starts with the whole of slot r + 1."""
    r = np.arange(n)
    yield copy(r, (r + 1) % n, slot=(r + 1) % n).repeat(n - 1, shift=-1)


@algorithm("allreduce", ordered=True)
def recursive_doubling(n: int) -> Iterator[Round]:
    """Partners at distance 1, 2, 4, ... exchange whole buffers: about log2(n) rounds.

    Off powers of two, neighbours first pair up until a power of two is left, and are told at the end.
    The lower rank's value stands first, so rank order is kept. Thakur, Rabenseifner and Gropp,
    "Optimization of Collective Communication Operations in MPICH" (2005), section 4.1 and 4.4.
    """
    active = 1 << (n.bit_length() - 1)
    extra = n - active
    pairs = 2 * np.arange(extra)
    yield fold(pairs, pairs + 1, order=-1)
    ranks = np.concatenate([pairs + 1, np.arange(2 * extra, n)])
    i = np.arange(active)
    for j in range(active.bit_length() - 1):
        partner = i ^ (1 << j)
        yield fold(ranks[i], ranks[partner], order=np.where(i < partner, -1, 1))
    yield copy(pairs + 1, pairs)


@algorithm("allreduce", ordered=True)
def tree(n: int) -> Iterator[Round]:
    """Binomial reduce to rank 0, then binomial broadcast: 2 ceil(log2 n) rounds of whole buffers.

    Thakur, Rabenseifner and Gropp (2005), section 4.4 (the algorithm MPICH had first).
    """
    r = np.arange(n)
    distances = [1 << j for j in range((n - 1).bit_length())]
    for d in distances:
        upper = r[(r % (2 * d) == d)]
        yield fold(upper, upper - d)
    for d in reversed(distances):
        lower = r[(r % (2 * d) == 0) & (r + d < n)]
        yield copy(lower, lower + d)


@algorithm("allreduce", slots=lambda n, group: n)
def hierarchical(n: int, group: int = 0) -> Iterator[Round]:
    """Reduce-scatter inside groups, ring AllReduce between them, allgather inside; by composition.

    ``group``: consecutive ranks that form a group, a divisor of n; 0 takes the one nearest to sqrt(n).
    Each rank of a group owns one slot and meets its peers in the other groups on that slot alone.
    """
    group = group or nearest_divisor(n)
    if group < 1 or n % group:
        divisors = [d for d in range(1, n + 1) if n % d == 0]
        raise ValueError(f"hierarchical: group {group} does not divide {n} ranks; possible: {divisors}")
    groups = np.arange(n).reshape(-1, group)
    count = len(groups)
    owned = (np.arange(group) + 1) % group

    def inside(rounds: Iterator[Round]) -> Schedule:
        return fragment(group, group, rounds).refine(count).on_ranks(groups, n)

    between = fragment(count, count, ring(count)).on_ranks(groups.T, n, first=owned * count, slots=n)
    whole = inside(ring_reduce_scatter(group)).then(between).then(inside(ring_allgather(group)))
    yield from whole.rounds


def nearest_divisor(n: int) -> int:
    """The divisor of n nearest to its square root."""
    return min((d for d in range(1, n + 1) if n % d == 0), key=lambda d: abs(d - n**0.5))
