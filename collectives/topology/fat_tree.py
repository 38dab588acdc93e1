"""The k-ary fat-tree: three levels of equal switches between the hosts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from ringleader.collectives.topology.base import (
    BANDWIDTH,
    LATENCY,
    NO_LINK,
    OUTSIDE,
    Floats,
    Ints,
    Links32,
    Topology,
    hops,
    links,
    pairs,
    require_room,
)


@dataclass(frozen=True, eq=False)
class FatTree(Topology):
    """``k`` pods of k/2 edge switches with k/2 hosts each (Al-Fares, Loukissas and Vahdat 2008).

    An edge switch has one cable to each of the ``up`` aggregation switches of its pod: k/2 of them, or
    fewer if the tree is oversubscribed. An aggregation switch has k/2 cables to core switches of its own.
    Routes are D-mod-k (Zahavi 2010): the destination's number alone decides which way up is taken, so all
    traffic to a host comes down on one path. A link keeps its speed in an oversubscribed tree; there are
    fewer of them.
    """

    k: int = 2
    up: int = 1

    def _edge(self, host: Ints) -> Ints:
        return host // (self.k // 2)

    def route(self, src: ArrayLike, dst: ArrayLike) -> Links32:
        s, d = pairs(src, dst)
        half, up, k = self.k // 2, self.up, self.k
        edge, edge_to = self._edge(s), self._edge(d)
        pod, pod_to = edge // half, edge_to // half
        aggregation, port = d % up, d // up % half
        leaves_edge, leaves_pod = edge != edge_to, pod != pod_to
        hosts_up = 0
        edges_up = hosts_up + 2 * self.hosts
        pods_up = edges_up + 2 * k * half * up
        edges_down, pods_down = edges_up + k * half * up, pods_up + k * up * half
        return hops(
            np.where(s == d, NO_LINK, s),
            np.where(leaves_edge, edges_up + edge * up + aggregation, NO_LINK),
            np.where(leaves_pod, pods_up + (pod * up + aggregation) * half + port, NO_LINK),
            np.where(leaves_pod, pods_down + (pod_to * up + aggregation) * half + port, NO_LINK),
            np.where(leaves_edge, edges_down + edge_to * up + aggregation, NO_LINK),
            np.where(s == d, NO_LINK, self.hosts + d),
        )

    def _pods(self) -> tuple[Ints, Ints, Ints]:
        """The pod of every host, edge switch and aggregation switch."""
        half = self.k // 2
        edges, aggregations = np.arange(self.k * half), np.arange(self.k * self.up)
        return np.arange(self.hosts) // half**2, edges // half, aggregations // self.up

    def regions(self) -> Iterator[tuple[str, Ints]]:
        hosts, edges, aggregations = self._pods()
        cores = np.full(self.switches[2][1], OUTSIDE)
        above = np.full(len(aggregations) + len(cores), OUTSIDE)
        yield (
            "edge switches",
            np.concatenate([self._edge(np.arange(self.hosts)), np.arange(len(edges)), above]),
        )
        yield "pods", np.concatenate([hosts, edges, aggregations, cores])

    def groups(self) -> Ints:
        return self._pods()[0]

    def positions(self) -> Floats:
        def row(count: int, height: float) -> Floats:
            across = (np.arange(count) + 0.5) / count * self.hosts
            return np.stack([across, np.full(count, height * self.hosts / 4)], axis=1)

        counts = [self.hosts, *(count for _, count in self.switches)]
        return np.concatenate([row(count, level) for level, count in enumerate(counts)])


def fat_tree(
    k: int, oversubscription: int = 1, bandwidth: float = BANDWIDTH, latency: float = LATENCY
) -> Topology:
    half = k // 2
    if k < 2 or k % 2 or oversubscription < 1 or half % oversubscription:
        raise ValueError(
            f"fat-tree: k must be even and oversubscription a divisor of k/2, like k=8,oversubscription=2; "
            f"got k={k}, oversubscription={oversubscription}"
        )
    up, hosts = half // oversubscription, k * half**2
    name = f"fat-tree:k={k}" + (f",oversubscription={oversubscription}" if oversubscription > 1 else "")
    require_room(name, [k, oversubscription], hosts, 2 * (hosts + 2 * k * half * up))
    first_edge, first_aggregation = hosts, hosts + k * half
    first_core = first_aggregation + k * up
    host = np.arange(hosts)
    pod, edge, aggregation = (x.ravel() for x in np.indices((k, half, up)))
    pod2, aggregation2, port = (x.ravel() for x in np.indices((k, up, half)))
    upward = [
        (host, first_edge + host // half),
        (first_edge + pod * half + edge, first_aggregation + pod * up + aggregation),
        (first_aggregation + pod2 * up + aggregation2, first_core + aggregation2 * half + port),
    ]
    ends = [np.stack(way, axis=1) for tail, head in upward for way in ((tail, head), (head, tail))]
    switches = (("edge", k * half), ("aggregation", k * up), ("core", up * half))
    return FatTree(name, hosts, links(np.concatenate(ends), bandwidth, latency), switches, k, up)
