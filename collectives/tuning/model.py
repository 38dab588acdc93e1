"""How long an algorithm takes by the flat alpha-beta-gamma model, and what any other model must tell."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
from ringleader.collectives.cost import closed_cost, cost
from ringleader.collectives.registry import Algorithm, find
from ringleader.collectives.tuning.choice import Choice

MOST_COUNTED = 512  # ranks up to which an algorithm without a closed form is built and counted
MOST_STARTED = 64  # ranks up to which messages are counted rather than extrapolated


class Prediction(NamedTuple):
    """``terms``: the seconds of ``seconds`` that go to starting, moving and reducing; None: not told apart."""

    choice: Choice
    seconds: float
    rounds: int
    terms: tuple[float, float, float] | None


class Predictor(Protocol):
    """What can tell how long a choice takes, a measurement for example; the same inputs, the same answer."""

    def predict(self, collective: str, choice: Choice, n: int, nbytes: int) -> Prediction | None:
        """None: this choice cannot be priced. ``nbytes`` as in ``cost``."""
        ...


@dataclass(frozen=True)
class Model:
    """Every message takes ``alpha`` seconds to start, each byte ``beta`` to move and ``gamma`` to reduce.

    Thakur, Rabenseifner and Gropp (2005), section 3: it makes no difference who talks to whom. The defaults are
    a rule of thumb for processes that share a host's memory: 3 us, 5 GB/s, 10 GB/s. ``ports``: messages that a
    rank can start, and receive, in one ``alpha``; a round in which some rank has more lasts longer.
    """

    alpha: float = 3e-6
    beta: float = 1 / 5e9
    gamma: float = 1 / 10e9
    ports: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ValueError(f"model: {field.name} must be a number from 0 on, got {value!r}")
        if self.ports != int(self.ports) or self.ports < 1:
            raise ValueError(f"model: ports must be a whole number from 1 on, got {self.ports!r}")

    def predict(self, collective: str, choice: Choice, n: int, nbytes: int) -> Prediction | None:
        """None: it has no closed form, and n > MOST_COUNTED."""
        price = closed_cost(collective, choice.algorithm, n, nbytes, 0, **choice.parameters)
        if price is None and n <= MOST_COUNTED:
            price = cost(collective, choice.algorithm, n, nbytes, 0, **choice.parameters)
        if price is None:
            return None
        known = find(collective, choice.algorithm)
        _, moving, reducing = price.terms(self.alpha, self.beta, self.gamma)
        starting = self.alpha * _starts(known, choice, n, price.rounds, self.ports)
        terms = (starting, moving, reducing)
        return Prediction(choice, sum(terms), price.rounds, terms)


def _starts(known: Algorithm, choice: Choice, n: int, rounds: int, ports: int) -> float:
    """Messages that are started one after the other. Beyond MOST_STARTED ranks, as many for each of the
    ``rounds`` as among that many ranks; one, if the parameters do not suit those."""
    if n <= MOST_STARTED:
        return _started(known, choice, n, ports)[1]
    try:
        few, started = _started(known, choice, MOST_STARTED, ports)
    except ValueError:
        return rounds
    return rounds * started / max(few, 1)


@lru_cache(maxsize=4096)
def _started(known: Algorithm, choice: Choice, n: int, ports: int) -> tuple[int, int]:
    """Rounds in which something crosses ranks, and, over them, messages of the busiest rank in turns of ``ports``.

    Transfers that fall off the ends of the buffer when a round is repeated count as well. The rounds are not kept.
    """
    rounds = started = 0
    for r in known.rounds(**known.arguments(n, 0, choice.parameters)):
        crossing = [g.pick(g.src != g.dst) for g in r.groups]
        ends = np.concatenate([np.unique(g.src * n + g.dst) for g in crossing])  # a message each
        if len(ends):
            busiest = max(np.bincount(ends // n).max(), np.bincount(ends % n).max())
            rounds += r.times
            started += r.times * -(-int(busiest) // ports)
    return rounds, started
