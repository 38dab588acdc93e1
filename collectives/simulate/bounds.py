"""What no schedule can beat on a topology.

Whatever the algorithm, one message has to be sent (start-up and the smallest latency), and some bytes have to
leave and enter each set of ranks. In a round in which bytes cross a cut, the round lasts at least the
start-up of a message plus those bytes over the capacity of the cut; so over all rounds the bound is one
start-up plus all bytes that must cross over the capacity, for the worst cut.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from ringleader.collectives.schedule import Schedule
from ringleader.collectives.topology import Cut, Topology
from ringleader.collectives.topology.base import OUTSIDE, Floats, Ints


class Sets(NamedTuple):
    """Sets of ranks out of ``n``, each neither empty nor everybody: ``size``, whether the root is inside, and
    the first and last rank of each."""

    n: int
    size: Ints
    root: Ints
    first: Ints
    last: Ints


Share = Callable[[Sets], NDArray[Any]]


def _nothing(s: Sets) -> Ints:
    return np.zeros_like(s.size)


def _one(s: Sets) -> Ints:
    return np.ones_like(s.size)


# The bytes that must (enter, leave) a set, as shares of the collective's larger buffer.
MUST_CROSS: dict[str, tuple[Share, Share]] = {
    "allreduce": (_one, _one),
    "broadcast": (lambda s: 1 - s.root, lambda s: s.root),
    "reduce": (lambda s: s.root, lambda s: 1 - s.root),
    "allgather": (lambda s: 1 - s.size / s.n, lambda s: s.size / s.n),
    "reduce_scatter": (lambda s: s.size / s.n, lambda s: 1 - s.size / s.n),
    "gather": (lambda s: s.root * (1 - s.size / s.n), lambda s: (1 - s.root) * s.size / s.n),
    "scatter": (lambda s: (1 - s.root) * s.size / s.n, lambda s: s.root * (1 - s.size / s.n)),
    "alltoall": (lambda s: s.size * (1 - s.size / s.n), lambda s: s.size * (1 - s.size / s.n)),
    # a scan has to enter unless the set is the first ranks, and to leave unless it is the last ones
    "scan": (lambda s: s.size <= s.last, lambda s: s.size < s.n - s.first),
    "exscan": (lambda s: s.size <= s.last, lambda s: s.size < s.n - s.first),
    "barrier": (_nothing, _nothing),
}


def bound(schedule: Schedule, nbytes: float, cuts: list[Cut], hosts: Ints, start: float) -> float:
    """Seconds that any schedule for the same collective needs; ``start``: a message without bytes.

    A fragment promises nothing, so its bound is 0. The first of the ``cuts`` are the single hosts.
    """
    if schedule.collective is None or schedule.n == 1:
        return 0.0
    worst = 0.0
    if schedule.collective.name in MUST_CROSS:
        enter, leave = MUST_CROSS[schedule.collective.name]
        for cut in cuts:
            sets, chosen = _sets(cut, hosts, schedule.root)
            for share, capacity in ((enter(sets), cut.into[chosen]), (leave(sets), cut.out[chosen])):
                worst = max(worst, _most(nbytes * np.asarray(share, np.float64), capacity))
    if schedule.collective.name == "allreduce":
        worst = max(worst, _gossip(schedule.n, nbytes, cuts[0], hosts))
    return start + worst


def _sets(cut: Cut, hosts: Ints, root: int) -> tuple[Sets, Ints]:
    """The ranks of each part of the cut, and which parts have some ranks but not all."""
    part = cut.part[hosts]
    ranks = np.flatnonzero(part != OUTSIDE)
    size = np.bincount(part[ranks], minlength=len(cut.out))
    first, last = np.full(len(size), len(hosts)), np.full(len(size), -1)
    np.minimum.at(first, part[ranks], ranks)
    np.maximum.at(last, part[ranks], ranks)
    chosen = np.flatnonzero((size > 0) & (size < len(hosts)))
    inside = (chosen == part[root]).astype(np.int64)
    return Sets(len(hosts), size[chosen], inside, first[chosen], last[chosen]), chosen


def _most(nbytes: Floats, capacity: Floats) -> float:
    """The longest time that the bytes of any cut need."""
    needed = nbytes > 0
    with np.errstate(divide="ignore"):
        return float((nbytes[needed] / capacity[needed]).max(initial=0.0))


def _gossip(n: int, nbytes: float, ports: Cut, hosts: Ints) -> float:
    """AllReduce is gossip with one-way calls, which takes 2n - 2 of them (Harary and Schwenk 1974): that many
    buffers leave all ports together."""
    return 2 * (n - 1) * nbytes / float(ports.out[hosts].sum())


def smallest_latency(topology: Topology, hosts: Ints) -> float:
    """No way between two of these hosts is faster: one cable, or a first and a last one."""
    used = np.zeros(topology.vertices, bool)
    used[hosts] = True
    tail, head = topology.links.ends.T
    delay = topology.links.latency
    direct = delay[used[tail] & used[head]].min(initial=np.inf)
    out, into = (delay[used[end]].min(initial=np.inf) for end in (tail, head))
    return float(min(direct, out + into))
