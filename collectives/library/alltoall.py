"""AllToAll: block d of rank r's input ends as block r of rank d's output."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ringleader.collectives.count import Count
from ringleader.collectives.library.broadcast import k_nomial_fan
from ringleader.collectives.library.gather import all_at_once
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Round, copy


@algorithm("alltoall", ordered=True, count=lambda n: Count(n - 1, n - 1, 0, 1, n - 1, 0))
def pairwise(n: int) -> Iterator[Round]:
    """In round i rank r sends to r + i and receives from r - i: n - 1 rounds, and its own block in round 0.

    Every block goes straight to its place, so blocks may be of unequal size. Thakur, Rabenseifner and Gropp,
    "Optimization of Collective Communication Operations in MPICH" (2005), the long-message AllToAll.
    """
    r = np.arange(n)
    for i in range(n):
        there = (r + i) % n
        yield copy(r, there, slot=there, to=r, source="input", target="output")


@algorithm("alltoall", ordered=True, count=lambda n: all_at_once(n, n - 1))
def linear(n: int) -> Iterator[Round]:
    """All messages at once: one round. As in ``pairwise``, blocks go straight to their places.

    Thakur, Rabenseifner and Gropp (2005), the AllToAll of medium messages.
    """
    src, dst = np.indices((n, n))
    yield copy(src, dst, slot=dst, to=src, source="input", target="output")


def _bruck_count(n: int, radix: int) -> Count:
    """A block hops once for each digit of its way that is not 0."""
    hops, distance = 0, 1
    while distance < n:
        whole, rest = divmod(n, radix * distance)
        hops += n - whole * distance - min(rest, distance)
        distance *= radix
    rounds = k_nomial_fan(n, radix)[1]
    return Count(rounds, hops, 0, 1, hops, 0)


@algorithm(
    "alltoall",
    ordered=True,
    scratch=lambda n, **_: n,
    count=_bruck_count,
    tries={"radix": (2, 4, 8)},
    least={"radix": 2},
)
def bruck(n: int, radix: int = 2) -> Iterator[Round]:
    """A block's way is a number in base ``radix``; it hops once for each digit: logarithmic rounds.

    One round for each value, 1 ... radix - 1, of each digit: (radix - 1) ceil(log n / log radix) at most, in
    which a rank has one partner. Radix 2 is ceil(log2 n) rounds, in which each block hops log2(n) / 2 times on
    average; radix n is n - 1 rounds of one hop. Bruck et al., "Efficient algorithms for all-to-all
    communications in multiport message-passing systems" (1997), section 3.
    """
    r, i = np.indices((n, n))  # scratch block i of rank r travels i ranks ahead
    yield copy(r, r, slot=(r + i) % n, to=i, source="input", target="scratch")
    distance = 1
    while distance < n:
        for digit in range(1, min(radix - 1, (n - 1) // distance) + 1):
            hop = i // distance % radix == digit
            rank, block = r[hop], i[hop]
            yield copy(rank, (rank + digit * distance) % n, slot=block, source="scratch", target="scratch")
        distance *= radix
    yield copy(r, r, slot=i, to=(r - i) % n, source="scratch", target="output")
