"""AllToAll: block d of rank r's input ends as block r of rank d's output."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Round, copy


@algorithm("alltoall", ordered=True, scratch=lambda n: n)
def bruck(n: int) -> Iterator[Round]:
    """Blocks hop 1, 2, 4, ... ranks ahead until each has gone its way: ceil(log2 n) messages a rank.

    Bruck et al., "Efficient algorithms for all-to-all communications in multiport message-passing
    systems" (1997), section 3.2.
    """
    r, i = np.indices((n, n))  # scratch block i of rank r travels i ranks ahead
    yield copy(r, r, slot=(r + i) % n, to=i, source="input", target="scratch")
    for j in range((n - 1).bit_length()):
        hop = (i >> j) & 1 == 1
        rank, block = r[hop], i[hop]
        yield copy(rank, (rank + (1 << j)) % n, slot=block, source="scratch", target="scratch")
    yield copy(r, r, slot=i, to=(r - i) % n, source="scratch", target="output")
