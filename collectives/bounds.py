"""What no algorithm can beat: rounds, and what the busiest rank must send and reduce."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ringleader.collectives.registry import find_collective


class Bounds(NamedTuple):
    """Lower bounds of what ``Cost`` counts, under the same names; bytes, except ``rounds`` and ``starts``."""

    rounds: int
    starts: int
    sent: float
    reduced: float
    path_sent: float
    path_reduced: float


class _Least(NamedTuple):
    """Least share of the larger buffer, times p, as functions of the rank count p."""

    sent: Callable[[int], int]
    reduced: Callable[[int], int] = lambda p: 0
    path_sent: Callable[[int], int] | None = None  # None: as ``sent``


def _all_but_one(p: int) -> int:
    return p - 1


def _twice_all_but_one(p: int) -> int:
    return 2 * (p - 1)


def _whole(p: int) -> int:
    """The whole buffer, unless the only rank has it already."""
    return p if p > 1 else 0


def _one_block(p: int) -> int:
    return 1 if p > 1 else 0


_LEAST = {
    "allreduce": _Least(_twice_all_but_one, _all_but_one),
    "broadcast": _Least(_whole),
    "reduce": _Least(_whole, _all_but_one),
    "allgather": _Least(_all_but_one),
    "reduce_scatter": _Least(_all_but_one, _all_but_one),
    "gather": _Least(_one_block, path_sent=_all_but_one),
    "scatter": _Least(_all_but_one),
    "alltoall": _Least(_all_but_one),
    "scan": _Least(_whole, _all_but_one),
    "exscan": _Least(_whole, lambda p: max(p - 2, 0)),
    "barrier": _Least(lambda p: 0),
}


def bounds(collective: str, n: int, nbytes: int, ports: int = 1) -> Bounds:
    """The known lower bounds of ``collective`` on ``n`` ranks; ``nbytes``: see ``cost``.

    ``rounds``: in every collective some rank must hear of all ranks, or all of one. Who sends to at most
    ``ports`` ranks in a round, and receives from as many, multiplies those reached by at most ports + 1:
    ceil(log n) to that base. ``starts``: with k messages in a round those reached grow k + 1 fold at most, which is no
    more than k doublings, so ceil(log2 n) whatever the ports. Chan et al., "Collective communication: theory,
    practice, and experience" (2007), for one port; Bruck et al., "Efficient algorithms for all-to-all communications in multiport
    message-passing systems" (1997), for several.

    ``sent``, with p = n and of ``nbytes``: allreduce 2(p-1)/p: each element takes 2(p-1) messages until all
    know its fold, in whatever order (Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for
    clusters of workstations" (2009)), and no way of sharing them out spares the busiest rank the average.
    Broadcast 1 (the root's every byte must leave it), reduce 1 (that of every other rank must), scan and
    exscan 1 (that of rank 0 must). Allgather, reduce_scatter, alltoall, scatter (p-1)/p (Chan et al.
    (2007), table of lower bounds; alltoall: Thakur, Rabenseifner and Gropp, "Optimization of Collective
    Communication Operations in MPICH" (2005), section 4.3). Gather: 1/p, since no rank need send more
    than its own block; what is (p-1)/p is what the root receives, and that bounds ``path_sent``.

    ``reduced``: a fold of p values takes p - 1 steps wherever they happen, so allreduce, reduce and
    reduce_scatter cost the busiest rank (p-1)/p (Chan et al. (2007), the same table). Scan as well, since the
    p - 1 prefixes that are folds differ from each other; exscan has one fewer. ``path_sent`` and
    ``path_reduced`` are at least what one rank sends or receives, and reduces, in all.
    """
    least = _LEAST[find_collective(collective).name]
    if n < 1 or nbytes < 0 or ports < 1:
        raise ValueError(
            f"bounds: n >= 1, nbytes >= 0 and ports >= 1 needed; got n={n}, nbytes={nbytes}, ports={ports}"
        )
    path_sent = least.path_sent or least.sent
    sent, reduced, path = (share(n) * nbytes / n for share in (least.sent, least.reduced, path_sent))
    return Bounds(_least_rounds(n, ports), (n - 1).bit_length(), sent, reduced, path, reduced)


def _least_rounds(n: int, ports: int) -> int:
    rounds, reached = 0, 1
    while reached < n:
        rounds, reached = rounds + 1, reached * (ports + 1)
    return rounds
