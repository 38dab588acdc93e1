"""What a simulation found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from ringleader.collectives.schedule import Schedule
from ringleader.collectives.topology import Topology
from ringleader.collectives.topology.base import Floats, Ints
from ringleader.collectives.topology.placement import Placement
from ringleader.collectives.topology.units import bytes_text, seconds_text

NOBODY = -1  # as peer of an event, or as link of a round
MOST_EVENTS = 2_000_000


class RoundTime(NamedTuple):
    """``times`` rounds in a row of ``seconds`` each; ``link``: number of the one that they wait for longest,
    or NOBODY."""

    times: int
    seconds: float
    link: int


class Event(NamedTuple):
    """What a rank does from ``start`` to ``end`` (s). ``kind``: send, recv, reduce or wait."""

    rank: int
    kind: str
    start: float
    end: float
    peer: int
    nbytes: float
    round: int


class Bottleneck(NamedTuple):
    """The link that is busy longest; ``share``: of the total time."""

    link: str
    nbytes: float
    share: float


@dataclass(frozen=True, eq=False)
class Simulation:
    """``total`` seconds, and where they went.

    ``rounds``: in order, equal neighbours as one. ``link_bytes`` [L]: over the whole run. ``hosts`` [n]: of the
    ranks. ``idle`` [n]: share of the time in which a rank does nothing (which the models define). ``bound``:
    no schedule on this topology takes less (see bounds). ``events``: empty unless they were to be recorded.
    """

    schedule: Schedule
    nbytes: float
    topology: Topology
    placement: Placement
    hosts: Ints
    model: str
    total: float
    rounds: list[RoundTime]
    link_bytes: Floats
    idle: Floats
    bound: float
    events: list[Event]

    def per_round(self) -> Floats:
        """Seconds of every single round."""
        return np.repeat([r.seconds for r in self.rounds], [r.times for r in self.rounds]).astype(np.float64)

    @property
    def ratio(self) -> float:
        """How many times longer than the bound; 1 where nothing is to be done and nothing is done."""
        if self.bound > 0:
            return self.total / self.bound
        return 1.0 if self.total == 0 else float("inf")

    @cached_property
    def bottleneck(self) -> Bottleneck:
        used = np.flatnonzero(self.link_bytes)
        if not len(used):
            return Bottleneck("none", 0.0, 0.0)
        busy = self.link_bytes[used] / self.topology.links.bandwidth[used]
        worst = int(used[busy.argmax()])
        share = float(busy.max()) / self.total
        return Bottleneck(self.topology.link_name(worst), float(self.link_bytes[worst]), share)

    def as_dict(self) -> dict[str, Any]:
        """The summary, ready for JSON."""
        s = self.schedule
        return {
            "collective": s.collective.name if s.collective else None, "algorithm": s.name, "ranks": s.n,
            "nbytes": self.nbytes, "topology": self.topology.name, "model": self.model,
            "placement": self.placement if isinstance(self.placement, str) else self.hosts.tolist(),
            "seconds": self.total, "rounds": len(s), "bound": self.bound,
            "ratio": self.ratio if np.isfinite(self.ratio) else None,
            "bottleneck": self.bottleneck._asdict(),
            "idle": {"mean": float(self.idle.mean()), "most": float(self.idle.max())},
        }  # fmt: skip

    def __str__(self) -> str:
        d, b = self.as_dict(), self.bottleneck
        above = (
            "" if d["ratio"] is None else f", {self.ratio:.2f} times the bound of {seconds_text(self.bound)}"
        )
        return (
            f"{d['collective'] or 'fragment'} {d['algorithm']!r} on {d['ranks']} ranks, {bytes_text(self.nbytes)}, "
            f"on {d['topology']} ({self.model})\n"
            f"{seconds_text(self.total)} in {d['rounds']} rounds{above}\n"
            f"busiest link: {b.link}, {bytes_text(b.nbytes)}, busy {b.share:.0%} of the time; "
            f"ranks idle {d['idle']['mean']:.0%} on average"
        )


def in_a_row(rounds: Iterable[RoundTime]) -> list[RoundTime]:
    """Equal neighbours become one."""
    merged: list[RoundTime] = []
    for r in rounds:
        if merged and merged[-1][1:] == r[1:]:
            merged[-1] = r._replace(times=merged[-1].times + r.times)
        else:
            merged.append(r)
    return merged


class Recorder:
    """Events, if they are wanted at all."""

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self.events: list[Event] = []

    def add(
        self,
        kind: str,
        rank: Ints,
        start: Floats,
        end: Floats,
        peer: Ints | int,
        nbytes: Floats | float,
        round: int,
    ) -> None:
        """One event for each element that lasts; waiting for nothing is none."""
        if not self.wanted:
            return
        vectors = np.broadcast_arrays(rank, start, end, peer, nbytes)
        lasting = vectors[2] > vectors[1] if kind in ("wait", "reduce") else np.ones(len(vectors[0]), bool)
        if len(self.events) + int(lasting.sum()) > MOST_EVENTS:
            raise ValueError(
                f"record: more than {MOST_EVENTS} events by round {round}; record a run of fewer ranks or rounds"
            )
        columns = zip(*(v[lasting].tolist() for v in vectors))
        self.events += [Event(who, kind, a, b, other, size, round) for who, a, b, other, size in columns]
