"""Double trees: two binary trees over all ranks, each for one half of the buffer, at the same time.

A rank inside one tree is a leaf of the other, so each sends and receives about as much as the rest, and
the full bandwidth of every rank is used. Sanders, Speck and Träff, "Two-tree algorithms for full bandwidth
broadcast, reduction and scan" (2009); Jeaugey, "Massively scale your deep learning training with NCCL 2.4"
(2019).

Nodes are numbered in order: of all the numbers in a subtree, those left of its root are smaller and those
right of it greater. Odd numbers are leaves then, so shifting the ranks by one swaps leaves and inner nodes.
``chunks`` is the number of pieces of each half; they follow each other down (or up) the tree.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ringleader.collectives.count import Count
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Ints, Round, copy, fold, fragment, together


def in_order_tree(last: int) -> tuple[Ints, Ints]:
    """Parent and depth of nodes 0 ... ``last``. Node 0 is the root and has one child; its parent is 0.

    A node whose lowest bit is h hangs at the neighbouring multiple of 2h that is not one of 4h, or, where
    that is beyond the last, at the one below.
    """
    node = np.arange(last + 1)
    low = node & -node
    parent = (node ^ low) | 2 * low
    parent = np.where(parent <= last, parent, node ^ low)
    depth = np.zeros_like(node)
    for j in reversed(range(last.bit_length())):
        same = slice(1 << j, None, 2 << j)  # nodes whose lowest bit is 2^j; their parents are done
        depth[same] = depth[parent[same]] + 1
    return parent, depth


def _broadcast_count(n: int, root: int, chunks: int) -> Count:
    """Two chunks a round; but one round has one a rank where the top of each tree has one child only."""
    if n == 1:
        return Count(0, 0, 0, 2 * chunks, 0, 0)
    rounds = (n - 1).bit_length() + chunks - 1
    single = n == 3 or (chunks == 1 and n > 3 and (n - 1).bit_count() == 1)
    path = 2 * rounds - single  # chunks, each a message; but to the only other rank both go in one
    return Count(rounds, 2 * chunks, 0, 2 * chunks, path, 0, path - rounds if n > 2 else 0)


@algorithm(
    "broadcast", ordered=True, slots=lambda chunks, **_: 2 * chunks,
    count=_broadcast_count, tries={"chunks": (1, 4, 16)}, least={"chunks": 1},
)  # fmt: skip
def double_tree(n: int, root: int, chunks: int = 8) -> Iterator[Round]:
    """The root feeds both trees, a chunk each a round: ceil(log2 n) + chunks - 1 rounds.

    In both trees the root is node 0. The others are nodes 1 ... n - 1 in one, shifted by one in the other.
    """
    parent, depth = in_order_tree(n - 1)
    child = np.arange(1, n)
    down = copy(parent[child], child, slot=1 - depth[child])
    rounds = int(depth.max()) + chunks - 1
    tree = fragment(n, chunks, [down.repeat(rounds, shift=1, wrap=False)])
    first = (np.arange(n) + root) % n
    second = np.concatenate([first[:1], np.roll(first[1:], -1)])
    yield from tree.on_ranks([first, second], n, first=[0, chunks], slots=2 * chunks).rounds


def _reduce_count(n: int, root: int, chunks: int) -> Count:
    """The root folds what it would send in the broadcast."""
    there = _broadcast_count(n, root, chunks)
    return there._replace(reduced=there.sent, path_reduced=there.path_sent)


@algorithm(
    "reduce", name="double-tree", slots=lambda chunks, **_: 2 * chunks,
    count=_reduce_count, tries={"chunks": (1, 4, 16)}, least={"chunks": 1},
)  # fmt: skip
def reduce_double_tree(n: int, root: int, chunks: int = 8) -> Iterator[Round]:
    """The broadcast backwards. Needs commuting: at most one of the trees has the ranks in order."""
    yield from fragment(n, 2 * chunks, double_tree(n, root, chunks)).mirrored().rounds


def _allreduce_count(n: int, chunks: int) -> Count | None:
    """An inner rank sends each chunk down twice and up once, and the other tree's up once.

    The busiest of each round is known if there are enough chunks to fill all levels, both ways, at once.
    """
    height = (n - 1).bit_length()
    if n == 1:
        return Count(0, 0, 0, 2 * chunks, 0, 0)
    if n == 3 or chunks < 2 * height - 1:
        return None
    filling = 4 * height - (6 if n in (1 << height, (1 << height >> 1) + 1) else 4)
    sent, reduced = min(n, 4) * chunks, min(n - 1, 2) * chunks
    rounds, path = 2 * height + chunks - 1, sent + max(filling, 0)
    return Count(rounds, sent, reduced, 2 * chunks, path, reduced + max(2 * height - 3, 0), path - rounds)


@algorithm(
    "allreduce", name="double-tree", ordered=True, slots=lambda chunks, **_: 2 * chunks,
    count=_allreduce_count, tries={"chunks": (1, 4, 16)}, least={"chunks": 1},
)  # fmt: skip
def allreduce_double_tree(n: int, chunks: int = 8) -> Iterator[Round]:
    """Each chunk is folded up its tree and sent back down: 2 ceil(log2 n) + chunks - 1 rounds.

    Rank r is node r of one tree and node r + 1 of the other, which has no node 0: no rank is inside both,
    for even n and for odd. (NCCL mirrors the first tree for even n and shifts it cyclically for odd n; here
    both keep the ranks in order, so that operations need not commute.)
    """
    both = fragment(n, 2 * chunks, [])
    for base in (0, 1):
        parent, depth = in_order_tree(n - 1 + base)
        child = np.arange(1, n + base)
        child = child[parent[child] >= base]
        src, dst, level = child - base, parent[child] - base, depth[child] - base
        height = int(depth.max()) - base
        up = fold(src, dst, slot=level - height, order=np.sign(src - dst))
        down = copy(dst, src, slot=1 - level - height)
        rounds = together(up, down).repeat(2 * height + chunks - 1, shift=1, wrap=False)
        tree = fragment(n, chunks, [rounds])
        both = both.beside(tree.on_ranks(np.arange(n), n, first=[base * chunks], slots=2 * chunks))
    yield from both.rounds
