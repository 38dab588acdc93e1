"""Exscan: rank r ends with the fold, in rank order, of ranks 0 ... r - 1; rank 0 keeps its buffer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Round, copy, fold, together

PARTIAL, INCOMING = 0, 1  # scratch slots


@algorithm("exscan", ordered=True, scratch=lambda n: 2)
def distance_doubling(n: int) -> Iterator[Round]:
    """Partial folds from 1, 2, 4, ... ranks below are put before one's own: ceil(log2 n) messages.

    Hillis and Steele, "Data parallel algorithms" (1986), without the first element.
    """
    r = np.arange(n)
    yield copy(r, r, to=PARTIAL, source="input", target="scratch")
    for j in range((n - 1).bit_length()):
        src = r[: n - (1 << j)]
        dst = src + (1 << j)
        yield copy(src, dst, slot=PARTIAL, to=INCOMING, source="scratch", target="scratch")
        into_output = copy if j == 0 else _before
        yield together(
            _before(dst, dst, slot=INCOMING, to=PARTIAL, source="scratch", target="scratch"),
            into_output(dst, dst, slot=INCOMING, to=0, source="scratch", target="output"),
        )


def _before(src: np.ndarray, dst: np.ndarray, *, slot: int, to: int, source: str, target: str) -> Round:
    """Fold in front of what is there: the value comes from lower ranks."""
    return fold(src, dst, slot=slot, to=to, order=-1, source=source, target=target)
