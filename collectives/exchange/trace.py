"""A simulated run as a trace that Perfetto and chrome://tracing show: each rank a process, each kind of work a
track, and an arrow for each message. The format is Google's "Trace Event Format": times in microseconds,
``ph`` X for what lasts, s and f for the ends of an arrow, M for names.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from heapq import heappush, heapreplace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ringleader.collectives.simulate import Event, Simulation

KINDS = {"send": "send to", "recv": "recv from", "reduce": "reduce", "wait": "wait for"}
DIGITS = 6  # behind the point of a microsecond: beyond them is only rounding


def export_trace(simulation: Simulation, path: str | os.PathLike[str] | None = None) -> str:
    """The events of a simulation as JSON, written to ``path`` as well if that is given.

    Load it at ui.perfetto.dev. What a rank does at the same time is on tracks of its own. An arrow leads from
    the k-th send of one size between two ranks to the k-th receive of that size.
    """
    if not simulation.events:
        raise ValueError("export_trace: the simulation has no events; simulate with record=True")
    slices = list(_slices(simulation.events))
    names = list(_names(slices, [int(host) for host in simulation.hosts]))
    shown = [*map(_complete, slices), *_arrows(slices)]
    shown.sort(key=lambda event: (event["ts"], event["pid"], event["tid"], event["ph"] != "X"))
    trace = {"traceEvents": names + shown, "displayTimeUnit": "ns", "otherData": simulation.as_dict()}
    text = json.dumps(trace, allow_nan=False, separators=(",", ":"))
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text


class _Slice(NamedTuple):
    """An event in microseconds, on track ``lane`` of its rank and kind."""

    event: Event
    lane: int
    start: float
    end: float

    @property
    def place(self) -> dict[str, Any]:
        """Its process and thread, which viewers want to be above 0. Lanes of one number are neighbours."""
        kinds = list(KINDS)
        return {"pid": 1 + self.event.rank, "tid": 1 + kinds.index(self.event.kind) + len(kinds) * self.lane}


def _slices(events: Iterable[Event]) -> Iterator[_Slice]:
    """Events that overlap cannot share a track: each goes to the one that has been free longest, or a new one."""
    lanes: dict[tuple[int, str], list[tuple[float, int]]] = defaultdict(list)  # heaps of (free from, lane)
    for event in sorted(events, key=lambda e: (e.start, e.end, e.rank, e.kind, e.peer)):
        start, end = (round(time * 1e6, DIGITS) for time in (event.start, event.end))
        free = lanes[event.rank, event.kind]
        if free and free[0][0] <= start:
            lane = free[0][1]
            heapreplace(free, (end, lane))
        else:
            lane = len(free)
            heappush(free, (end, lane))
        yield _Slice(event, lane, start, end)


def _names(slices: list[_Slice], hosts: list[int]) -> Iterator[dict[str, Any]]:
    """Ranks with their hosts, idle ones too, and tracks, in order."""
    for rank, host in enumerate(hosts):
        yield _name("process_name", 1 + rank, 0, name=f"rank {rank} on host {host}")
        yield _name("process_sort_index", 1 + rank, 0, sort_index=rank)
    tracks = sorted({(s.place["pid"], s.place["tid"], s.event.kind, s.lane) for s in slices})
    for pid, tid, kind, lane in tracks:
        yield _name("thread_name", pid, tid, name=f"{kind} {lane + 1}" if lane else kind)
        yield _name("thread_sort_index", pid, tid, sort_index=tid)


def _name(what: str, pid: int, tid: int, **args: str | int) -> dict[str, Any]:
    return {"ph": "M", "pid": pid, "tid": tid, "name": what, "args": args}


def _complete(s: _Slice) -> dict[str, Any]:
    e = s.event
    args: dict[str, Any] = {
        "round": e.round,
        "bytes": int(e.nbytes) if e.nbytes == int(e.nbytes) else e.nbytes,
    }
    name = e.kind
    if e.peer >= 0:
        name = f"{KINDS[e.kind]} {e.peer}"
        args["peer"] = e.peer
    return {
        "ph": "X", "name": name, "cat": e.kind, **s.place,
        "ts": s.start, "dur": round(s.end - s.start, DIGITS), "args": args,
    }  # fmt: skip


def _arrows(slices: list[_Slice]) -> Iterator[dict[str, Any]]:
    """From the start of each send to the start of its receive."""
    flying: dict[tuple[int, int, float], deque[_Slice]] = defaultdict(deque)
    for s in slices:
        if s.event.kind == "send":
            flying[s.event.rank, s.event.peer, s.event.nbytes].append(s)
    number = 0
    for s in slices:
        sends = flying[s.event.peer, s.event.rank, s.event.nbytes] if s.event.kind == "recv" else None
        if sends:
            number += 1
            about = {"name": "message", "cat": "message", "id": number}
            sent = sends.popleft()
            yield {"ph": "s", **about, **sent.place, "ts": sent.start}
            yield {"ph": "f", "bp": "e", **about, **s.place, "ts": s.start}
