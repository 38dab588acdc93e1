"""The parameter server as a schedule: everyone pushes to the leaders, who fold, and pulls the result."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ringleader.collectives.count import Count
from ringleader.collectives.registry import algorithm
from ringleader.collectives.schedule import Round, copy, fold


def _count(n: int, servers: int) -> Count:
    """A server gets and folds n - 1 slots, and sends n - 1 back besides its own pushes."""
    slots = min(servers, n)
    sent = n - 1 + slots - 1
    return Count(2 * (n > 1), sent, n - 1, slots, 2 * (n - 1), n - 1, 2 * max(n - 2, 0))


@algorithm(
    "allreduce", ordered=True, slots=lambda n, servers: min(servers, n), count=_count,
    tries={"servers": (1, 2, 4)}, least={"servers": 1},
)  # fmt: skip
def leader(n: int, servers: int = 1) -> Iterator[Round]:
    """Push and pull: slot i belongs to server i, which folds everyone's in rank order and sends it back.

    Two rounds, but a server's link carries (n - 1)/servers of the buffer each way. Servers are ranks too, spread
    evenly over all of them: rank 0 first, at most n. With ``servers`` = n this is ``two-shot``. Li et al.,
    "Scaling distributed machine learning with the parameter server" (2014).
    """
    slots = min(servers, n)
    worker, slot = np.indices((n, slots))
    server = slot * n // slots
    other = worker != server
    worker, slot, server = worker[other], slot[other], server[other]
    yield fold(worker, server, slot=slot, order=worker - server)
    yield copy(server, worker, slot=slot)
