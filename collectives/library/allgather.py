"""AllGather: block b of every rank's output ends as rank b's. At the start a rank's own block is in place."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ringleader.collectives.count import Count
from ringleader.collectives.library.circulant import blocks_once
from ringleader.collectives.library.gather import all_at_once
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Ints, Round, copy, together


@algorithm("allgather", ordered=True, count=lambda n: Count(n - 1, n - 1, 0, 1, n - 1, 0))
def ring(n: int) -> Iterator[Round]:
    """Each rank passes on the block that it got last: n - 1 rounds of one block to the next rank.

    Chan et al., "Collective communication: theory, practice, and experience" (2007), section 4.2 (bucket).
    """
    r = np.arange(n)
    yield copy(r, (r + 1) % n, slot=r).repeat(n - 1, shift=-1)


@algorithm("allgather", ordered=True, count=lambda n: all_at_once(n, n - 1))
def direct(n: int) -> Iterator[Round]:
    """Everyone sends its block to everyone: one round of n - 1 messages a rank.

    Cowan et al., "MSCCLang: Microsoft Collective Communication Language" (2023), the second half of AllPairs.
    """
    src, dst = np.indices((n, n))
    yield copy(src[src != dst], dst[src != dst], slot=src[src != dst])


@algorithm("allgather", ordered=True, count=lambda n: blocks_once(n, folds=False))
def bruck(n: int) -> Iterator[Round]:
    """A rank has the blocks of 1, 2, 4, ... ranks from itself on, and sends them as far back.

    ceil(log2 n) rounds and n - 1 blocks a rank for every n: the last round sends what is still missing. Bruck
    et al., "Efficient algorithms for all-to-all communications in multiport message-passing systems" (1997),
    section 4. There a rank's own block comes first and all are rotated at the end; here blocks have their
    place from the start.
    """
    for d in (1 << j for j in range((n - 1).bit_length())):
        r, i = np.indices((n, min(d, n - d)))
        yield copy(r, (r - d) % n, slot=(r + i) % n)


def doubling_counts(n: int) -> tuple[int, int, int]:
    """Blocks that the busiest rank sends in recursive_doubling, the sum of the busiest of each round, and the
    messages beyond one a round."""
    distances = [1 << j for j in range((n - 1).bit_length())]
    sent, path, more = sum(distances), 0, 0  # rank 0 sends d in each round
    for d in distances:
        size = n % (2 * d) - d  # of the last group of a round, if it meets one of d ranks
        served = -(-d // size) if size > 0 else 1  # ranks there, by each of the last group
        path += max(d, size * served) if size > 0 else d
        more += served - 1
        if size > 0:
            sent = max(sent, sum(_blocks_sent(n, n - size, e) for e in distances))
    return sent, path, more


def _blocks_sent(n: int, rank: int, d: int) -> int:
    """Blocks that ``rank`` sends in recursive_doubling's round of groups of ``d``: size times receivers."""
    own, other = rank - rank % d, (rank - rank % d) ^ d
    size, receivers = min(d, n - own), min(d, n - other)
    return size * max(0, -(-(receivers - rank % d) // size))


def _recursive_doubling_count(n: int) -> Count:
    sent, path, more = doubling_counts(n)
    return Count((n - 1).bit_length(), sent, 0, 1, path, 0, more)


@algorithm("allgather", ordered=True, count=_recursive_doubling_count)
def recursive_doubling(n: int) -> Iterator[Round]:
    """Neighbouring groups of 1, 2, 4, ... ranks swap all blocks they have: ceil(log2 n) rounds.

    In powers of two, rank r meets r xor d. Otherwise the last group may be smaller than the one it meets, and
    then each of its ranks serves several there: no more rounds, and nobody gets a block twice, but those
    ranks send more. Thakur, Rabenseifner and Gropp, "Optimization of Collective Communication Operations in
    MPICH" (2005), the AllGather of short and medium messages.
    """
    for d in (1 << j for j in range((n - 1).bit_length())):
        yield swap_groups(n, d, np.arange(n))


def swap_groups(n: int, d: int, receiver: Ints) -> Round:
    """``receiver``s get the blocks of the group of ``d`` ranks beside theirs, from their counterparts there."""
    group = (receiver - receiver % d) ^ d  # first rank of the other group; its blocks start there too
    receiver, group = receiver[group < n], group[group < n]
    size = np.minimum(d, n - group)
    sender = group + receiver % d % size
    widths = [(size == s, s) for s in np.unique(size).tolist()]
    return together(*(copy(sender[i], receiver[i], slot=group[i], width=s) for i, s in widths))


def _neighbour_exchange_count(n: int) -> Count:
    return Count(n - 1 if n % 2 else n // 2, n - 1, 0, 1, n - 1, 0)


@algorithm("allgather", ordered=True, count=_neighbour_exchange_count)
def neighbour_exchange(n: int) -> Iterator[Round]:
    """Pairs swap blocks, then each rank the two blocks that it got last, with either neighbour in turn.

    n/2 rounds of two blocks, all between neighbours. Chen et al., "Performance evaluation of allgather
    algorithms on terascale Linux cluster with Fast Ethernet" (2005). Odd n cannot pair up: it is the ring.
    """
    if n % 2:
        yield from ring(n)
        return
    r = np.arange(n)
    ahead = np.where(r % 2 == 0, 1, -1)  # towards the rank's partner in the first round
    yield copy(r, r + ahead, slot=r)
    pair = r // 2  # that the rank sends in this round
    for t in range(1, n // 2):
        partner = (r + (ahead if t % 2 == 0 else -ahead)) % n
        yield copy(r, partner, slot=2 * pair, width=2)
        pair = pair[partner]
