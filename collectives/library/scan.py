"""Scan: rank r ends with the fold, in rank order, of ranks 0 ... r.

Exscan: of ranks 0 ... r - 1; rank 0 keeps its buffer.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from ringleader.collectives.count import Count
from ringleader.collectives.library.broadcast import chain_count
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Round, copy, fold, fragment, together

PARTIAL, INCOMING = 0, 1  # scratch slots


def _scan_doubling_count(n: int) -> Count:
    """Rank 0 sends in every round, the last rank folds in every round."""
    rounds = (n - 1).bit_length()
    return Count(rounds, rounds, rounds, 1, rounds, rounds)


@algorithm("scan", name="distance-doubling", ordered=True, count=_scan_doubling_count)
def scan_distance_doubling(n: int) -> Iterator[Round]:
    """What ranks 1, 2, 4, ... below hold is put before one's own: ceil(log2 n) rounds.

    Hillis and Steele, "Data parallel algorithms" (1986).
    """
    r = np.arange(n)
    for j in range((n - 1).bit_length()):
        src = r[: n - (1 << j)]
        yield fold(src, src + (1 << j), order=-1)


@algorithm(
    "scan", name="linear", ordered=True, slots=lambda chunks, **_: chunks,
    count=partial(chain_count, folds=True), tries={"chunks": (1, 3, 8)}, least={"chunks": 1},
)  # fmt: skip
def scan_linear(n: int, chunks: int = 8) -> Iterator[Round]:
    """Each rank puts what comes, chunk after chunk, before its own and passes that on: n + chunks - 2 rounds.

    Every byte is sent and folded once a rank, the least there is. Sanders and Träff, "Parallel prefix (scan)
    algorithms for MPI" (2006), the pipelined linear array.
    """
    src = np.arange(n - 1)
    passing = fold(src, src + 1, slot=-src, order=-1)
    yield passing.repeat(max(n + chunks - 2, 0), shift=1, wrap=False)


def _exscan_doubling_count(n: int) -> Count:
    """Two folds a round, into the partial and the output; in the first round the output is a copy."""
    rounds = (n - 1).bit_length()
    reduced = max(2 * rounds - 1, 0)
    return Count(rounds, rounds, reduced, 1, rounds, reduced)


@algorithm("exscan", ordered=True, scratch=lambda n: 2, count=_exscan_doubling_count)
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


def _exscan_linear_count(n: int, chunks: int) -> Count:
    """One round of everything, and a scan of the ranks but the first."""
    if n == 1:
        return Count(0, 0, 0, chunks, 0, 0)
    scan = chain_count(n - 1, chunks, folds=True)
    return Count(
        scan.rounds + 1, scan.sent + chunks, scan.reduced, chunks, scan.path_sent + chunks, scan.path_reduced
    )


@algorithm(
    "exscan", name="linear", ordered=True, slots=lambda chunks, **_: chunks,
    count=_exscan_linear_count, tries={"chunks": (1, 3, 8)}, least={"chunks": 1},
)  # fmt: skip
def exscan_linear(n: int, chunks: int = 8) -> Iterator[Round]:
    """All buffers move one rank up, then a linear scan of ranks 1 ... n - 1: it needs no scratch.

    Sanders and Träff (2006), as above.
    """
    if n > 1:
        r = np.arange(n)
        yield copy(r[:-1], r[1:], source="input", target="output", width=chunks)
        yield from fragment(n - 1, chunks, scan_linear(n - 1, chunks)).on_ranks(r[1:], n).rounds
