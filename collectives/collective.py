"""The collectives as data: what every rank must hold when the call is over.

Every collective here asks the same kind of thing of a cell: that it hold the fold, over ranks
``lo`` ... ``hi - 1``, of one input slot. So a collective's promise is three integer matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Promise(NamedTuple):
    """Three int64 matrices [n, output slots]: output cell (r, s) ends as the fold over ranks ``lo`` to
    ``hi - 1`` of their input slot ``slot``. lo = hi: the cell keeps its old value. lo < 0: anything."""

    slot: Ints
    lo: Ints
    hi: Ints


@dataclass(frozen=True)
class Collective:
    """What must be true at the end; algorithms say how.

    ``blocks_in(n)``, ``blocks_out(n)``: how many blocks, of ``slots`` slots each, the buffers have.
    ``promise(n, k, root)``: see Promise, with k slots in a block. ``in_place``: input and output are one
    buffer. ``rooted``: the root matters. ``one_way``: some ranks only send, and would otherwise leave before
    anyone could tell them that the ranks disagree. ``at_least_once``: contributions may count double (a
    barrier only has to hear of everyone).
    """

    name: str
    promise: Callable[[int, int, int], Promise]
    blocks_in: Callable[[int], int] = lambda n: 1
    blocks_out: Callable[[int], int] = lambda n: 1
    in_place: bool = False
    rooted: bool = False
    one_way: bool = False
    at_least_once: bool = False


def _grid(n: int, slots: int) -> tuple[Ints, Ints]:
    """Rank and slot of every output cell, as matrices [n, slots]."""
    rank, slot = np.indices((n, slots), dtype=np.int64)
    return rank, slot


def _everyone(n: int, k: int, root: int) -> Promise:
    _, slot = _grid(n, k)
    return Promise(slot, np.zeros_like(slot), np.full_like(slot, n))


def _from_root(n: int, k: int, root: int) -> Promise:
    _, slot = _grid(n, k)
    return Promise(slot, np.full_like(slot, root), np.full_like(slot, root + 1))


def _transposed(n: int, k: int, root: int) -> Promise:
    rank, slot = _grid(n, n * k)
    sender = slot // k
    return Promise(rank * k + slot % k, sender, sender + 1)


def _ranks_before(n: int, k: int, root: int) -> Promise:
    rank, slot = _grid(n, k)
    return Promise(slot, np.zeros_like(slot), rank)


ALLREDUCE = Collective("allreduce", _everyone, in_place=True)
BROADCAST = Collective("broadcast", _from_root, in_place=True, rooted=True, one_way=True)
ALLTOALL = Collective("alltoall", _transposed, blocks_in=lambda n: n, blocks_out=lambda n: n)
EXSCAN = Collective("exscan", _ranks_before, one_way=True)
BARRIER = Collective("barrier", _everyone, in_place=True, at_least_once=True)

COLLECTIVES = {c.name: c for c in (ALLREDUCE, BROADCAST, ALLTOALL, EXSCAN, BARRIER)}
