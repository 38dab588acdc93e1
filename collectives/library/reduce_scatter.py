"""ReduceScatter: rank r's block r ends as the fold of everyone's block r. Other blocks are spoilt."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ringleader.collectives.count import Count
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Round, fold


@algorithm("reduce_scatter", count=lambda n: Count(n - 1, n - 1, n - 1, 1, n - 1, n - 1))
def ring(n: int) -> Iterator[Round]:
    """A partial sum of each block goes once around and ends at its owner: n - 1 rounds of one block.

    Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations" (2009).
    """
    r = np.arange(n)
    yield fold(r, (r + 1) % n, slot=r - 1).repeat(n - 1, shift=-1)
