"""Topologies that need no more than a line of arithmetic: one switch, a star, and grids of hosts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

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

MOST_DIMENSIONS = 24


def circle(count: int, radius: float = 1.0) -> Floats:
    """``count`` points around the origin, the first on top, clockwise."""
    angle = np.pi / 2 - 2 * np.pi * np.arange(count) / max(count, 1)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


@dataclass(frozen=True, eq=False)
class Switch(Topology):
    """All hosts on one switch that never is the bottleneck: link h leads up from host h, link hosts + h down."""

    def route(self, src: ArrayLike, dst: ArrayLike) -> Links32:
        s, d = pairs(src, dst)
        same = s == d
        return hops(np.where(same, NO_LINK, s), np.where(same, NO_LINK, self.hosts + d))

    def positions(self) -> Floats:
        return np.concatenate([circle(self.hosts), np.zeros((1, 2))])


def switch(hosts: int, bandwidth: float = BANDWIDTH, latency: float = LATENCY) -> Topology:
    require_room(f"switch:{hosts}", [hosts], hosts, 2 * hosts)
    host, centre = np.arange(hosts), np.full(hosts, hosts)
    up = np.stack([host, centre], axis=1)
    cables = links(np.concatenate([up, up[:, ::-1]]), bandwidth, latency)
    return Switch(f"switch:{hosts}", hosts, cables, (("switch", 1),))


@dataclass(frozen=True, eq=False)
class Star(Topology):
    """Host 0 in the centre (a leader, a parameter server), the others on spokes: all traffic passes host 0.

    Link i - 1 leads in from host i, link hosts - 2 + i out to it.
    """

    def route(self, src: ArrayLike, dst: ArrayLike) -> Links32:
        s, d = pairs(src, dst)
        same = s == d
        into = np.where(same | (s == 0), NO_LINK, s - 1)
        out = np.where(same | (d == 0), NO_LINK, self.hosts - 2 + d)
        return hops(into, out)

    def positions(self) -> Floats:
        return np.concatenate([np.zeros((1, 2)), circle(self.hosts - 1)])


def star(hosts: int, bandwidth: float = BANDWIDTH, latency: float = LATENCY) -> Topology:
    require_room(f"star:{hosts}", [hosts], hosts, 2 * hosts)
    spokes = np.arange(1, hosts)
    inward = np.stack([spokes, np.zeros_like(spokes)], axis=1)
    cables = links(np.concatenate([inward, inward[:, ::-1]]), bandwidth, latency)
    return Star(f"star:{hosts}", hosts, cables)


@dataclass(frozen=True, eq=False)
class Grid(Topology):
    """Hosts at the points of a box, joined to their neighbours in each dimension.

    Host numbers are row-major: the last dimension varies fastest. With ``wrap`` a dimension of three or more
    is closed to a ring; one of two has a single cable in any case. Routes take one dimension after the
    other, the last one first (Dally and Seitz 1987; on a hypercube this is e-cube routing); on a ring the
    shorter way, and upwards if both are equally long.
    """

    dims: tuple[int, ...] = ()
    wrap: bool = False

    @cached_property
    def _coordinates(self) -> Ints:
        """[dimensions, hosts]"""
        return np.stack(np.unravel_index(np.arange(self.hosts), self.dims))

    @cached_property
    def _leaving(self) -> Links32:
        """[dimensions, 2, hosts]: the link up and the link down each dimension, NO_LINK where there is none."""
        table = np.full((len(self.dims), 2, self.hosts), NO_LINK, dtype=np.int32)
        first = 0
        for d, way, tail, _ in _steps(self.dims, self.wrap):
            table[d, way, tail] = first + np.arange(len(tail))
            first += len(tail)
        return table

    def _distance(self, d: int, src: Ints, dst: Ints) -> Ints:
        """Steps to go in dimension ``d``, negative downwards."""
        size, at = self.dims[d], self._coordinates[d]
        delta: Ints = at[dst] - at[src]
        if self.wrap and size > 2:
            delta %= size
            delta = np.where(2 * delta > size, delta - size, delta)
        return delta

    def route(self, src: ArrayLike, dst: ArrayLike) -> Links32:
        s, d = pairs(src, dst)
        ways = [self._distance(i, s, d) for i in range(len(self.dims))]
        length = sum((np.abs(w) for w in ways), np.zeros(len(s), np.int64))
        table = np.full((len(s), int(length.max(initial=0))), NO_LINK, dtype=np.int32)
        here, done = s.copy(), np.zeros(len(s), np.int64)
        for i in reversed(range(len(self.dims))):
            going = np.flatnonzero(ways[i])
            for step in range(int(np.abs(ways[i]).max(initial=0))):
                going = going[np.abs(ways[i][going]) > step]
                link = self._leaving[i, (ways[i][going] < 0).astype(np.int64), here[going]]
                table[going, done[going]] = link
                here[going] = self.links.ends[link, 1]
                done[going] += 1
        return table

    def regions(self) -> Iterator[tuple[str, Ints]]:
        for d, size in enumerate(self.dims):
            if size > 1:
                yield f"halves of dimension {d}", (self._coordinates[d] >= size // 2).astype(np.int64)

    def groups(self) -> Ints:
        """Rows along the last dimension."""
        return np.arange(self.hosts) // self.dims[-1]

    def positions(self) -> Floats:
        """A ring as a circle, a plane as a plane; every further dimension steps slantwise across the last two."""
        if self.wrap and len(self.dims) == 1:
            return circle(self.hosts)
        points, reach = np.zeros((self.hosts, 2)), np.ones(2)
        for i, d in enumerate(reversed(range(len(self.dims)))):
            axis, slant = i % 2, 0.35 * (i >= 2)
            vector = np.full(2, slant)
            vector[axis] = reach[axis]
            points += self._coordinates[d][:, None] * vector
            reach[axis] += self.dims[d] * vector[axis]
        return points * (1, -1)


def _steps(dims: Sequence[int], wrap: bool) -> Iterator[tuple[int, int, Ints, Ints]]:
    """(dimension, 0 up or 1 down, tails, heads) of all links, in the order of their numbers."""
    host = np.arange(int(np.prod(dims, dtype=np.int64)))
    where = np.unravel_index(host, dims)
    for d, size in enumerate(dims):
        closed = wrap and size > 2
        stride = int(np.prod(dims[d + 1 :], dtype=np.int64))
        up = host if closed else host[where[d] < size - 1]
        above = up + stride * np.where(where[d][up] == size - 1, 1 - size, 1)
        yield d, 0, up, above
        yield d, 1, above, up


def grid(
    kind: str, dims: Sequence[int], wrap: bool, bandwidth: float = BANDWIDTH, latency: float = LATENCY
) -> Topology:
    """A ring, mesh, torus or hypercube, by its dimensions."""
    if not 1 <= len(dims) <= MOST_DIMENSIONS:
        raise ValueError(f"{kind}: {len(dims)} dimensions; give 1 to {MOST_DIMENSIONS}")
    size = {"ring": str(dims[0]), "hypercube": f"dim={len(dims)}"}.get(kind, "x".join(map(str, dims)))
    name, hosts = f"{kind}:{size}", math.prod(dims)
    require_room(name, dims, hosts, 2 * len(dims) * hosts)
    dims = tuple(int(d) for d in dims)
    ends = [np.stack([tail, head], axis=1) for _, _, tail, head in _steps(dims, wrap)]
    return Grid(name, int(hosts), links(np.concatenate(ends), bandwidth, latency), dims=dims, wrap=wrap)
