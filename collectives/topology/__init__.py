"""Networks to simulate on: hosts, switches, links, and the routes between hosts."""

from ringleader.collectives.topology.base import Cut, Links, Topology
from ringleader.collectives.topology.parse import KINDS, topology
from ringleader.collectives.topology.placement import place

__all__ = ["KINDS", "Cut", "Links", "Topology", "place", "topology"]
