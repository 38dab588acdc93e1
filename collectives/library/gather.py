"""Gather and Scatter: everyone's block ends on the root; the root's block r ends on rank r. Blocks keep place."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ringleader.collectives.count import Count
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Ints, Round, copy


def all_at_once(n: int, sent: int) -> Count:
    """One round in which some rank has a message of one block to, or from, each of the others."""
    return Count(int(n > 1), sent, 0, 1, n - 1, 0, max(n - 2, 0))


@algorithm("gather", name="linear", ordered=True, count=lambda n, **_: all_at_once(n, int(n > 1)))
def gather_linear(n: int, root: int) -> Iterator[Round]:
    """Everyone sends its block straight to the root: one round, n - 1 messages into one rank.

    Pjesivac-Grbovic et al., "Performance analysis of MPI collective operations" (2007), flat tree.
    """
    others = np.delete(np.arange(n), root)
    yield copy(others, root, slot=others)


@algorithm("scatter", name="linear", ordered=True, count=lambda n, **_: all_at_once(n, n - 1))
def scatter_linear(n: int, root: int) -> Iterator[Round]:
    """The root sends everyone its block: one round, n - 1 messages out of one rank.

    Pjesivac-Grbovic et al. (2007), flat tree.
    """
    others = np.delete(np.arange(n), root)
    yield copy(root, others, slot=others)


def gather_binomial_count(n: int, root: int) -> Count:
    """The root gets n - 1 blocks; the largest subtree below it decides who sends the most."""
    levels = (n - 1).bit_length()
    half = 1 << levels >> 1  # distance of the root's farthest child
    return Count(levels, max(min(half, n - half), half >> 1), 0, 1, n - 1, 0)


@algorithm("gather", name="binomial", ordered=True, count=gather_binomial_count)
def gather_binomial(n: int, root: int) -> Iterator[Round]:
    """Subtrees of 1, 2, 4, ... ranks pass their blocks up to their parents: ceil(log2 n) rounds.

    Chan et al., "Collective communication: theory, practice, and experience" (2007), on the minimum
    spanning tree; each block is sent on at most that often, the root receives it once.
    """
    for j in range((n - 1).bit_length()):
        parent, child, block = _passing(n, root, 1 << j)
        yield copy(child, parent, slot=block)


@algorithm(
    "scatter", name="binomial", ordered=True,
    count=lambda n, **_: Count((n - 1).bit_length(), n - 1, 0, 1, n - 1, 0),
)  # fmt: skip
def scatter_binomial(n: int, root: int) -> Iterator[Round]:
    """Whoever has blocks gives the upper half of them away: gather's tree, from the root down.

    Chan et al. (2007), as above.
    """
    for j in reversed(range((n - 1).bit_length())):
        parent, child, block = _passing(n, root, 1 << j)
        yield copy(parent, child, slot=block)


def _passing(n: int, root: int, distance: int) -> tuple[Ints, Ints, Ints]:
    """Parent, child and block for each block that passes between ranks at that distance in the tree.

    Ranks are counted from the root. The child at v + distance stands for blocks v + distance ... v + 2 distance - 1.
    """
    block = np.arange(n)
    block = block[block % (2 * distance) >= distance]
    parent = block - block % (2 * distance)
    return (parent + root) % n, (parent + distance + root) % n, (block + root) % n
