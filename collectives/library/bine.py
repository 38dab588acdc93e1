"""Bine (binomial negabinary) trees: binomial trees whose edges are a third shorter.

De Sensi et al., "Bine Trees: Enhancing Collective Operations by Optimizing Communication Locality" (2025).
Partners are those of Swing, since s + 1 negabinary digits that are all ones make (1 - (-2)^(s+1)) / 3: about
2/3 of 2^s ranks away in step s, where a binomial tree goes 2^s. That keeps more bytes inside switches or racks if a job's
ranks are spread over them unevenly, as they are on a busy machine; where each holds an aligned power of two of them, a
binomial tree crosses less. For powers of two the trees are the paper's; for other n they grow on the integers, modulo n, and
skip whoever has been reached (swing.tree), which may take back what was gained.

The AllReduce of whole buffers between these partners, for small sizes, is ``swing-latency``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ringleader.collectives.count import Count
from ringleader.collectives.library.swing import (
    halving_doubling_count,
    is_power_of_two,
    on_power_of_two,
    partner,
    steps,
    tree,
)
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Round, copy, fold, fragment


def _count_broadcast(n: int, **_: int) -> Count | None:
    """Known where the tree is full, and so the root sends in every round."""
    rounds = (n - 1).bit_length()
    return Count(rounds, rounds, 0, 1, rounds, 0) if is_power_of_two(n) else None


@algorithm("broadcast", name="bine", ordered=True, count=_count_broadcast)
def broadcast(n: int, root: int) -> Iterator[Round]:
    """Down the tree, farthest partners first: ceil(log2 n) rounds of whole buffers (distance halving)."""
    for givers, takers in tree(n, steps(n)[::-1]):
        yield copy((root + givers) % n, (root + takers) % n)


def _count_reduce(n: int, **_: int) -> Count | None:
    rounds = (n - 1).bit_length()
    return Count(rounds, int(n > 1), rounds, 1, rounds, rounds) if is_power_of_two(n) else None


@algorithm("reduce", name="bine", count=_count_reduce)
def reduce(n: int, root: int) -> Iterator[Round]:
    """The broadcast backwards: up the tree, nearest partners first."""
    yield from fragment(n, 1, broadcast(n, root)).mirrored().rounds


@algorithm("allreduce", name="bine", slots=lambda n: 1 << (n.bit_length() - 1), count=halving_doubling_count)
def allreduce(n: int) -> Iterator[Round]:
    """Reduce-scatter, nearest partners first, then allgather backwards; every message one piece of memory.

    An AllReduce does not mind who owns which slot: here the ranks that are still to meet, in any round, own
    consecutive slots, which partners halve between them. Off powers of two neighbours join first
    (swing.on_power_of_two).
    """
    yield from on_power_of_two(n, lambda n: n, _halve_and_double)


def _halve_and_double(n: int) -> Iterator[Round]:
    r, owner = np.arange(n), np.zeros(1, np.int64)
    for step in steps(n):
        owner = np.stack([owner, partner(owner, step) % n], axis=1).ravel()
    owned = np.argsort(owner)
    meetings = [(partner(r, step) % n, n >> (step + 1)) for step in steps(n)]
    for other, width in meetings:
        yield fold(r, other, slot=owned[other] // width * width, width=width)
    for other, width in reversed(meetings):
        yield copy(r, other, slot=owned[r] // width * width, width=width)
