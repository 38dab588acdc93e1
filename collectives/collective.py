"""The collectives as data: what every rank must hold when the call is over.

Every collective here asks the same kind of thing of a cell: that it hold the fold, over ranks
``lo`` ... ``hi - 1``, of one input slot. So a collective's promise is three integer matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
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


def _one(n: int) -> int:
    return 1


def _all(n: int) -> int:
    return n


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
    blocks_in: Callable[[int], int] = _one
    blocks_out: Callable[[int], int] = _one
    in_place: bool = False
    rooted: bool = False
    one_way: bool = False
    at_least_once: bool = False

    @cached_property
    def folds(self) -> bool:
        """Does it combine values of several ranks, or only move them?"""
        promise = self.promise(3, 1, 0)
        return bool(np.any(promise.hi - promise.lo > 1))


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


def _on_root(n: int, k: int, root: int) -> Promise:
    """The fold of everyone on the root; whatever the others used as room on the way."""
    return _only(_grid(n, k)[0] == root, _everyone(n, k, root))


def _blocks_of_everyone(n: int, k: int, root: int) -> Promise:
    """Block b is rank b's."""
    _, slot = _grid(n, n * k)
    return Promise(slot, slot // k, slot // k + 1)


def _blocks_on_root(n: int, k: int, root: int) -> Promise:
    return _only(_grid(n, n * k)[0] == root, _blocks_of_everyone(n, k, root))


def _own_block_folded(n: int, k: int, root: int) -> Promise:
    """Rank r's block r is the fold of everyone's block r."""
    rank, slot = _grid(n, n * k)
    return _only(slot // k == rank, _everyone(n, n * k, root))


def _own_block_from_root(n: int, k: int, root: int) -> Promise:
    rank, slot = _grid(n, n * k)
    return _only(slot // k == rank, _from_root(n, n * k, root))


def _only(where: NDArray[np.bool_], promise: Promise) -> Promise:
    """The promise there; anything elsewhere."""
    return Promise(promise.slot, np.where(where, promise.lo, -1), np.where(where, promise.hi, -1))


def _transposed(n: int, k: int, root: int) -> Promise:
    rank, slot = _grid(n, n * k)
    sender = slot // k
    return Promise(rank * k + slot % k, sender, sender + 1)


def _ranks_before(n: int, k: int, root: int) -> Promise:
    rank, slot = _grid(n, k)
    return Promise(slot, np.zeros_like(slot), rank)


def _ranks_up_to_own(n: int, k: int, root: int) -> Promise:
    rank, slot = _grid(n, k)
    return Promise(slot, np.zeros_like(slot), rank + 1)


# Where blocks of all ranks meet in one buffer the collective is in place over all of them: before an
# allgather a rank's own block stands in its place, after a reduce_scatter it does.
ALLREDUCE = Collective("allreduce", _everyone, in_place=True)
BROADCAST = Collective("broadcast", _from_root, in_place=True, rooted=True, one_way=True)
REDUCE = Collective("reduce", _on_root, in_place=True, rooted=True, one_way=True)
ALLGATHER = Collective("allgather", _blocks_of_everyone, _all, _all, in_place=True)
REDUCE_SCATTER = Collective("reduce_scatter", _own_block_folded, _all, _all, in_place=True)
GATHER = Collective("gather", _blocks_on_root, _all, _all, in_place=True, rooted=True, one_way=True)
SCATTER = Collective("scatter", _own_block_from_root, _all, _all, in_place=True, rooted=True, one_way=True)
ALLTOALL = Collective("alltoall", _transposed, _all, _all)
SCAN = Collective("scan", _ranks_up_to_own, in_place=True, one_way=True)
EXSCAN = Collective("exscan", _ranks_before, one_way=True)
BARRIER = Collective("barrier", _everyone, in_place=True, at_least_once=True)

COLLECTIVES = {
    c.name: c
    for c in (
        ALLREDUCE, BROADCAST, REDUCE, ALLGATHER, REDUCE_SCATTER, GATHER, SCATTER, ALLTOALL, SCAN, EXSCAN, BARRIER,
    )
}  # fmt: skip
