"""Broadcast: every rank ends with the root's buffer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Round, copy, together


@algorithm("broadcast", ordered=True, slots=lambda chunks, **_: chunks)
def binomial(n: int, root: int, chunks: int = 1) -> Iterator[Round]:
    """Whoever has it sends it to the one half as far: ceil(log2 n) rounds of whole buffers.

    With several chunks each is a message of its own, forwarded as soon as it is there.
    Thakur, Rabenseifner and Gropp (2005), section 4.5.
    """
    v = np.arange(n)  # rank counted from the root
    for j in reversed(range((n - 1).bit_length())):
        d = 1 << j
        has = v[(v % (2 * d) == 0) & (v + d < n)]
        src, dst = (has + root) % n, (has + d + root) % n
        yield together(*(copy(src, dst, slot=c) for c in range(chunks)))


@algorithm("broadcast", ordered=True, slots=lambda chunks, **_: chunks)
def chain(n: int, root: int, chunks: int = 8) -> Iterator[Round]:
    """A bucket brigade: each rank passes chunk after chunk to the next, n + chunks - 2 rounds.

    Its time tends to that of sending the bytes once as chunks get many. Pjesivac-Grbovic et al.,
    "Performance analysis of MPI collective operations" (2007), section 3.1, pipeline.
    """
    v = np.arange(n - 1)
    src, dst = (v + root) % n, (v + 1 + root) % n
    yield copy(src, dst, slot=-v).repeat(max(n + chunks - 2, 0), shift=1, wrap=False)
