"""Barrier: nobody leaves before everybody has come."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ringleader.collectives.count import Count
from ringleader.collectives.library.gather import all_at_once
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Round, fold


def _dissemination_count(n: int) -> Count:
    rounds = (n - 1).bit_length()
    return Count(rounds, rounds, rounds, 1, rounds, rounds)


@algorithm("barrier", count=_dissemination_count)
def dissemination(n: int) -> Iterator[Round]:
    """In round j each rank tells the one 2^j ahead all it has heard: ceil(log2 n) rounds.

    Hensgen, Finkel and Manber, "Two algorithms for barrier synchronization" (1988).
    """
    r = np.arange(n)
    for j in range((n - 1).bit_length()):
        yield fold(r, (r + (1 << j)) % n)


@algorithm("barrier", count=lambda n: all_at_once(n, n - 1)._replace(reduced=n - 1, path_reduced=n - 1))
def one_shot(n: int) -> Iterator[Round]:
    """Everyone tells everyone, at the same time: one round, the shortest there is where messages are cheap.

    The form that shared memory suggests: Mellor-Crummey and Scott, "Algorithms for scalable synchronization on
    shared-memory multiprocessors" (1991), section 3, compare it with dissemination and trees.
    """
    src, dst = np.indices((n, n))
    yield fold(src[src != dst], dst[src != dst], order=(src - dst)[src != dst])
