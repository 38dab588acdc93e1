"""Reduce: the root ends with the fold of all ranks' buffers. What stands in the others is spoilt."""

from __future__ import annotations

from collections.abc import Iterator

from ringleader.collectives.count import Count
from ringleader.collectives.library import broadcast, circulant
from ringleader.collectives.library.gather import gather_binomial, gather_binomial_count
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Round, copy, fragment


def _binomial_count(n: int, root: int) -> Count:
    levels = (n - 1).bit_length()
    return Count(levels + (root > 0), int(n > 1), levels, 1, levels + (root > 0), levels)


@algorithm("reduce", ordered=True, count=_binomial_count)
def binomial(n: int, root: int) -> Iterator[Round]:
    """Up the binomial tree to rank 0, in rank order; rank 0 then sends the result to the root.

    As MPICH does it for operations that do not commute: a tree that is rooted elsewhere would fold a rotation
    of the ranks. Thakur, Rabenseifner and Gropp (2005), the short-message reduce.
    """
    yield from k_nomial(n, root=0, radix=2)
    if root > 0:
        yield copy(0, root)


def _k_nomial_count(n: int, root: int, radix: int) -> Count:
    levels, children = broadcast.k_nomial_fan(n, radix)
    return Count(levels, int(n > 1), children, 1, children, children, children - levels)


@algorithm("reduce", count=_k_nomial_count, tries={"radix": (2, 3, 4, 8)}, least={"radix": 2})
def k_nomial(n: int, root: int, radix: int = 3) -> Iterator[Round]:
    """The k-nomial broadcast backwards: each parent folds radix - 1 children at once. Needs commuting.

    Radix 2 is the ordinary binomial tree, rooted at the root itself.
    """
    yield from fragment(n, 1, broadcast.k_nomial(n, root, radix)).mirrored().rounds


@algorithm(
    "reduce", slots=lambda chunks, **_: chunks,
    count=lambda n, chunks, **_: broadcast.chain_count(n, chunks, folds=True),
    tries={"chunks": (1, 2, 5, 16)}, least={"chunks": 1},
)  # fmt: skip
def chain(n: int, root: int, chunks: int = 8) -> Iterator[Round]:
    """The chain broadcast backwards: each rank folds what comes and passes it on, n + chunks - 2 rounds.

    It folds the ranks from the root on, and after the last from 0 on: needs commuting.
    """
    yield from fragment(n, chunks, broadcast.chain(n, root, chunks)).mirrored().rounds


def _reduce_scatter_gather_count(n: int, root: int) -> Count:
    gather = gather_binomial_count(n, root)
    return Count(2 * gather.rounds, n - 1 + gather.sent, n - 1, n, n - 1 + gather.path_sent, n - 1)


@algorithm("reduce", slots=lambda n, **_: n, count=_reduce_scatter_gather_count)
def reduce_scatter_gather(n: int, root: int) -> Iterator[Round]:
    """Every rank folds one n-th, then the root gathers them: 2 ceil(log2 n) rounds, 2(n - 1)/n of the bytes.

    Rabenseifner, "Optimization of collective reduction operations" (2004), whose recursive halving is for
    powers of two; the circulant reduce-scatter costs as much and is for every n.
    """
    yield from circulant.reduce_scatter(n)
    yield from gather_binomial(n, root)
