"""Swing on a torus: partners at distances 1, -1, 3, -5, ... along the dimensions in turn.

De Sensi, Bonato, Saam and Hoefler, "Swing: Short-cutting Rings for Higher Bandwidth Allreduce" (2024), sections 3
and 4: with 2D parts of the buffer on a torus of D dimensions, each part begins with another dimension or goes the other
way round, so that all links of a rank are busy. Sides are powers of two, as equal as can be, longest last; off powers of
two neighbours join first (swing.on_power_of_two), and ranks do not stand where they would on a torus of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from ringleader.collectives.count import Count
from ringleader.collectives.library.swing import halving_doubling_count, on_power_of_two, partner
from ringleader.collectives.library.torus import check_ports, in_ports
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Ints, Round, Schedule, copy, fragment


def _count(n: int, dimensions: int, ports: int) -> Count:
    check_ports(ports, dimensions)
    return halving_doubling_count(n, ports)


def _slots(n: int, ports: int) -> int:
    return ports << (n.bit_length() - 1)


@algorithm(
    "allreduce", name="swing-2d", slots=_slots, tries={"ports": (1, 4)}, least={"ports": 1},
    count=lambda n, ports: _count(n, 2, ports),
)  # fmt: skip
def swing_2d(n: int, ports: int = 4) -> Iterator[Round]:
    """Reduce-scatter, nearest partners first, then backwards as allgather: 2 log2(n) rounds, the fewest bytes.

    ``ports``: 1, 2 or 4 parts of the buffer that go different ways. De Sensi et al. (2024), section 4.
    """
    yield from _swing(n, 2, ports)


@algorithm(
    "allreduce", name="swing-3d", slots=_slots, tries={"ports": (1, 6)}, least={"ports": 1},
    count=lambda n, ports: _count(n, 3, ports),
)  # fmt: skip
def swing_3d(n: int, ports: int = 6) -> Iterator[Round]:
    """As ``swing-2d`` in three dimensions. ``ports``: 1, 3 or 6. De Sensi et al. (2024), section 4."""
    yield from _swing(n, 3, ports)


def _swing(n: int, dimensions: int, ports: int) -> Iterator[Round]:
    def rounds(n: int) -> Iterator[Round]:
        yield from in_ports(_sides(n.bit_length() - 1, dimensions), ports, _there_and_back)

    yield from on_power_of_two(n, lambda n: n * ports, rounds)


def _sides(exponent: int, dimensions: int) -> tuple[int, ...]:
    """2^exponent as a product of powers of two."""
    return tuple(1 << ((exponent + d) // dimensions) for d in range(dimensions))


def _there_and_back(shape: tuple[int, ...]) -> Schedule:
    n = int(np.prod(shape))
    gather = fragment(n, n, exchange_all(n, list(partners(shape))[::-1]))
    return gather.mirrored().then(gather)


def partners(shape: tuple[int, ...]) -> Iterator[Ints]:
    """Of every rank of the torus, row-major, in each step: the last dimension first, the nearest ranks first."""
    at = np.indices(shape).reshape(len(shape), -1)
    for step in range(max(shape).bit_length() - 1):
        for d in reversed(range(len(shape))):
            if 2 << step <= shape[d]:
                there = at.copy()
                there[d] = partner(at[d], step) % shape[d]
                yield np.ravel_multi_index(tuple(there), shape)


def exchange_all(n: int, meetings: Iterable[Ints]) -> Iterator[Round]:
    """An allgather: in each of the ``meetings`` every rank sends its partner all blocks that one does not have."""
    has = np.eye(n, dtype=bool)
    for other in meetings:
        rank, block = np.nonzero(has & ~has[other])
        yield copy(rank, other[rank], slot=block)
        has |= has[other]
