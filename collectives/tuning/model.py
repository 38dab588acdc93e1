"""How long an algorithm takes by the flat alpha-beta-gamma model, and what any other model must tell."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import NamedTuple, Protocol

from ringleader.collectives.cost import closed_cost, cost
from ringleader.collectives.tuning.choice import Choice

MOST_COUNTED = 512  # ranks up to which an algorithm without a closed form is built and counted


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
    a rule of thumb for processes that share a host's memory: 3 us, 5 GB/s, 10 GB/s.
    """

    alpha: float = 3e-6
    beta: float = 1 / 5e9
    gamma: float = 1 / 10e9

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ValueError(f"model: {field.name} must be a number from 0 on, got {value!r}")

    def predict(self, collective: str, choice: Choice, n: int, nbytes: int) -> Prediction | None:
        """None: it has no closed form, and n > MOST_COUNTED."""
        price = closed_cost(collective, choice.algorithm, n, nbytes, 0, **choice.parameters)
        if price is None and n <= MOST_COUNTED:
            price = cost(collective, choice.algorithm, n, nbytes, 0, **choice.parameters)
        if price is None:
            return None
        terms = price.terms(self.alpha, self.beta, self.gamma)
        return Prediction(choice, sum(terms), price.rounds, terms)
