"""AllReduce: every rank ends with the fold of all ranks' buffers, bit for bit the same on all of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ringleader.collectives.count import Count
from ringleader.collectives.library.allgather import ring as ring_allgather
from ringleader.collectives.library.reduce_scatter import ring as ring_reduce_scatter
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Round, copy, fold


@algorithm(
    "allreduce", slots=lambda n: n,
    count=lambda n: Count(2 * (n - 1), 2 * (n - 1), n - 1, n, 2 * (n - 1), n - 1),
)  # fmt: skip
def ring(n: int) -> Iterator[Round]:
    """Reduce-scatter, then allgather, both around the ring: 2(n-1) rounds, each sends 1/n of the bytes.

    Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations" (2009).
    """
    yield from ring_reduce_scatter(n)
    yield from ring_allgather(n)


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
