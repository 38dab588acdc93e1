"""AllGather: block b of every rank's output ends as rank b's. At the start a rank's own block is in place."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ringleader.collectives.count import Count
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Round, copy


@algorithm("allgather", ordered=True, count=lambda n: Count(n - 1, n - 1, 0, 1, n - 1, 0))
def ring(n: int) -> Iterator[Round]:
    """Each rank passes on the block that it got last: n - 1 rounds of one block to the next rank.

    Chan et al., "Collective communication: theory, practice, and experience" (2007), section 4.2 (bucket).
    """
    r = np.arange(n)
    yield copy(r, (r + 1) % n, slot=r).repeat(n - 1, shift=-1)
