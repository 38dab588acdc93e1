"""Swing: partners that swing from one side to the other, at distances 1, -1, 3, -5, 11, ...

De Sensi, Bonato, Saam and Hoefler, "Swing: Short-cutting Rings for Higher Bandwidth Allreduce" (2024).
The partner in step s is about 2/3 of 2^s ranks away, where recursive doubling goes 2^s, so that on a ring fewer
messages share a link. Here it is the paper's algorithm in one dimension with one port; for tori see swing_torus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from ringleader.collectives.count import Count
from ringleader.collectives.library.circulant import blocks_once, blocks_there_and_back
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Ints, Round, copy, fold, fragment


def distance(step: int) -> int:
    """The paper's rho(s) = 1 - 2 + 4 - ... + (-2)^s = (1 - (-2)^(s+1)) / 3."""
    return 1 if step == 0 else 1 - 2 * distance(step - 1)


def partner(position: Ints, step: int) -> Ints:
    """Even positions look ahead by the distance, odd ones back: a pairing of all integers."""
    return position + np.where(position % 2 == 0, distance(step), -distance(step))


def tree(n: int, steps: Iterable[int]) -> Iterator[tuple[Ints, Ints]]:
    """How one block that starts at position 0 reaches everyone: (givers, takers) for each of ``steps``.

    Positions are integers; a position's rank is its remainder modulo n. Whoever has the block gives it to
    his partner, unless the partner's rank has it or gets it from another in this step.
    """
    has = np.zeros(1, np.int64)
    for step in steps:
        takers = partner(has, step)
        once = np.unique(takers % n, return_index=True)[1]
        new = once[~np.isin(takers[once] % n, has % n)]
        yield has[new], takers[new]
        has = np.concatenate([has, takers[new]])


def all_trees(n: int, steps: Iterable[int]) -> Iterator[Round]:
    """Every block along its own tree: an allgather of n - 1 blocks a rank, in ceil(log2 n) rounds.

    With even n, the trees of odd ranks' blocks are turned around, so that a rank has one partner in a step.
    With odd n ranks have no parity on the ring: all trees stay as they are, half of the positions swing
    ahead, half back, and a rank may have two partners in a step.
    """
    owner = np.arange(n)[:, None]
    side = np.where(owner % 2 == 0, 1, -1) if n % 2 == 0 else 1
    for givers, takers in tree(n, steps):
        yield copy((owner + side * givers) % n, (owner + side * takers) % n, slot=owner)


def steps(n: int) -> range:
    """Steps 0, 1, ..., nearest partners first; ``[::-1]`` farthest first."""
    return range((n - 1).bit_length())


def is_power_of_two(n: int) -> bool:
    return n & (n - 1) == 0


def _if_paired(n: int, count: Count) -> Count | None:
    """Known for even n; with odd n a rank has one partner in some rounds and two in others."""
    return count if n % 2 == 0 or n == 1 else None


@algorithm(
    "allgather", name="swing", ordered=True, count=lambda n: _if_paired(n, blocks_once(n, folds=False))
)
def allgather(n: int) -> Iterator[Round]:
    """Partners exchange all blocks they have, farthest partners first, so that half of all bytes go one rank far.

    The second half of Swing, for every n: off powers of two a rank could get a block twice, and is not sent
    what it has. For odd n the paper gives the last rank's blocks to the others directly; here see all_trees.
    """
    yield from all_trees(n, steps(n)[::-1])


@algorithm("reduce_scatter", name="swing", count=lambda n: _if_paired(n, blocks_once(n, folds=True)))
def reduce_scatter(n: int) -> Iterator[Round]:
    """The allgather backwards, the first half of Swing: half of the blocks go to the nearest partner first."""
    yield from fragment(n, n, allgather(n)).mirrored().rounds


@algorithm(
    "allreduce", name="swing", slots=lambda n: n, count=lambda n: _if_paired(n, blocks_there_and_back(n))
)
def allreduce(n: int) -> Iterator[Round]:
    """Reduce-scatter, then allgather: the fewest bytes, in 2 ceil(log2 n) rounds (bandwidth-optimal Swing)."""
    yield from reduce_scatter(n)
    yield from allgather(n)


def _count_latency(n: int) -> Count:
    doublings = n.bit_length() - 1
    return count_on_power_of_two(n, Count(doublings, doublings, doublings, 1, doublings, doublings))


@algorithm("allreduce", name="swing-latency", count=_count_latency)
def latency(n: int) -> Iterator[Round]:
    """Partners exchange whole buffers: log2(n) rounds (latency-optimal Swing).

    Farthest partners first: in the paper's order, nearest first, ranks fold in different shapes from n = 8
    on, and float results would differ between them. Off powers of two: see on_power_of_two.
    """

    def exchanges(n: int) -> Iterator[Round]:
        r = np.arange(n)
        for step in steps(n)[::-1]:
            yield fold(r, partner(r, step) % n)

    yield from on_power_of_two(n, lambda n: 1, exchanges)


def on_power_of_two(
    n: int, slots: Callable[[int], int], rounds: Callable[[int], Iterator[Round]]
) -> Iterator[Round]:
    """An AllReduce for powers of two on the largest one in n. ``slots`` and ``rounds`` are asked about that.

    Neighbours pair up first until no more ranks are left than that, and are told the result at the end, as in
    Thakur, Rabenseifner and Gropp, "Optimization of Collective Communication Operations in MPICH" (2005),
    section 4.4.
    """
    active = 1 << (n.bit_length() - 1)
    resting = 2 * np.arange(n - active)
    ranks = np.concatenate([resting + 1, np.arange(2 * len(resting), n)])
    width = slots(active)
    yield fold(resting, resting + 1, order=-1, width=width)
    yield from fragment(active, width, rounds(active)).on_ranks(ranks, n).rounds
    yield copy(resting + 1, resting, width=width)


def count_on_power_of_two(n: int, core: Count) -> Count:
    """``core``, on the largest power of two in n, with on_power_of_two's two rounds for the other ranks."""
    extra = core.slots * (n & (n - 1) > 0)
    rounds = core.rounds + 2 * (extra > 0)
    sent, path_sent = core.sent + extra, core.path_sent + 2 * extra
    reduced, path_reduced = core.reduced + extra, core.path_reduced + extra
    return Count(rounds, sent, reduced, core.slots, path_sent, path_reduced, core.more_starts)


def halving_doubling_count(n: int, ports: int = 1) -> Count:
    """Partners halve what they fold, then double what they know; each of ``ports`` parts of the buffer on its own."""
    active = 1 << (n.bit_length() - 1)
    rounds, folded = 2 * (active.bit_length() - 1), (active - 1) * ports  # slots: a half, a quarter, ...
    core = Count(rounds, 2 * folded, folded, active * ports, 2 * folded, folded, rounds * (ports - 1))
    return count_on_power_of_two(n, core)
