"""The collectives that are measured: their buffers, and what their bandwidths are counted by.

S is the size in bytes of a rank's larger buffer, as in nccl-tests. algbw is S over the time; busbw is algbw times
a factor that makes it comparable to the speed of a link, whatever the rank count (nccl-tests, doc/PERFORMANCE.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

PLACES = ("out", "in")  # out of place, in place


@dataclass(frozen=True)
class Pattern:
    """One collective.

    ``blocks``: S is made of a block for every rank. ``bus(n)``: busbw over algbw. ``moved(n)``: what all ranks
    together must at least read and write out of place, in units of S; ``kept``: how much less it is in place.
    ``places``: how it can be called in every library that has it.
    """

    blocks: bool
    bus: Callable[[int], float]
    moved: Callable[[int], float]
    places: tuple[str, ...] = PLACES
    kept: float = 0

    def traffic(self, n: int, place: str) -> float:
        """In units of S: read and written by all ranks together."""
        return self.moved(n) - (self.kept if place == "in" else 0)


def _share(n: int) -> float:
    """All blocks but one's own."""
    return (n - 1) / n


PATTERNS = {
    "allreduce": Pattern(False, lambda n: 2 * (n - 1) / n, lambda n: 2 * n),
    "broadcast": Pattern(False, lambda n: 1, lambda n: 2 * n - 2, ("in",)),
    "reduce": Pattern(False, lambda n: 1, lambda n: n + 1),
    "allgather": Pattern(True, _share, lambda n: 2 * n, kept=2),  # its own block stays where it is
    "reduce_scatter": Pattern(True, _share, lambda n: n + 1, ("out",)),
    "alltoall": Pattern(True, _share, lambda n: 2 * n, ("out",)),
    "gather": Pattern(True, _share, lambda n: 2, ("out",)),
    "scatter": Pattern(True, _share, lambda n: 2, ("out",)),
    "scan": Pattern(False, lambda n: 1, lambda n: 2 * n, kept=1),  # rank 0 has its result
    "barrier": Pattern(False, lambda n: 0, lambda n: 0, ("in",)),
}


def elements(collective: str, nbytes: int, n: int, itemsize: int) -> int:
    """Elements of a block (of the whole vector, where there are no blocks); at least one, but none of a barrier."""
    if collective == "barrier":
        return 0
    return max(1, nbytes // (itemsize * (n if PATTERNS[collective].blocks else 1)))


def larger_buffer(collective: str, count: int, n: int, itemsize: int) -> int:
    """S in bytes, of blocks of ``count`` elements."""
    return count * itemsize * (n if PATTERNS[collective].blocks else 1)
