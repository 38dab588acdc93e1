"""ReduceScatter: rank r's block r ends as the fold of everyone's block r. Other blocks are spoilt."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ringleader.collectives.count import Count
from ringleader.collectives.library import allgather
from ringleader.collectives.library.gather import all_at_once
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Round, fold, fragment


@algorithm("reduce_scatter", count=lambda n: Count(n - 1, n - 1, n - 1, 1, n - 1, n - 1))
def ring(n: int) -> Iterator[Round]:
    """A partial sum of each block goes once around and ends at its owner: n - 1 rounds of one block.

    Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations" (2009).
    """
    r = np.arange(n)
    yield fold(r, (r + 1) % n, slot=r - 1).repeat(n - 1, shift=-1)


@algorithm(
    "reduce_scatter", ordered=True,
    count=lambda n: all_at_once(n, n - 1)._replace(reduced=n - 1, path_reduced=n - 1),
)  # fmt: skip
def direct(n: int) -> Iterator[Round]:
    """Everyone sends block b to rank b, which folds ranks 0 ... n - 1 in this order: one round.

    Cowan et al., "MSCCLang: Microsoft Collective Communication Language" (2023), the first half of AllPairs.
    """
    src, dst = np.indices((n, n))
    yield fold(src[src != dst], dst[src != dst], slot=dst[src != dst], order=(src - dst)[src != dst])


@algorithm("reduce_scatter", count=lambda n: Count(n - 1, n - 1, n - 1, 1, n - 1, n - 1))
def pairwise(n: int) -> Iterator[Round]:
    """In round i rank r sends block r + i to its owner, and folds what comes from r - i: n - 1 rounds.

    Thakur, Rabenseifner and Gropp, "Optimization of Collective Communication Operations in MPICH" (2005), the
    long-message ReduceScatter. Ranks come in the order r, r - 1, ..., once around: needs commuting.
    """
    r = np.arange(n)
    for i in range(1, n):
        owner = (r + i) % n
        yield fold(r, owner, slot=owner)


def _recursive_halving_count(n: int) -> Count:
    """Whoever sends in the AllGather folds here; everyone gives each foreign block away once."""
    folded, path, more = allgather.doubling_counts(n)
    return Count((n - 1).bit_length(), n - 1, folded, 1, path, path, more)


@algorithm("reduce_scatter", count=_recursive_halving_count)
def recursive_halving(n: int) -> Iterator[Round]:
    """Recursive doubling backwards: half of the blocks cross to the far half of the ranks first, and so on.

    ceil(log2 n) rounds, n - 1 blocks sent a rank. In powers of two, rank r meets r xor n/2, n/4, ..., 1. Otherwise
    the last group may be smaller than the one it meets; its ranks then fold what several send (Thakur,
    Rabenseifner and Gropp (2005) let ranks pair up first). Ranks far apart are folded first: needs commuting.
    """
    yield from fragment(n, n, allgather.recursive_doubling(n)).mirrored().rounds
