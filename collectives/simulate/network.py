"""The topology as both models see it: routes between ranks, and what the links have carried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from ringleader.collectives.topology import Topology
from ringleader.collectives.topology.base import Floats, Ints, Links32

CHUNK = 1 << 16  # messages whose routes are looked at together, to bound memory


class Part(NamedTuple):
    """Some of a round's messages, and their routes."""

    where: slice
    path: Links32


class Network:
    """Links with one more behind the last, of no latency and endless bandwidth: the number -1, with which
    routes are filled up, stands for it."""

    def __init__(self, topology: Topology, hosts: Ints) -> None:
        self.topology, self.hosts = topology, hosts
        self.bandwidth = np.append(topology.links.bandwidth, np.inf)
        self.latency = np.append(topology.links.latency, 0.0)
        self.carried = np.zeros(len(self.bandwidth))
        self._whole = bool((topology.links.bandwidth > 0).all())

    def routes(self, src: Ints, dst: Ints) -> list[Part]:
        """The routes between ranks ``src[i]`` and ``dst[i]``."""
        return list(self._routes(src, dst))

    def _routes(self, src: Ints, dst: Ints) -> Iterator[Part]:
        for start in range(0, len(src), CHUNK):
            where = slice(start, start + CHUNK)
            path = self.topology.route(self.hosts[src[where]], self.hosts[dst[where]])
            if not self._whole and (broken := np.argwhere(self.bandwidth[path] == 0)).size:
                i, hop = broken[0]
                name = self.topology.link_name(int(path[i, hop]))
                raise ValueError(f"rank {src[start + i]} cannot send to rank {dst[start + i]}: {name} is cut")
            yield Part(where, path)

    def latencies(self, parts: list[Part]) -> Floats:
        """Of the whole way of each message."""
        return _joined([self.latency[p.path].sum(axis=1) for p in parts])

    def narrowest(self, parts: list[Part]) -> Floats:
        """Bandwidth of the slowest link on the way of each message."""
        return _joined([self.bandwidth[p.path].min(axis=1, initial=np.inf) for p in parts])

    def carry(self, parts: list[Part], nbytes: Floats, into: Floats) -> None:
        """Add each message's bytes to all links of its way."""
        for where, path in parts:
            np.add.at(into, path.ravel(), np.repeat(nbytes[where], path.shape[1]))

    @property
    def link_bytes(self) -> Floats:
        return self.carried[:-1]


def _joined(vectors: list[Floats]) -> Floats:
    return np.concatenate(vectors) if vectors else np.empty(0)
