"""The price of an algorithm: rounds and bytes, in closed form where one is known, and the time they take."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from numbers import Integral
from typing import NamedTuple

from ringleader.collectives.bounds import Bounds
from ringleader.collectives.collective import Collective
from ringleader.collectives.count import Count, count
from ringleader.collectives.registry import Algorithm, build, find
from ringleader.collectives.schedule import Schedule

MOST_COUNTED = 4096  # ranks up to which an algorithm without a closed form is built and counted
MOST_TRIED = 512  # ranks up to which an algorithm is started to hear what it thinks of its parameters


class Cost(NamedTuple):
    """What ``Count`` counts, in bytes. See there for the words.

    ``nbytes``: of the buffer that was priced. ``closed``: from the algorithm's closed form, nothing was built.
    """

    rounds: int
    starts: int
    sent: float
    reduced: float
    path_sent: float
    path_reduced: float
    nbytes: int
    closed: bool

    def terms(self, alpha: float, beta: float, gamma: float) -> tuple[float, float, float]:
        """The seconds that go to starting messages, moving bytes and reducing them.

        ``alpha``: seconds to start a message, ``beta``: seconds a byte moved, ``gamma``: seconds a byte reduced, as
        in Thakur, Rabenseifner and Gropp, "Optimization of Collective Communication Operations in MPICH" (2005),
        section 3: a rank can send one message and receive one at the same time, and a round lasts as long as its
        busiest rank. Where a rank has several messages in a round, they are started one after the other.
        """
        return self.starts * alpha, self.path_sent * beta, self.path_reduced * gamma

    def time(self, alpha: float, beta: float, gamma: float) -> float:
        """Their sum: seconds in all."""
        return sum(self.terms(alpha, beta, gamma))

    def factors(self, least: Bounds) -> dict[str, float]:
        """How many times each lower bound this is: 1.0 is optimal.

        Where nothing at all is necessary, 1 plus what is spent, in whole buffers; so 1.0 if nothing is.
        """

        def factor(spent: float, needed: float) -> float:
            if needed:
                return spent / needed
            return 1.0 + spent / self.nbytes if spent else 1.0

        return {name: factor(getattr(self, name), getattr(least, name)) for name in least._fields}


def cost(collective: str, name: str, n: int, nbytes: int, root: int = 0, **parameters: Hashable) -> Cost:
    """The price of algorithm ``name`` on ``n`` ranks, in bytes; counted only if it has no closed form.

    ValueError for what ``build`` refuses, and for more than MOST_COUNTED ranks without a closed form.

    ``nbytes``: bytes of the larger of a rank's two buffers. Allreduce, broadcast, reduce, scan, exscan: the
    vector. Allgather, gather: the n blocks of the result. Reduce_scatter, scatter, alltoall: the n blocks that
    are given. A barrier moves nothing, so costs 0 bytes whatever ``nbytes`` says.
    """
    closed = closed_cost(collective, name, n, nbytes, root, **parameters)
    if closed is None and n > MOST_COUNTED:
        raise ValueError(
            f"{collective} {name!r} has no closed form for {n} ranks, and for more than {MOST_COUNTED} it is not counted"
        )
    return closed or cost_of(build(collective, name, n, root, **parameters), nbytes)


def closed_cost(
    collective: str, name: str, n: int, nbytes: int, root: int = 0, **parameters: Hashable
) -> Cost | None:
    """As ``cost``, but None where the algorithm has no closed form for ``n`` ranks."""
    known = require_sound(collective, name, n, root, **parameters)
    counted = known.closed_form(n, root, parameters)
    return None if counted is None else _priced(counted, known.collective, n, nbytes, closed=True)


def require_sound(collective: str, name: str, n: int, root: int = 0, **parameters: Hashable) -> Algorithm:
    """The algorithm, if ``build`` would accept these arguments; ValueError otherwise. Nothing is built.

    Beyond MOST_TRIED ranks even a first round may be large, and wrong values of parameters pass.
    """
    known = find(collective, name)
    given = known.checked(n, root, parameters)
    if given and n <= MOST_TRIED:
        _try(known, int(n), int(root), tuple(sorted(given.items())))
    return known


@lru_cache(maxsize=4096)
def _try(known: Algorithm, n: int, root: int, given: tuple[tuple[str, Hashable], ...]) -> None:
    """Algorithms refuse wrong parameters before they yield their first round."""
    next(iter(known.rounds(**known.arguments(n, root, dict(given)))), None)


def cost_of(schedule: Schedule, nbytes: int) -> Cost:
    """The price of a schedule, by counting it; ``nbytes`` as in ``cost``, of a fragment: its one buffer."""
    return _priced(count(schedule), schedule.collective, schedule.n, nbytes, closed=False)


def _priced(counted: Count, collective: Collective | None, n: int, nbytes: int, closed: bool) -> Cost:
    if isinstance(nbytes, bool) or not isinstance(nbytes, Integral) or nbytes < 0:
        raise ValueError(f"a buffer has 0 or more whole bytes, got {nbytes!r}")
    blocks = max(collective.blocks_in(n), collective.blocks_out(n)) if collective else 1
    moved = 0 if collective is not None and collective.at_least_once else int(nbytes)
    slots = blocks * counted.slots
    # Exact integers up to the one division, so that equal prices are equal floats.
    sent, reduced, path_sent, path_reduced = (
        amount * moved / slots
        for amount in (counted.sent, counted.reduced, counted.path_sent, counted.path_reduced)
    )
    return Cost(counted.rounds, counted.starts, sent, reduced, path_sent, path_reduced, moved, closed)
