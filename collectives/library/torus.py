"""AllReduce on a torus: rings along one dimension after the other, so that all messages go to neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isqrt, prod

import numpy as np
from ringleader.collectives.count import Count
from ringleader.collectives.library.hierarchical import largest_divisor, scatter_between_gather
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Round, Schedule, fragment


def _count(shape: tuple[int, ...], ports: int) -> Count:
    check_ports(ports, len(shape))
    n = prod(shape)
    sent, reduced = 2 * (n - 1) * ports, (n - 1) * ports
    rounds = 2 * sum(size - 1 for size in shape)
    return Count(rounds, sent, reduced, n * ports, sent, reduced, rounds * (ports - 1))


@algorithm(
    "allreduce", name="torus-2d", slots=lambda n, ports, **_: n * ports, tries={"ports": (2, 4)}, least={"rows": 0, "ports": 1},
    count=lambda n, rows, ports: _count(_rows_and_columns(n, rows), ports),
)  # fmt: skip
def torus_2d(n: int, rows: int = 0, ports: int = 2) -> Iterator[Round]:
    """Reduce-scatter along the rows, then the columns; allgather along the columns, then the rows.

    2(rows + columns - 2) rounds and the bytes of the ring. Rank r stands in row r // columns. ``rows`` is a
    divisor of n; 0: the one nearest to sqrt(n), which for prime n is 1: a ring.

    ``ports`` is 1, 2 or 4: parts of the buffer that go different ways at the same time. 1: all of it as above,
    and while one dimension is busy the other is idle; Ying et al., "Image classification at supercomputer
    scale" (2018), Mikami et al., "Massively distributed SGD: ImageNet/ResNet-50 training in a flash" (2018). 2:
    one half begins with the columns. 4: the other way round each ring as well, so that all links of a rank are
    busy; Jain and Sabharwal, "Optimal bucket algorithms for large MPI collectives on torus interconnects" (2010).
    """
    yield from in_ports(_rows_and_columns(n, rows), ports, _along_all)


@algorithm(
    "allreduce", name="torus-3d", slots=lambda n, ports, **_: n * ports,
    tries={"ports": (1, 3, 6)}, least={"x": 0, "y": 0, "ports": 1},
    count=lambda n, x, y, ports: _count(_box(n, x, y), ports),
)  # fmt: skip
def torus_3d(n: int, x: int = 0, y: int = 0, ports: int = 3) -> Iterator[Round]:
    """As ``torus-2d`` in a box of x by y by n/(xy) ranks, row-major: 2(x + y + z - 3) rounds.

    0 chooses: ``x`` the divisor of n next below its cube root, ``y`` the one of n/x next below its square root; so
    prime n is a ring. ``ports`` is 1, 3 (each third begins with another dimension) or 6 (both ways round).
    Jain and Sabharwal (2010).
    """
    yield from in_ports(_box(n, x, y), ports, _along_all)


def in_ports(
    shape: tuple[int, ...], ports: int, along: Callable[[tuple[int, ...]], Schedule]
) -> Iterator[Round]:
    """``along``, an AllReduce for a torus of a given shape, for each of ``ports`` parts of the buffer; part p after
    rotating the dimensions by p and, when all have had their turn, the other way round."""
    dimensions, n = len(shape), prod(shape)
    check_ports(ports, dimensions)
    whole = fragment(n, n * ports, [])
    for port in range(ports):
        grid = np.arange(n).reshape(shape).transpose(np.roll(range(dimensions), port))
        if port >= dimensions:
            # Turned round and moved by one: a flip alone would leave Swing's neighbours, 0 and 1, together.
            grid = np.roll(np.flip(grid), 1, axis=tuple(range(dimensions)))
        part = along(grid.shape).on_ranks(grid.ravel(), n, first=[port * n], slots=n * ports)
        whole = whole.beside(part)
    yield from whole.rounds


def check_ports(ports: int, dimensions: int) -> None:
    if ports not in (1, dimensions, 2 * dimensions):
        raise ValueError(f"ports must be 1, {dimensions} or {2 * dimensions}, got {ports}")


def _along_all(shape: tuple[int, ...]) -> Schedule:
    """Reduce-scatter along the last dimension, the same within what is left, allgather along the last."""
    n = 1
    rounds: Iterator[Round] = iter(())
    for size in shape:
        lines = np.arange(n * size).reshape(n, size)
        rounds = scatter_between_gather(lines, n, rounds)
        n *= size
    return fragment(n, n, rounds)


def _rows_and_columns(n: int, rows: int) -> tuple[int, int]:
    rows = _side("rows", rows, n, isqrt(n))
    return rows, n // rows


def _box(n: int, x: int, y: int) -> tuple[int, int, int]:
    x = _side("x", x, n, round(n ** (1 / 3)))
    y = _side("y", y, n // x, isqrt(n // x))
    return x, y, n // x // y


def _side(name: str, given: int, n: int, most: int) -> int:
    """``given`` if it divides n; for 0 the largest divisor up to ``most``."""
    if given and n % given:
        divisors = [d for d in range(1, n + 1) if n % d == 0]
        raise ValueError(f"{name} must divide {n}, got {given}; possible: {divisors}")
    return given or largest_divisor(n, most)
