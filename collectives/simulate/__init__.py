"""How long a schedule takes on a topology, in two models, and how far that is from what is possible."""

from ringleader.collectives.simulate.loggp import LogGP
from ringleader.collectives.simulate.result import Bottleneck, Event, RoundTime, Simulation
from ringleader.collectives.simulate.simulator import simulate

__all__ = ["Bottleneck", "Event", "LogGP", "RoundTime", "Simulation", "simulate"]
