"""Islands: servers full of GPUs, fast inside, joined by rails of network switches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from ringleader.collectives.topology.base import (
    LATENCY,
    NO_LINK,
    OUTSIDE,
    Floats,
    Ints,
    Links32,
    Topology,
    hops,
    joined,
    links,
    pairs,
    require_room,
)

INSIDE, BETWEEN = 450e9, 50e9  # B/s: an NVLink port of a GPU, and a 400 Gb/s network card


@dataclass(frozen=True, eq=False)
class Islands(Topology):
    """Islands of ``gpus`` hosts around one switch each, with one cable to each of ``rails`` rail switches.

    GPU i of an island belongs to rail i mod rails. A message to another island takes the rail of the
    GPU it goes to: it crosses the island's own switch to the network card of that rail, then the rail, then the
    other island's switch (as NCCL's PXN does, so that rails need no switches above them). Between GPUs
    of one rail this is the direct way.
    """

    gpus: int = 8
    rails: int = 8

    def route(self, src: ArrayLike, dst: ArrayLike) -> Links32:
        s, d = pairs(src, dst)
        island, island_to = s // self.gpus, d // self.gpus
        rail = d % self.gpus % self.rails
        leaves = island != island_to
        first = 2 * self.hosts  # the cables of islands come after those of hosts, first all up, then all down
        down = first + self.hosts // self.gpus * self.rails
        return hops(
            np.where(s == d, NO_LINK, s),
            np.where(leaves, first + island * self.rails + rail, NO_LINK),
            np.where(leaves, down + island_to * self.rails + rail, NO_LINK),
            np.where(s == d, NO_LINK, self.hosts + d),
        )

    def regions(self) -> Iterator[tuple[str, Ints]]:
        islands = np.arange(self.hosts // self.gpus)
        yield "islands", np.concatenate([self.groups(), islands, np.full(self.rails, OUTSIDE)])

    def groups(self) -> Ints:
        return np.arange(self.hosts) // self.gpus

    def positions(self) -> Floats:
        """Hosts below, above them their island's switch, on top the rails."""

        def row(x: ArrayLike, height: float) -> Floats:
            across = np.asarray(x, np.float64)
            return np.stack([across, np.full(len(across), height * self.hosts / 4)], axis=1)

        island = np.arange(self.hosts // self.gpus) * (self.gpus + 1) + (self.gpus - 1) / 2
        host = np.arange(self.hosts) + np.arange(self.hosts) // self.gpus
        rail = (np.arange(self.rails) + 0.5) / self.rails * (host[-1] + 1) - 0.5
        return np.concatenate([row(host, 0), row(island, 1), row(rail, 2)])


def islands(
    count: int, gpus: int = 8, rails: int = 0, inside: float = INSIDE, between: float = BETWEEN,
    latency: float = LATENCY,
) -> Topology:  # fmt: skip
    """``count`` islands; ``rails`` 0 gives every GPU of an island a rail."""
    rails = rails or gpus
    if rails > gpus:
        raise ValueError(
            f"islands: {gpus} GPUs an island cannot use {rails} rails; give rails={gpus} or fewer"
        )
    hosts = count * gpus
    name = f"islands:gpus={gpus},rails={rails},islands={count}"
    require_room(name, [count, gpus, rails], hosts, 2 * (hosts + count * rails))
    host = np.arange(hosts)
    up = np.stack([host, hosts + host // gpus], axis=1)
    island, rail = (x.ravel() for x in np.indices((count, rails)))
    out = np.stack([hosts + island, hosts + count + rail], axis=1)
    cables = joined(
        links(np.concatenate([up, up[:, ::-1]]), inside, latency),
        links(np.concatenate([out, out[:, ::-1]]), between, latency),
    )
    return Islands(name, hosts, cables, (("island", count), ("rail", rails)), gpus, rails)
