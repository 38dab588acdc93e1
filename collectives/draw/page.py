"""One HTML page that steps and plays through a schedule. It needs nothing but itself: no network, no other file."""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from ringleader.collectives.draw.canvas import (
    Target,
    check_suffix,
    description,
    printable,
    seconds_drawn,
    shortened,
)
from ringleader.collectives.draw.contents import History, Message, refuse_large
from ringleader.collectives.draw.routes import controls, places, refuse_topology, spacing
from ringleader.collectives.schedule import Round, Schedule
from ringleader.collectives.simulate import Simulation, simulate
from ringleader.collectives.simulate.simulator import buffer_bytes
from ringleader.collectives.topology import Topology, place
from ringleader.collectives.topology.base import Floats
from ringleader.collectives.topology.placement import Placement
from ringleader.collectives.topology.units import bytes_text

SCRIPTS = ("model.js", "diagram.js", "grid.js", "links.js", "view.js")  # in one element, in this order
MAP = (640.0, 540.0)  # the drawing of the topology fits into this, in units of its own
AROUND = (45.0, 24.0)  # left and right, above and below
HOST = 15.0  # radius of a host there, and smaller where hosts would touch


def page(
    schedule: Schedule, path: Target = None, topology: Topology | None = None, nbytes: float = 1 << 20,
    placement: Placement = "block",
) -> str:  # fmt: skip
    """HTML that shows round by round who sends what to whom and what every cell holds, as an exact expression.

    With a ``topology``: also what each link carries in the round and so far, if the larger buffer of a rank has
    ``nbytes`` bytes (the simulator's round-synchronous model; ``placement``: see simulate). A schedule that goes
    wrong is shown up to its fault. The same input gives the same text. ValueError for what is too large to see, or
    for a fragment.
    """
    check_suffix("page", path, (".html", ".htm"))
    refuse_large("page", schedule)
    if topology is not None:
        refuse_topology("page", topology)
    history = History("page", schedule)
    data = _data(history)
    if topology is not None:
        data["load"] = _load(history, topology, nbytes, placement)
    text = _filled(printable(description(schedule)), data)
    if path is not None:
        Path(path).write_text(text, encoding="utf-8", newline="\n")
    return text


def _filled(title: str, data: dict[str, Any]) -> str:
    """The page's parts in their places, each put in once: what stands in a name is never taken for a place."""
    folder = files(__package__)
    style = folder.joinpath("page.css").read_text(encoding="utf-8")
    script = "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS)
    parts = {
        "title": html.escape(title), "data": embedded(data), "style": style, "script": script,
        "style hash": _hash(style), "script hash": _hash(script),
    }  # fmt: skip
    skeleton = folder.joinpath("page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{([a-z ]+)\}\}", lambda place: parts[place[1]], skeleton)


def embedded(data: Any) -> str:
    """JSON that cannot end the element it stands in, nor begin another or a comment."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)  # ASCII
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    """By which the page's own policy lets this text be used and no other."""
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()


def _data(history: History) -> dict[str, Any]:
    """The history as numbers: cells are rank x columns + column, and only what a round changes is listed."""
    schedule = history.schedule
    proved = bool(history.verdict)
    return {
        "title": printable(description(schedule)),
        "verdict": printable(str(history.verdict).split(": ", 1)[1]) if proved else None,
        "fault": None if proved else _fault(history),
        "n": schedule.n,
        "columns": history.columns,
        "start": [_held(history, cell, e) for cell, e in enumerate(history.states[0].ravel().tolist())],
        "rounds": [
            {"messages": [m._asdict() for m in sent], "changes": _changes(history, number)}
            for number, sent in enumerate(history.rounds)
        ],
        "inputs": schedule.n * schedule.size("input"),
        "inSlots": schedule.size("input"),
        "leaves": history.leaves,
        "operands": history.operands,
        "most": history.most,
        "load": None,
    }


def _held(history: History, cell: int, expression: int) -> list[int]:
    rank, column = divmod(cell, len(history.columns))
    return [expression, *history.judge(rank, column, expression)]


def _changes(history: History, number: int) -> list[list[int]]:
    """[cell, expression, kind, amount] of every cell that holds something else after the round."""
    before, after = (history.states[k].ravel() for k in (number, number + 1))
    cells = np.flatnonzero(before != after).tolist()
    return [[cell, *_held(history, cell, int(after[cell]))] for cell in cells]


def _fault(history: History) -> dict[str, Any]:
    """Where the schedule goes wrong: the step that shows it, its text, the cell, and the messages that meet there."""
    verdict = history.verdict
    wrong = (verdict.buffer, verdict.slot)
    cell = None
    if wrong in history.columns and verdict.rank is not None and 0 <= verdict.rank < history.schedule.n:
        cell = verdict.rank * len(history.columns) + history.columns.index(wrong)
    sent = [] if verdict.round is None else history.rounds[verdict.round]
    return {
        "step": len(history.rounds),
        "text": printable(str(verdict).split(": ", 1)[1]),
        "cell": cell,
        "messages": [k for k, m in enumerate(sent) if _meets(m, verdict.rank, wrong)],
    }


def _meets(m: Message, rank: int | None, cell: tuple[str, int | None]) -> bool:
    ends = ((m.dst, m.target, 1), (m.src, m.source, 0))
    return any(
        end == rank and buffer == cell[0] and any(slots[side] == cell[1] for slots in m.slots)
        for end, buffer, side in ends
    )


def _load(history: History, topology: Topology, nbytes: float, placement: Placement) -> dict[str, Any]:
    """The topology as a drawing, and what each round that is carried out sends over its links."""
    s, verdict = history.schedule, history.verdict
    done = len(s) if verdict.round is None else verdict.round
    rounds = [Round(groups) for groups, _ in zip(s.expand(), range(done))]
    runs = [simulate(replace(s, rounds=(r,)), nbytes, topology, placement=placement) for r in rounds]
    speed = topology.links.bandwidth.tolist()
    nbytes = buffer_bytes(s, nbytes)
    total = seconds_drawn(sum(run.total for run in runs))
    return {
        **_drawing(topology, place(topology, s.n, placement).tolist()),
        "facts": printable(f"{bytes_text(nbytes)} on {topology.name}: {total} in all, round by round."),
        "bandwidth": [b or None for b in speed],  # None: the link is cut, and nothing may go over it
        "rounds": [_carried(run) for run in runs],
    }


def _carried(run: Simulation) -> dict[str, Any]:
    used = np.flatnonzero(run.link_bytes)
    return {"seconds": run.total, "links": used.tolist(), "bytes": run.link_bytes[used].tolist()}


def _drawing(topology: Topology, hosts: list[int]) -> dict[str, Any]:
    """Vertices and links, to the tenth of a unit. Links are curves with one control point (see routes). ``hosts``:
    of the ranks."""
    points = places(topology)
    ends = topology.links.ends
    bends = controls(points, ends)
    # a curve goes half as far aside as its control point
    reach = np.concatenate([points, (points[ends].mean(axis=1) + bends) / 2])
    low, high = reach.min(axis=0), reach.max(axis=0)
    scale = min(
        (MAP[0] - 2 * AROUND[0]) / (high[0] - low[0] or 1.0),
        (MAP[1] - 2 * AROUND[1]) / (high[1] - low[1] or 1.0),
    )
    middle = MAP[0] / 2 - scale * (low[0] + high[0]) / 2

    def drawn(where: Floats) -> list[list[float]]:
        x, y = middle + scale * where[:, 0], AROUND[1] + scale * (high[1] - where[:, 1])
        return np.stack([x, y], axis=1).round(1).tolist()  # type: ignore[no-any-return]

    rank = {host: r for r, host in enumerate(hosts)}
    names = [topology.vertex_name(v) for v in range(topology.vertices)]
    return {
        "size": [MAP[0], round(float(scale * (high[1] - low[1])) + 2 * AROUND[1], 1)],
        "radius": round(min(HOST, 0.36 * scale * spacing(points)), 1),
        "vertices": [
            {
                "at": at,
                "name": shortened(printable(name), 18),
                "rank": rank.get(v),
                "kind": "host" if v < topology.hosts else "switch",
            }
            for v, (at, name) in enumerate(zip(drawn(points), names))
        ],
        "ends": ends.tolist(),
        "bends": drawn(bends),
        "names": [printable(topology.link_name(i)) for i in range(len(topology.links))],
    }
