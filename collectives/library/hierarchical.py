"""Hierarchical algorithms, composed of others: inside groups of ranks, and between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import isqrt

import numpy as np
from ringleader.collectives.count import Count
from ringleader.collectives.library import allgather, broadcast, reduce, reduce_scatter
from ringleader.collectives.registry import algorithm, find
from ringleader.collectives.schedule import Ints, Round, copy, fragment

Groups = tuple[tuple[int, ...], ...]
SHOWN = 8  # ranks named in a message


def _slots(n: int, group: int, between: str, groups: Groups | None) -> int:
    parts = _partition(n, group, groups)
    slots, _ = _between(between, len(parts))
    return slots * len(parts[0]) if _equal(parts) else slots


def _count(n: int, group: int, between: str, groups: Groups | None) -> Count | None:
    """Known for equal groups, if it is for the AllReduce between them: all groups do the same."""
    parts = _partition(n, group, groups)
    count = find("allreduce", between).closed_form(len(parts), 0, {})
    if count is None or not _equal(parts):
        return None
    others, slots = len(parts[0]) - 1, count.slots
    sent, folded = 2 * others * slots, others * slots
    return Count(
        2 * others + count.rounds, sent + count.sent, folded + count.reduced, (others + 1) * slots,
        sent + count.path_sent, folded + count.path_reduced, count.more_starts,
    )  # fmt: skip


@algorithm(
    "allreduce", slots=_slots, count=_count,
    tries={"group": (0, 2, 4), "between": ("ring", "recursive-doubling")}, least={"group": 0},
)  # fmt: skip
def hierarchical(
    n: int, group: int = 0, between: str = "ring", groups: Groups | None = None
) -> Iterator[Round]:
    """Inside groups of ranks first, any AllReduce ``between`` them, and inside again; by composition.

    ``group``: consecutive ranks that form a group; the last group has what is left. 0: the divisor of n next
    below sqrt(n). ``groups`` says which ranks form groups instead, for example those of one host: each rank in
    one group, in any order.

    Equal groups: ring reduce-scatter inside, so that each rank of a group owns one part and meets its
    counterparts in the other groups on that part alone; ring allgather inside. Unequal groups, whose parts would
    not match: binomial reduce to the first rank of each group, its leader, AllReduce between leaders, binomial
    broadcast. Cho et al., "BlueConnect: decomposing all-reduce for deep learning on heterogeneous network
    hierarchy" (2019); leaders: Graham and Shipman, "MPI support for multi-core architectures" (2008).
    """
    parts = _partition(n, group, groups)
    slots, middle = _between(between, len(parts))
    if _equal(parts):
        yield from scatter_between_gather(np.stack(parts), slots, middle)
    else:
        yield from _by_leaders(parts, n, slots, middle)


def scatter_between_gather(groups: Ints, slots: int, between: Iterable[Round]) -> Iterator[Round]:
    """An AllReduce: reduce-scatter inside groups, ``between``, allgather inside.

    ``groups`` [groups, size]: all ranks. ``between``: rounds of an AllReduce on as many ranks as there are groups;
    rank i of each group plays it with its counterparts on slots i * ``slots`` and on, of size * ``slots``.
    """
    count, size = groups.shape
    n, first = groups.size, slots * np.arange(size)

    def inside(rounds: Iterable[Round]) -> Iterator[Round]:
        yield from fragment(size, size, rounds).refine(slots).on_ranks(groups, n).rounds

    yield from inside(reduce_scatter.ring(size))
    yield from fragment(count, slots, between).on_ranks(groups.T, n, first, slots * size).rounds
    yield from inside(allgather.ring(size))


def _by_leaders(parts: Sequence[Ints], n: int, slots: int, between: Iterable[Round]) -> Iterator[Round]:
    """An AllReduce: every group's first rank folds the group, the first ranks play ``between`` and tell it."""
    up, down = fragment(n, slots, []), fragment(n, slots, [])
    for size in sorted({len(part) for part in parts}):
        alike = np.stack([part for part in parts if len(part) == size])
        folds, copies = reduce.k_nomial(size, 0, radix=2), broadcast.binomial(size, 0)
        up = up.beside(fragment(size, 1, folds).refine(slots).on_ranks(alike, n))
        down = down.beside(fragment(size, 1, copies).refine(slots).on_ranks(alike, n))
    leaders = [part[0] for part in parts]
    yield from up.rounds
    yield from fragment(len(parts), slots, between).on_ranks(leaders, n).rounds
    yield from down.rounds


def _partition(n: int, group: int, groups: Groups | None) -> list[Ints]:
    """The ranks of each group."""
    if groups is None:
        size = group or largest_divisor(n, isqrt(n))
        return [np.arange(start, min(start + size, n)) for start in range(0, n, size)]
    if group:
        raise ValueError(f"give either group (here {group}) or groups, not both")
    times = Counter(rank for part in groups for rank in part)
    if wrong := [rank for rank in sorted({*times, *range(n)}) if times[rank] != (0 <= rank < n)]:
        raise ValueError(f"groups must name each of the ranks 0 ... {n - 1} once; not so: {wrong[:SHOWN]}")
    if not all(groups):
        raise ValueError(f"groups: group {groups.index(())} is empty")
    return [np.array(part) for part in groups]


def _equal(parts: Sequence[Ints]) -> bool:
    return len({len(part) for part in parts}) == 1


def _between(name: str, ranks: int) -> tuple[int, Iterable[Round]]:
    """Slots and rounds of the AllReduce ``name`` on ``ranks`` ranks."""
    known = find("allreduce", name)
    arguments = known.arguments(ranks, 0, {})
    if scratch := known.scratch(**arguments):
        raise ValueError(
            f"between must be an AllReduce without scratch; {name!r} needs {scratch} slots of it"
        )
    return known.slots(**arguments), known.rounds(**arguments)


def largest_divisor(n: int, most: int) -> int:
    """The largest divisor of n that is at most ``most``."""
    return next(d for d in range(min(most, n), 0, -1) if n % d == 0)


def _alltoall_count(n: int, group: int) -> Count:
    size = largest_divisor(n, group or isqrt(n))
    sent = (size - 1) * (n // size) + (n // size - 1) * size
    return Count(size - 1 + n // size - 1, sent, 0, 1, sent, 0)


@algorithm(
    "alltoall", name="hierarchical", ordered=True, scratch=lambda n, **_: n, count=_alltoall_count,
    tries={"group": (0, 2, 4)}, least={"group": 0},
)  # fmt: skip
def alltoall(n: int, group: int = 0) -> Iterator[Round]:
    """Inside groups first: rank i collects all that the group has for i-th ranks; then i-th ranks exchange.

    So between groups there are n / group - 1 messages a rank, each of ``group`` blocks, instead of n - group.
    ``group``: consecutive ranks; if it does not divide n, the largest smaller number that does. 0: the divisor
    of n next below sqrt(n). Träff and Rougier, "MPI collectives and datatypes for hierarchical all-to-all
    communication" (2014).
    """
    size = largest_divisor(n, group or isqrt(n))
    r, group_of = np.arange(n)[:, None], np.arange(n // size)  # the group that a block goes to
    for i in range(size):
        column = (r + i) % size
        yield copy(
            r, r - r % size + column, slot=size * group_of + column, to=size * group_of + r % size,
            source="input", target="scratch",
        )  # fmt: skip
    r = np.arange(n)
    for i in range(n // size):
        there = (r + i * size) % n
        yield copy(
            r, there, slot=there - there % size, to=r - r % size,
            source="scratch", target="output", width=size,
        )  # fmt: skip
