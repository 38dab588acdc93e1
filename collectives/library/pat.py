"""PAT, parallel aggregated trees: allgather and reduce-scatter with few far messages and bounded ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ringleader.collectives.count import Count
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Ints, Round, copy, fragment

AGGREGATE = {"aggregate": (0, 1, 4)}


def subtree(n: int, aggregate: int) -> int:
    """Nodes of a subtree, a power of two, so that at most ``aggregate`` subtrees (0: any number) make n."""
    most = aggregate or n
    return 1 << (-(-n // most) - 1).bit_length()


def _count(n: int, aggregate: int, *, folds: bool) -> Count:
    size = subtree(n, aggregate)
    rounds = (n - 1).bit_length() - (size - 1).bit_length() + min(size, n) - 1
    return Count(rounds, n - 1, (n - 1) * folds, 1, n - 1, (n - 1) * folds)


@algorithm(
    "allgather", name="pat", ordered=True, tries=AGGREGATE, least={"aggregate": 0},
    count=lambda n, aggregate: _count(n, aggregate, folds=False),
)  # fmt: skip
def allgather(n: int, aggregate: int = 0) -> Iterator[Round]:
    """A binomial tree for every block, far edges first, all trees in step; at most ``aggregate`` blocks a message.

    Node v of a block's tree is the rank v ahead of the block's owner; its parent is v without its lowest bit.
    While there are few nodes, all edges of a length go in one round: a logarithmic number. Then the tree has
    come down to equal subtrees, as many as a message may have blocks, and these are walked in step, a node a
    round, depth first, so that on each rank few blocks wait to be passed on. ``aggregate`` 0: no limit, and
    ceil(log2 n) rounds. Any n: nodes from n on are not there, and they have no children.

    Jeaugey, "PAT: a new algorithm for all-gather and reduce-scatter operations at scale" (2025).
    """
    size = subtree(n, aggregate)
    distance = 1 << (n - 1).bit_length() >> 1
    while distance >= size:
        yield _edges(n, distance, np.arange(distance, n, 2 * distance))
        distance //= 2
    for node in range(1, min(size, n)):
        yield _edges(n, node & -node, np.arange(node, n, size))


def _edges(n: int, distance: int, nodes: Ints) -> Round:
    """In every block's tree, ``nodes`` get the block from their parents, ``distance`` below."""
    owner, node = np.meshgrid(np.arange(n), nodes, indexing="ij")
    return copy((owner + node - distance) % n, (owner + node) % n, slot=owner)


@algorithm(
    "reduce_scatter",
    name="pat",
    tries=AGGREGATE,
    least={"aggregate": 0},
    count=lambda n, aggregate: _count(n, aggregate, folds=True),
)
def reduce_scatter(n: int, aggregate: int = 0) -> Iterator[Round]:
    """The allgather backwards: near edges first, far ones last, when few partial folds are left to send.

    Jeaugey (2025).
    """
    yield from fragment(n, n, allgather(n, aggregate)).mirrored().rounds
