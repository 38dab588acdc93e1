"""What every topology is: hosts and switches joined by directed links, and one route for each pair of hosts.

Words. A *vertex* is a host or a switch; vertices are numbered with the hosts first. A *link* goes one way:
a cable is two links. A *cut* is a set of hosts together with the capacity of the links that lead out of it
and into it. Routes are static: they depend on nothing but the two hosts, as in the routing tables of real
switches, so a link that is cut is not routed around.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from ringleader.collectives.topology.units import FASTEST, LONGEST, MOST_HOSTS, SLOWEST

Ints = NDArray[np.int64]
Links32 = NDArray[np.int32]
Floats = NDArray[np.floating[Any]]
NO_LINK = -1  # fills the rows of routes that are shorter than the longest
OUTSIDE = -1  # in the parts of a cut: this vertex belongs to none
BANDWIDTH, LATENCY = 25e9, 1e-6  # of a link, where nothing else is said
MOST_LINKS = 1 << 26  # 2 GB

Pair = tuple["str | int", "str | int"]
T = TypeVar("T", bound="Topology")


@dataclass(frozen=True, eq=False)
class Links:
    """Directed links: ``ends`` [L, 2] are vertices, ``bandwidth`` [L] in B/s, ``latency`` [L] in s."""

    ends: Ints
    bandwidth: Floats
    latency: Floats

    def __len__(self) -> int:
        return len(self.ends)


def links(ends: ArrayLike, bandwidth: ArrayLike, latency: ArrayLike) -> Links:
    """One link from ``ends[i, 0]`` to ``ends[i, 1]`` each; scalars stand for constant vectors."""
    table = np.asarray(ends, dtype=np.int64).reshape(-1, 2)
    speed, delay = (
        np.broadcast_to(np.asarray(v, np.float64), len(table)).copy() for v in (bandwidth, latency)
    )
    limits = (("bandwidth", speed, SLOWEST, FASTEST), ("latency", delay, 0.0, LONGEST))
    for name, value, low, high in limits:
        if (wrong := value[~((value >= low) & (value <= high))]).size:  # NaN too
            raise ValueError(f"links: {name} must be from {low:g} to {high:g}, got {wrong[0]:g}")
    return Links(table, speed, delay)


def require_room(name: str, sizes: Iterable[int], hosts: int, links: int) -> None:
    """ValueError if ``sizes`` are no whole numbers above 0, or the topology is more than memory should hold."""
    if not all(isinstance(size, Integral) and size >= 1 for size in sizes):
        raise ValueError(f"{name}: sizes must be whole numbers above 0")
    if hosts > MOST_HOSTS or links > MOST_LINKS:
        raise ValueError(
            f"{name} has {hosts:,} hosts and {links:,} links; at most {MOST_HOSTS:,} and {MOST_LINKS:,} are possible"
        )


def joined(*parts: Links) -> Links:
    """All links of ``parts``, in that order."""
    return Links(*(np.concatenate([getattr(p, f) for p in parts]) for f in ("ends", "bandwidth", "latency")))


class Cut(NamedTuple):
    """Disjoint sets of hosts, and the capacity of the links between each set and all the rest.

    Host h is in set ``part[h]`` (OUTSIDE: in none); bytes leave set i at ``out[i]`` B/s at most and enter it
    at ``into[i]``. Single hosts, islands, pods and halves are thus one vectorised entry for each kind.
    """

    name: str
    part: Ints
    out: Floats
    into: Floats


@dataclass(frozen=True, eq=False)
class Topology(ABC):
    """``hosts`` hosts, and ``switches`` as (what they are called, how many) after them.

    A kind of topology says how to route between hosts, where to draw its vertices, which of its parts are cut
    off by few links, and which hosts stand together.
    """

    name: str
    hosts: int
    links: Links
    switches: tuple[tuple[str, int], ...] = ()

    @abstractmethod
    def route(self, src: ArrayLike, dst: ArrayLike) -> Links32:
        """Link numbers [m, hops] on the way from host ``src[i]`` to host ``dst[i]``, filled up with NO_LINK."""

    @abstractmethod
    def positions(self) -> Floats:
        """Where to draw the vertices, [vertices, 2]."""

    def regions(self) -> Iterator[tuple[str, Ints]]:
        """Kinds of regions that few links leave: a name, and for each vertex its region or OUTSIDE."""
        return iter(())

    def groups(self) -> Ints:
        """For each host the island, pod or row that it stands in."""
        return np.zeros(self.hosts, np.int64)

    @property
    def vertices(self) -> int:
        return self.hosts + sum(count for _, count in self.switches)

    def ends(self) -> Ints:
        """[L, 2]: the vertices that each link goes from and to."""
        return self.links.ends

    def vertex_name(self, vertex: int) -> str:
        first = 0
        for kind, count in (("host", self.hosts), *self.switches):
            if first <= vertex < first + count:
                return f"{kind} {vertex - first}"
            first += count
        raise ValueError(f"{self.name} has vertices 0 ... {self.vertices - 1}, no vertex {vertex}")

    def link_name(self, link: int) -> str:
        tail, head = self.links.ends[link].tolist()
        return f"{self.vertex_name(tail)} -> {self.vertex_name(head)}"

    def cuts(self) -> list[Cut]:
        """Sets of hosts behind few links: single hosts, and the regions of this kind of topology."""
        hosts = np.full(self.vertices, OUTSIDE)
        hosts[: self.hosts] = np.arange(self.hosts)
        return [self._cut(name, region) for name, region in [("hosts", hosts), *self.regions()]]

    def _cut(self, name: str, region: Ints) -> Cut:
        """Regions of vertices as a cut: the capacity is that of the links across their borders."""
        tail, head = region[self.links.ends].T
        capacity = np.zeros((2, int(region.max()) + 1))
        for total, end in zip(capacity, (tail, head)):
            crossing = (tail != head) & (end != OUTSIDE)
            np.add.at(total, end[crossing], self.links.bandwidth[crossing])
        return Cut(name, region[: self.hosts], capacity[0], capacity[1])

    def degraded(self: T, pairs: Mapping[Pair | str, float]) -> T:
        """The same with slower links: those between a pair of vertices have ``factor`` of their bandwidth.

        ``pairs``: {("host 3", "switch 0"): 0.5} slows the cable, both ways; {"host 3 -> switch 0": 0.5} that
        link alone. Vertices may be given by number too.
        """
        bandwidth = self.links.bandwidth.copy()
        for pair, factor in pairs.items():
            if not 1 / LONGEST <= factor <= LONGEST:
                raise ValueError(
                    f"degraded: factor {factor} of {pair} must be from 1e-6 to 1e6; use without() to cut a link"
                )
            bandwidth[self._between(pair)] *= factor
        return self._with(bandwidth, f"{len(pairs)} degraded")

    def without(self: T, pairs: Iterable[Pair | str]) -> T:
        """The same with links cut (named as in ``degraded``). What needs them cannot be simulated."""
        bandwidth, cut = self.links.bandwidth.copy(), list(pairs)
        for pair in cut:
            bandwidth[self._between(pair)] = 0.0
        return self._with(bandwidth, f"{len(cut)} cut")

    def _with(self: T, bandwidth: Floats, what: str) -> T:
        return replace(self, links=replace(self.links, bandwidth=bandwidth), name=f"{self.name} ({what})")

    @cached_property
    def _number(self) -> dict[str, int]:
        return {self.vertex_name(v): v for v in range(self.vertices)}

    def _between(self, pair: Pair | str) -> Ints:
        """The links that a pair of vertices (both ways) or a link name (one way) stands for."""
        one_way = isinstance(pair, str)
        ends = pair.split(" -> ") if isinstance(pair, str) else list(pair)
        if len(ends) != 2:
            raise ValueError(
                f"{pair!r} is no link; write ('host 0', 'switch 0'), or 'host 0 -> switch 0' for one way"
            )
        a, b = (self._vertex(end) for end in ends)
        tail, head = self.links.ends.T
        found = (tail == a) & (head == b)
        if not one_way:
            found |= (tail == b) & (head == a)
        if not found.any():
            raise ValueError(
                f"{self.name} has no link between {self.vertex_name(a)} and {self.vertex_name(b)}"
            )
        return np.flatnonzero(found)

    def _vertex(self, which: str | int) -> int:
        number = self._number.get(which.strip()) if isinstance(which, str) else int(which)
        if number is None or not 0 <= number < self.vertices:
            last = self.vertex_name(self.vertices - 1)
            raise ValueError(
                f"{self.name} has no vertex {which!r}; its vertices are {self.vertex_name(0)!r} ... {last!r}"
            )
        return number


def pairs(src: ArrayLike, dst: ArrayLike) -> tuple[Ints, Ints]:
    """Ends of routes as vectors of one length."""
    s, d = np.broadcast_arrays(np.asarray(src, dtype=np.int64), np.asarray(dst, dtype=np.int64))
    return s.ravel(), d.ravel()


def hops(*columns: ArrayLike) -> Links32:
    """Routes out of one vector for each hop, NO_LINK where a route has no such hop; gaps close up."""
    table = np.stack([np.asarray(c, dtype=np.int32) for c in columns], axis=1)
    missing = table == NO_LINK
    if missing.any():
        table = np.take_along_axis(table, np.argsort(missing, axis=1, kind="stable"), axis=1)
        table = table[:, : table.shape[1] - int(missing.sum(axis=1).min(initial=table.shape[1]))]
    return table
