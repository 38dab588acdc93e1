"""Broadcast: every rank ends with the root's buffer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from ringleader.collectives.count import Count
from ringleader.collectives.library.allgather import swap_groups
from ringleader.collectives.library.gather import scatter_binomial
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Ints, Round, copy, fragment, together


def _binomial_count(n: int, root: int, chunks: int) -> Count:
    levels = (n - 1).bit_length()
    sent = chunks * levels
    return Count(levels, sent, 0, chunks, sent, 0, sent - levels)


@algorithm(
    "broadcast", ordered=True, slots=lambda chunks, **_: chunks, count=_binomial_count,
    tries={"chunks": (1, 3)}, least={"chunks": 1},
)  # fmt: skip
def binomial(n: int, root: int, chunks: int = 1) -> Iterator[Round]:
    """Whoever has it sends it to the one half as far: ceil(log2 n) rounds of whole buffers.

    With several chunks each is a message of its own, forwarded as soon as it is there.
    Thakur, Rabenseifner and Gropp (2005), the short-message broadcast.
    """
    for parent, child in _levels(n, 2):
        src, dst = (parent + root) % n, (child + root) % n
        yield together(*(copy(src, dst, slot=c) for c in range(chunks)))


def k_nomial_fan(n: int, radix: int) -> tuple[int, int]:
    """Levels of the k-nomial tree on n ranks, and how many children its root has."""
    levels = children = 0
    distance = 1
    while distance < n:
        levels += 1
        children += min(radix - 1, (n - 1) // distance)
        distance *= radix
    return levels, children


def _k_nomial_count(n: int, root: int, radix: int) -> Count:
    levels, children = k_nomial_fan(n, radix)
    return Count(levels, children, 0, 1, children, 0, children - levels)


@algorithm(
    "broadcast", ordered=True, count=_k_nomial_count, tries={"radix": (2, 3, 4, 8)}, least={"radix": 2}
)
def k_nomial(n: int, root: int, radix: int = 3) -> Iterator[Round]:
    """Whoever has it sends it to radix - 1 others at once: ceil(log n / log radix) rounds.

    Radix 2 is the binomial tree, radix n is one round from the root to all. It pays where a rank can send
    several messages at a time: Chan, van de Geijn, Gropp and Thakur, "Collective communication on
    architectures that support simultaneous communication over multiple links" (2006).
    """
    for parent, child in _levels(n, radix):
        yield copy((parent + root) % n, (child + root) % n)


def _levels(n: int, radix: int) -> Iterator[tuple[Ints, Ints]]:
    """Parents and children, level by level from the root, of the k-nomial tree.

    Ranks are counted from the root and written in base ``radix``: the parent is the rank with its lowest
    digit that is not 0 cleared.
    """
    levels, _ = k_nomial_fan(n, radix)
    for j in reversed(range(levels)):
        distance = radix**j
        child = np.arange(0, n, distance)
        child = child[child // distance % radix > 0]
        yield child - child % (radix * distance), child


def chain_count(n: int, chunks: int, *, folds: bool) -> Count:
    """A chunk a round, and every rank sends (and folds) each chunk at most once."""
    if n == 1:
        return Count(0, 0, 0, chunks, 0, 0)
    rounds = n + chunks - 2
    return Count(rounds, chunks, chunks * folds, chunks, rounds, rounds * folds)


@algorithm(
    "broadcast", ordered=True, slots=lambda chunks, **_: chunks,
    count=lambda n, chunks, **_: chain_count(n, chunks, folds=False), tries={"chunks": (1, 2, 5, 16)}, least={"chunks": 1},
)  # fmt: skip
def chain(n: int, root: int, chunks: int = 8) -> Iterator[Round]:
    """A bucket brigade: each rank passes chunk after chunk to the next, n + chunks - 2 rounds.

    Its time tends to that of sending the bytes once as chunks get many. Pjesivac-Grbovic et al.,
    "Performance analysis of MPI collective operations" (2007), section 3.1, pipeline.
    """
    v = np.arange(n - 1)
    src, dst = (v + root) % n, (v + 1 + root) % n
    yield copy(src, dst, slot=-v).repeat(max(n + chunks - 2, 0), shift=1, wrap=False)


@algorithm(
    "broadcast", ordered=True, slots=lambda n, **_: n,
    count=lambda n, **_: Count((n - 1).bit_length() + n - 1, 2 * (n - 1), 0, n, 2 * (n - 1), 0),
)  # fmt: skip
def scatter_allgather_ring(n: int, root: int) -> Iterator[Round]:
    """Scatter n pieces down a binomial tree, then pass them all around the ring.

    Van de Geijn's: Barnett et al., "Building a high-performance collective communication library" (1994).
    A rank that handed pieces down the tree has them already and stops receiving earlier: Zhou et al.,
    "A bandwidth-saving optimization for MPI broadcast collective operation" (2015).
    """
    v = np.arange(n)
    subtree = np.minimum(v & -v, n - v)  # pieces v ... v + subtree - 1 came down the tree (root: all)
    rounds = list(scatter_binomial(n, root=0))
    start = 0
    for stop in np.unique(n - subtree[1:]).tolist():
        lacking = v[1:][n - subtree[1:] >= stop]
        rounds.append(copy(lacking - 1, lacking, slot=lacking - 1 - start).repeat(stop - start, shift=-1))
        start = stop
    yield from _from_root(n, root, rounds)


def _doubling_count(n: int, root: int) -> Count:
    """The scatter costs n - 1; a group of d that meets a smaller one of u may cost more than d."""
    path, more = n - 1, 0
    levels = (n - 1).bit_length()
    for j in range(levels):
        d = 1 << j
        u = n % (2 * d) - d
        served = -(-(d - 1) // u) if u > 0 else 1
        path += max(d, u * served) if u > 0 else d
        more += max(served - 1, 0)
    sent = n - 1 + (1 << levels) - 1
    return Count(2 * levels, sent, 0, n, path, 0, more)


@algorithm("broadcast", ordered=True, slots=lambda n, **_: n, count=_doubling_count)
def scatter_allgather_doubling(n: int, root: int) -> Iterator[Round]:
    """Scatter n pieces down a binomial tree, then neighbouring groups of 1, 2, 4, ... ranks swap theirs.

    Thakur, Rabenseifner and Gropp (2005), the broadcast of medium messages. Off powers of two the last
    group is smaller than the one before it, so each of its ranks serves several of that one. The first rank of
    a group had the next group's pieces since the scatter.
    """
    v = np.arange(n)
    rounds = list(scatter_binomial(n, root=0))
    for d in (1 << j for j in range((n - 1).bit_length())):
        rounds.append(swap_groups(n, d, v[v % (2 * d) > 0]))
    yield from _from_root(n, root, rounds)


def _from_root(n: int, root: int, rounds: Iterable[Round]) -> tuple[Round, ...]:
    """Rounds over n slots that were written for root 0, with ranks counted from ``root`` on."""
    return fragment(n, n, rounds).on_ranks((np.arange(n) + root) % n, n).rounds
