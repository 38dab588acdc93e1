"""How long an algorithm takes on a topology, simulated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ringleader.collectives.cost import cost_of
from ringleader.collectives.simulate import simulate
from ringleader.collectives.topology import Topology, topology
from ringleader.collectives.tuning.choice import Choice
from ringleader.collectives.tuning.model import Prediction, Predictor


@dataclass(frozen=True)
class Simulated:
    """``network``: a topology, or its text, whose sizes are made to fit the ranks where it leaves them out."""

    network: str | Topology

    def predict(self, collective: str, choice: Choice, n: int, nbytes: int) -> Prediction | None:
        schedule = choice.build(collective, n)
        network = _fitting(self.network, n) if isinstance(self.network, str) else self.network
        return Prediction(
            choice, simulate(schedule, nbytes, network).total, cost_of(schedule, nbytes).rounds, None
        )


@lru_cache(maxsize=32)
def _fitting(text: str, n: int) -> Topology:
    return topology(text, ranks=n)


def predictor(model: Predictor | str | Topology) -> Predictor:
    """``model`` itself, or a simulation on the topology that it is."""
    return Simulated(model) if isinstance(model, (str, Topology)) else model
