"""AllReduce: every rank ends with the fold of all ranks' buffers, bit for bit the same on all of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ringleader.collectives.count import Count
from ringleader.collectives.library import allgather, broadcast, reduce, reduce_scatter
from ringleader.collectives.library.gather import all_at_once
from ringleader.collectives.library.swing import (
    count_on_power_of_two,
    halving_doubling_count,
    on_power_of_two,
)
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Round, copy, fold, fragment


@algorithm(
    "allreduce", slots=lambda n: n,
    count=lambda n: Count(2 * (n - 1), 2 * (n - 1), n - 1, n, 2 * (n - 1), n - 1),
)  # fmt: skip
def ring(n: int) -> Iterator[Round]:
    """Reduce-scatter, then allgather, both around the ring: 2(n-1) rounds, each sends 1/n of the bytes.

    Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations" (2009).
    """
    yield from reduce_scatter.ring(n)
    yield from allgather.ring(n)


def _bidirectional_count(n: int) -> Count:
    """Two messages a round, but one if both neighbours are the same rank."""
    rounds = 2 * (n - 1)
    return Count(rounds, 2 * rounds, rounds, 2 * n, 2 * rounds, rounds, rounds if n > 2 else 0)


@algorithm("allreduce", slots=lambda n: 2 * n, count=_bidirectional_count)
def bidirectional_ring(n: int) -> Iterator[Round]:
    """Two rings at the same time, one each way round, each for half of the slots.

    As many rounds and bytes as ``ring``, but both directions of every link are used. Jain and Sabharwal,
    "Optimal bucket algorithms for large MPI collectives on torus interconnects" (2010), in one dimension.
    """
    r = np.arange(n)
    yield from fragment(n, n, ring(n)).on_ranks([r, r[::-1]], n, first=[0, n], slots=2 * n).rounds


def _recursive_doubling_count(n: int) -> Count:
    rounds = n.bit_length() - 1
    return count_on_power_of_two(n, Count(rounds, rounds, rounds, 1, rounds, rounds))


@algorithm("allreduce", ordered=True, count=_recursive_doubling_count)
def recursive_doubling(n: int) -> Iterator[Round]:
    """Partners at distance 1, 2, 4, ... exchange whole buffers: about log2(n) rounds.

    The lower rank's value stands first, so rank order is kept. Off powers of two, neighbours first pair up
    until a power of two is left, and are told at the end. Thakur, Rabenseifner and Gropp, "Optimization of
    Collective Communication Operations in MPICH" (2005), the short-message AllReduce.
    """

    def exchanges(n: int) -> Iterator[Round]:
        r = np.arange(n)
        for j in range(n.bit_length() - 1):
            partner = r ^ (1 << j)
            yield fold(r, partner, order=np.where(r < partner, -1, 1))

    yield from on_power_of_two(n, lambda n: 1, exchanges)


@algorithm(
    "allreduce", ordered=True, slots=lambda n: 1 << (n.bit_length() - 1), count=halving_doubling_count
)  # fmt: skip
def halving_doubling(n: int) -> Iterator[Round]:
    """Rabenseifner's: reduce-scatter by halving buffers, allgather by doubling them; about 2 log2(n) rounds.

    In the first half ranks r and r xor 2^j each give the other half of what they still fold; the second half
    is the first backwards. Distances grow while buffers shrink, so whoever meets has folded neighbouring
    runs of ranks, and rank order is kept. Off powers of two, neighbours first pair up until a power of two is
    left, and are told at the end. Rabenseifner, "Optimization of collective reduction operations" (2004);
    Thakur, Rabenseifner and Gropp (2005), the long-message AllReduce.
    """

    def exchanges(n: int) -> Iterator[Round]:
        r, start, meetings = np.arange(n), np.zeros(n, np.int64), []
        for j in range(n.bit_length() - 1):
            partner, width = r ^ (1 << j), n >> (j + 1)
            start = start + width * (r >> j & 1)
            yield fold(partner, r, slot=start, width=width, order=np.where(partner < r, -1, 1))
            meetings.append((partner, start, width))
        for partner, start, width in reversed(meetings):
            yield copy(r, partner, slot=start, width=width)

    yield from on_power_of_two(n, lambda n: n, exchanges)


def _k_nomial_count(n: int, radix: int = 2) -> Count:
    """Rank 0 folds all its children, level by level, and sends the result to as many."""
    levels, children = broadcast.k_nomial_fan(n, radix)
    return Count(2 * levels, children, children, 1, 2 * children, children, 2 * (children - levels))


@algorithm("allreduce", ordered=True, count=_k_nomial_count)
def tree(n: int) -> Iterator[Round]:
    """Binomial reduce to rank 0, then binomial broadcast: 2 ceil(log2 n) rounds of whole buffers.

    Thakur, Rabenseifner and Gropp (2005): the algorithm that MPICH had first.
    """
    yield from k_nomial(n, radix=2)


@algorithm("allreduce", ordered=True, count=_k_nomial_count, tries={"radix": (3, 4, 8)}, least={"radix": 2})
def k_nomial(n: int, radix: int = 3) -> Iterator[Round]:
    """Up a tree in which each parent folds radix - 1 children at once, and down: 2 log(n) / log(radix) rounds.

    Children stand for the runs of ranks that follow their parent's, and are folded in that order. For ranks that
    can handle several messages at a time: Chan, van de Geijn, Gropp and Thakur, "Collective communication on
    architectures that support simultaneous communication over multiple links" (2006).
    """
    yield from reduce.k_nomial(n, 0, radix)
    yield from broadcast.k_nomial(n, 0, radix)


@algorithm(
    "allreduce", ordered=True,
    count=lambda n: all_at_once(n, n - 1)._replace(reduced=n - 1, path_reduced=n - 1),
)  # fmt: skip
def one_shot(n: int) -> Iterator[Round]:
    """Everyone sends its buffer to everyone: one round, the shortest there is, for buffers of a few kilobytes.

    Each rank folds ranks 0 ... n - 1 in this order, not its own value first, or float results would differ
    between ranks. Cowan et al., "MSCCLang: Microsoft Collective Communication Language" (2023), AllPairs, for small
    buffers in one step.
    """
    src, dst = np.indices((n, n))
    yield fold(src[src != dst], dst[src != dst], order=(src - dst)[src != dst])


@algorithm(
    "allreduce", ordered=True, slots=lambda n: n,
    count=lambda n: Count(2 * (n > 1), 2 * (n - 1), n - 1, n, 2 * (n - 1), n - 1, 2 * max(n - 2, 0)),
)  # fmt: skip
def two_shot(n: int) -> Iterator[Round]:
    """Rank r folds everyone's slot r, in rank order, and sends it to everyone: two rounds, the fewest bytes.

    The leader's way, with every rank a leader; n - 1 messages a rank at the same time. Cowan et al. (2023), AllPairs.
    """
    yield from reduce_scatter.direct(n)
    yield from allgather.direct(n)
