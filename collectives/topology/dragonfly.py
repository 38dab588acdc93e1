"""Dragonfly: groups of routers, each group joined to every other by one long cable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from ringleader.collectives.topology.base import (
    BANDWIDTH,
    LATENCY,
    NO_LINK,
    Floats,
    Ints,
    Links32,
    Topology,
    hops,
    links,
    pairs,
    require_room,
)
from ringleader.collectives.topology.regular import circle


@dataclass(frozen=True, eq=False)
class Dragonfly(Topology):
    """Kim, Dally, Scott and Abts, "Technology-driven, highly-scalable dragonfly topology" (2008).

    A group has ``routers`` routers, all joined to each other, with ``hosts / (count * routers)`` hosts on
    each. The cables of a group to the other groups, in the order of their numbers, are dealt out to its routers
    in equal shares. Routes are minimal: to the router that has the cable to the other group, along it, and
    on to the router of the destination.
    """

    count: int = 1
    routers: int = 1

    @property
    def _per_router(self) -> int:
        return self.hosts // (self.count * self.routers)

    def route(self, src: ArrayLike, dst: ArrayLike) -> Links32:
        s, d = pairs(src, dst)
        router, router_to = s // self._per_router, d // self._per_router
        group, group_to = router // self.routers, router_to // self.routers
        leaves = group != group_to
        gate = np.where(leaves, gateway(group, group_to, self.count, self.routers), router_to)
        gate_to = np.where(leaves, gateway(group_to, group, self.count, self.routers), router_to)
        first_local = 2 * self.hosts
        first_global = first_local + self.count * self.routers * (self.routers - 1)

        def local(a: Ints, b: Ints) -> Ints:
            i, j = a % self.routers, b % self.routers
            return np.where(a == b, NO_LINK, first_local + a * (self.routers - 1) + j - (j > i))

        channel = group * (self.count - 1) + group_to - (group_to > group)
        return hops(
            np.where(s == d, NO_LINK, s),
            local(router, gate),
            np.where(leaves, first_global + channel, NO_LINK),
            local(gate_to, router_to),
            np.where(s == d, NO_LINK, self.hosts + d),
        )

    def regions(self) -> Iterator[tuple[str, Ints]]:
        routers = np.arange(self.count * self.routers)
        everything = np.concatenate([np.arange(self.hosts) // self._per_router, routers])
        yield "routers", everything
        yield "groups", everything // self.routers

    def groups(self) -> Ints:
        return np.arange(self.hosts) // (self._per_router * self.routers)

    def positions(self) -> Floats:
        """Groups on a large circle, the routers of a group on a small one, hosts just outside their router."""
        small = 2.5 / max(self.count, 2)
        local = circle(self.routers, small)
        routers = (circle(self.count, 2.0)[:, None] + local).reshape(-1, 2)
        host = np.arange(self.hosts)
        router = host // self._per_router
        outward = local[router % self.routers] * 0.45
        spread = (host % self._per_router - (self._per_router - 1) / 2) * 0.35 * small / self._per_router
        across = (
            np.stack([-outward[:, 1], outward[:, 0]], axis=1) * (spread / max(0.45 * small, 1e-9))[:, None]
        )
        return np.concatenate([routers[router] + outward + across, routers])


def gateway(group: Ints, other: Ints, count: int, routers: int) -> Ints:
    """The router of ``group`` that has the cable to ``other``."""
    share = -(-(count - 1) // routers) or 1  # cables that a router has
    return group * routers + (other - (other > group)) // share


def dragonfly(
    groups: int, routers: int, hosts: int, bandwidth: float = BANDWIDTH, latency: float = LATENCY
) -> Topology:
    """``hosts`` hosts on each of ``routers`` routers in each of ``groups`` groups."""
    total, every = groups * routers * hosts, groups * routers
    name = f"dragonfly:groups={groups},routers={routers},hosts={hosts}"
    cables = 2 * total + every * (routers - 1) + groups * (groups - 1)
    require_room(name, [groups, routers, hosts], total, cables)
    host = np.arange(total)
    up = np.stack([host, total + host // hosts], axis=1)
    a, j = (x.ravel() for x in np.indices((every, routers - 1)))
    local = np.stack([a, a - a % routers + j + (j >= a % routers)], axis=1) + total
    group, channel = (x.ravel() for x in np.indices((groups, groups - 1)))
    other = channel + (channel >= group)
    far = [gateway(group, other, groups, routers), gateway(other, group, groups, routers)]
    ends = np.concatenate([up, up[:, ::-1], local, total + np.stack(far, axis=1)])
    return Dragonfly(name, total, links(ends, bandwidth, latency), (("router", every),), groups, routers)
