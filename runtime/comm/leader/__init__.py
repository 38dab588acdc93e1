"""The leader: a parameter server over any transport."""

from ringleader.runtime.comm.leader.parameter_server import ParameterServer
from ringleader.runtime.comm.leader.placement import PLACEMENTS, Part, Tensor, place
from ringleader.runtime.comm.leader.request import Handle
from ringleader.runtime.comm.leader.rules import RULES, Rule, Slot
from ringleader.runtime.comm.leader.settings import MODES, roles

__all__ = [
    "MODES", "PLACEMENTS", "RULES", "Handle", "ParameterServer", "Part", "Rule", "Slot", "Tensor", "place", "roles",
]  # fmt: skip
