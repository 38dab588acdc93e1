"""A round in its compact form, as steps that are simulated once and occur so many times in a row."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from ringleader.collectives.schedule import COPY, Ints, Round, Transfers
from ringleader.collectives.topology.base import Floats


class Moves(NamedTuple):
    """Who sends whom how many slots, in which of the round's groups, and whether they are folded: all that time
    depends on."""

    src: Ints
    dst: Ints
    slots: Ints
    folds: Ints
    group: Ints

    def pick(self, which: Ints) -> Moves:
        return Moves(*(vector[which] for vector in self))


def steps(round: Round) -> Iterator[tuple[int, Moves]]:
    """(times, moves) in order. Where repetitions leave transfers out (no wrap), a new step begins whenever
    one sets in or drops out, so a pipeline's steady state is one step."""
    if not round.groups:
        yield round.times, Moves(*(np.empty(0, np.int64) for _ in Moves._fields))
        return
    moves = Moves(*(np.concatenate(v) for v in zip(*(_moves(g, i) for i, g in enumerate(round.groups)))))
    first, last = (np.concatenate(v) for v in zip(*(_present(g, round.times) for g in round.groups)))
    if (first == 0).all() and (last == round.times - 1).all():
        yield round.times, moves
        return
    ever = np.flatnonzero(first <= last)
    starting = ever[np.argsort(first[ever], kind="stable")]
    changes = np.unique(np.concatenate([first[ever], last[ever] + 1, [0, round.times]]))
    entry = np.searchsorted(first[starting], changes)
    active = np.empty(0, np.int64)
    for (start, stop), (begin, end) in zip(pairwise(changes.tolist()), pairwise(entry.tolist())):
        active = np.concatenate([active[last[active] >= start], starting[begin:end]])
        yield stop - start, moves.pick(active)


def _moves(g: Transfers, number: int) -> Moves:
    count = len(g.src)
    folds = (g.order != COPY).astype(np.int64)
    return Moves(g.src, g.dst, np.full(count, g.width), folds, np.full(count, number))


def _present(g: Transfers, times: int) -> tuple[Ints, Ints]:
    """First and last repetition in which each transfer takes place (see Transfers); first > last: in none."""
    first, last = np.zeros(len(g.src), np.int64), np.full(len(g.src), times - 1)
    if g.wrap or g.shift == 0:
        return first, last
    assert g.window is not None, "a Schedule resolves the window"
    below = np.minimum(g.src_slot, g.dst_slot)  # must be >= 0
    above = g.window - g.width - np.maximum(g.src_slot, g.dst_slot)  # must be >= 0; both move by the shift
    step = abs(g.shift)
    ahead, behind = (below, above) if g.shift > 0 else (above, below)
    return np.maximum(first, -(ahead // step)), np.minimum(last, behind // step)


class Messages(NamedTuple):
    """What travels together from one rank to another."""

    src: Ints
    dst: Ints
    nbytes: Floats


def messages(moves: Moves, n: int, slot_bytes: float) -> Messages:
    """Moves of one group between the same two ranks travel together, as lower makes them; moves on one rank are
    none."""
    crossing = moves.src != moves.dst
    src, dst, slots, group = (v[crossing] for v in (moves.src, moves.dst, moves.slots, moves.group))
    ends, which = np.unique((group * n + src) * n + dst, return_inverse=True)
    return Messages(ends // n % n, ends % n, np.bincount(which, slots, len(ends)) * slot_bytes)
