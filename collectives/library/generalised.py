"""AllReduce from the fewest bytes to the fewest rounds, one round at a time, on any number of ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
from ringleader.collectives.count import Count
from ringleader.collectives.library.circulant import skips
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Ints, Round, copy, fold


def _count(n: int, latency: int) -> Count:
    kept, doublings = _kept(n, latency)
    apart = n - kept
    joined = (doublings + 1) * kept - 2**doublings if doublings else 0
    sent, reduced = 2 * apart + joined, apart + joined
    rounds = 2 * (n - 1).bit_length() - doublings
    return Count(rounds, sent, reduced, n, sent, reduced, _partners(n, kept) - doublings)


def _partners(n: int, places: int) -> int:
    """The ranks that a rank meets in the rounds of balanced_tree, one for each way from place to place."""
    if n & (n - 1) == 0:
        return (places - 1).bit_length()
    return sum(len(np.unique((source - target) % n)) for source, target in balanced_tree(places))


def _kept(n: int, latency: int) -> tuple[int, int]:
    """On how many ranks each block is folded in the end, and in how many rounds these tell one another."""
    doublings = min(latency, (n - 1).bit_length())
    return skips(n)[doublings], doublings


@algorithm(
    "allreduce", slots=lambda n, **_: n, count=_count, tries={"latency": (0, 1, 2, 99)}, least={"latency": 0}
)
def generalised(n: int, latency: int = 0) -> Iterator[Round]:
    """Reduce-scatter and allgather in ``latency`` rounds less: 2 ceil(log2 n) - latency, at least ceil(log2 n).

    0 moves the fewest bytes, ceil(log2 n) or more takes the fewest rounds, and every value between is one
    round shorter than the one before. A block has places 0 ... n - 1, which are ranks by way of a group: a
    reduction step that folds the upper places into the lower ones is the same message pattern for every
    block. When w places are left, they do not go on halving to one place and then double again, but spend
    log2(w) rounds on telling one another; the other places then get the block back as they gave it away.
    Kolmakov and Zhang, "A Generalization of the Allreduce Operation" (2020), from the bandwidth-optimal to
    the latency-optimal version. Here all w places fold along one balanced tree over places, so all ranks
    hold the same bits; off powers of two a rank meets up to four others in one of these rounds.
    """
    size, (kept, doublings) = skips(n), _kept(n, latency)
    halves = list(pairwise(size))[doublings:]
    for low, high in reversed(halves):
        yield _between_places(fold, n, np.arange(low, high), np.arange(high - low))
    for source, target in balanced_tree(kept):
        yield _between_places(fold, n, source, target)
    for low, high in halves:
        yield _between_places(copy, n, np.arange(high - low), np.arange(low, high))


def _between_places(move: Callable[..., Round], n: int, source: Ints, target: Ints) -> Round:
    """``move`` every block from its places ``source[i]`` to its places ``target[i]``.

    Place i of block b is rank b - i modulo n (the cyclic group), or, if n is a power of two, b xor i, with
    which a rank has a single partner in each round.
    """
    block = np.arange(n)[:, None]
    src, dst = ((block ^ i if n & (n - 1) == 0 else (block - i) % n) for i in (source, target))
    return move(src, dst, slot=block)


def balanced_tree(places: int) -> Iterator[tuple[Ints, Ints]]:
    """(sources, targets) of rounds in which each of ``places`` learns the fold of all, in one shape.

    The places are cut into halves, quarters, ... as equal as can be; sibling segments have been folded when
    they meet, and each place gets the sibling's fold from its counterpart there, or from the last place if
    the sibling is one shorter.
    """
    place = np.arange(places)
    for depth in range((places - 1).bit_length(), 0, -1):
        bounds = -(-np.arange(2**depth + 1) * places >> depth)
        start, length = bounds[:-1], np.diff(bounds)
        own = (place << depth) // places
        sibling = own ^ 1
        source = start[sibling] + np.minimum(place - start[own], length[sibling] - 1)
        there = length[sibling] > 0
        yield source[there], place[there]
