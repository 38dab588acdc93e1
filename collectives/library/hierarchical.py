"""Hierarchical algorithms, composed of others: inside groups of ranks, and between them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ringleader.collectives.library.allgather import ring as ring_allgather
from ringleader.collectives.library.allreduce import ring
from ringleader.collectives.library.reduce_scatter import ring as ring_reduce_scatter
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Round, Schedule, fragment


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
    owned = np.arange(group)

    def inside(rounds: Iterator[Round]) -> Schedule:
        return fragment(group, group, rounds).refine(count).on_ranks(groups, n)

    between = fragment(count, count, ring(count)).on_ranks(groups.T, n, first=owned * count, slots=n)
    whole = inside(ring_reduce_scatter(group)).then(between).then(inside(ring_allgather(group)))
    yield from whole.rounds


def nearest_divisor(n: int) -> int:
    """The divisor of n nearest to its square root."""
    return min((d for d in range(1, n + 1) if n % d == 0), key=lambda d: abs(d - n**0.5))
