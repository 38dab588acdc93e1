"""Träff's circulant graphs: every rank r talks to r + s and r - s for the same few distances s, in one order.

The distances are n halved again and again, rounded up: ceil(n/2), ..., 2, 1. On this one graph there is a
broadcast of N chunks in the fewest rounds there can be, and an allgather in the fewest rounds that moves no
byte twice, for every n.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from ringleader.collectives.count import Count
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Ints, Round, copy, fragment

CHUNKS = (1, 2, 5, 16)  # worth trying


def skips(n: int) -> list[int]:
    """1 = s_0, s_1, ..., s_q = n, where s_k = ceil(s_(k+1) / 2) and q = ceil(log2 n)."""
    found = [n]
    while found[-1] > 1:
        found.append(-(-found[-1] // 2))
    return found[::-1]


def base_blocks(n: int) -> Ints:
    """Int vector [n]: the first block that each rank gets; q for rank 0, the root, which has them all.

    Write the rank as a sum of skips, largest first: its base block is the index of the smallest one. In the
    first q rounds block k goes from the root to rank s_k, and on along larger and larger skips.
    """
    skip = skips(n)
    rest, base = np.arange(n), np.full(n, len(skip) - 1)
    for k in reversed(range(len(skip) - 1)):
        taken = rest >= skip[k]
        base[taken] = k
        rest[taken] -= skip[k]
    return base


def receive_schedule(n: int) -> Ints:
    """Int matrix [n, q]: the block that each rank gets in round k of a phase of q rounds; row 0 is void.

    Blocks are counted from the phase's first. In a phase a rank gets its base block and, numbered -q ... -1,
    all blocks of the phase before except its base block, which it has. In round k it gets the base block of
    the nearest rank at least s_k behind it whose block it still lacks, and which got that block from a rank
    at least s_(k+1) behind. The root, once around, stands for the base block of this phase.

    Träff, "Optimal Broadcast Schedules in Logarithmic Time with Applications to Broadcast, All-Broadcast,
    Reduction and All-Reduction" (2024), finds it by a search of O(log n) steps for each rank; this makes the
    same choices in a scan for all ranks at once.
    """
    skip, base = np.array(skips(n)), base_blocks(n)
    q = len(skip) - 1
    twice = np.tile(base, 2)  # along two laps of the ring, so that all n ranks behind a rank are there
    parent = np.arange(2 * n) - skip[twice]
    r = np.arange(1, n)
    has = 1 << base[r]  # bit e: block e
    blocks = np.zeros((n, q), np.int64)
    for k in range(q):
        behind = n + r - skip[k]
        while True:
            block = twice[behind]
            unfit = ((has >> block) & 1 == 1) | (parent[behind] > n + r - skip[k + 1])
            if not unfit.any():
                break
            behind = behind - unfit
        has |= 1 << block
        blocks[1:, k] = np.where(block == q, base[r], block - q)
    return blocks


def _pipelined(n: int, chunks: int, *, root_receives: bool) -> Count:
    """The root has one chunk to send (or receive) in each of the chunks - 1 + ceil(log2 n) rounds."""
    rounds = chunks - 1 + (n - 1).bit_length() if n > 1 else 0
    if root_receives:
        return Count(rounds, chunks if n > 1 else 0, rounds, chunks, rounds, rounds)
    return Count(rounds, rounds, 0, chunks, rounds, 0)


@algorithm(
    "broadcast", name="circulant", ordered=True, slots=lambda chunks, **_: chunks, tries={"chunks": CHUNKS}, least={"chunks": 1},
    count=lambda n, chunks, **_: _pipelined(n, chunks, root_receives=False),
)  # fmt: skip
def broadcast(n: int, root: int, chunks: int = 16) -> Iterator[Round]:
    """All ranks send and receive a chunk a round: chunks - 1 + ceil(log2 n) rounds, which is optimal.

    Phases of q = ceil(log2 n) rounds; in round k of a phase, rank r sends to r + s_k what that rank's receive
    schedule says. There are no chunks before the first; numbers behind the last stand for the last. Träff,
    "Optimal Broadcast Schedules in Logarithmic Time with Applications to Broadcast, All-Broadcast, Reduction
    and All-Reduction" (2024).
    """
    if n == 1:
        return
    skip, blocks = skips(n), receive_schedule(n)
    q = len(skip) - 1
    idle = (1 - chunks) % q  # rounds of the first phase that are left out, so that the last one is whole
    v = np.arange(1, n)  # rank counted from the root
    for i in range(idle, idle + chunks - 1 + q):
        chunk = blocks[v, i % q] + i // q * q - idle
        there = chunk >= 0
        dst, chunk = v[there], np.minimum(chunk[there], chunks - 1)
        yield copy((dst - skip[i % q] + root) % n, (dst + root) % n, slot=chunk)


@algorithm(
    "reduce", name="circulant", slots=lambda chunks, **_: chunks, tries={"chunks": CHUNKS}, least={"chunks": 1},
    count=lambda n, chunks, **_: _pipelined(n, chunks, root_receives=True),
)  # fmt: skip
def reduce(n: int, root: int, chunks: int = 16) -> Iterator[Round]:
    """The broadcast backwards: chunks - 1 + ceil(log2 n) rounds, each rank sends every chunk once.

    Each rank got each chunk once, so backwards it gives each partial fold away once. Träff (2024), as above.
    """
    yield from fragment(n, chunks, broadcast(n, root, chunks)).mirrored().rounds


def blocks_once(n: int, *, folds: bool) -> Count:
    """An allgather or reduce-scatter of n - 1 blocks a rank, in ceil(log2 n) rounds."""
    return Count((n - 1).bit_length(), n - 1, (n - 1) * folds, 1, n - 1, (n - 1) * folds)


def blocks_there_and_back(n: int) -> Count:
    """An AllReduce made of both."""
    return Count(2 * (n - 1).bit_length(), 2 * (n - 1), n - 1, n, 2 * (n - 1), n - 1)


@algorithm("allgather", name="circulant", ordered=True, count=lambda n: blocks_once(n, folds=False))
def allgather(n: int) -> Iterator[Round]:
    """A rank has the blocks of s_k ranks from itself on and gets those of the next s_(k+1) - s_k.

    ceil(log2 n) rounds, n - 1 blocks a rank, for every n. Träff, "Optimal, Non-pipelined Reduce-scatter and
    Allreduce Algorithms" (2024).
    """
    skip = skips(n)
    for s, more in pairwise(skip):
        r, i = np.indices((n, more - s))
        yield copy(r, (r - s) % n, slot=(r + i) % n)


@algorithm("reduce_scatter", name="circulant", count=lambda n: blocks_once(n, folds=True))
def reduce_scatter(n: int) -> Iterator[Round]:
    """The allgather backwards: the far half of a rank's partial folds go s_k ahead, ceil(log2 n) rounds.

    Träff, "Optimal, Non-pipelined Reduce-scatter and Allreduce Algorithms" (2024).
    """
    yield from fragment(n, n, allgather(n)).mirrored().rounds


@algorithm("allreduce", name="circulant", slots=lambda n: n, count=blocks_there_and_back)
def allreduce(n: int) -> Iterator[Round]:
    """Reduce-scatter, then allgather: the fewest bytes for every n, in 2 ceil(log2 n) rounds.

    Träff, "Optimal, Non-pipelined Reduce-scatter and Allreduce Algorithms" (2024).
    """
    yield from reduce_scatter(n)
    yield from allgather(n)
