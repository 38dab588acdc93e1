"""The commands that write files of a schedule: draw and export."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from ringleader.collectives import draw, export_msccl, topology
from ringleader.progress import steps, watched
from ringleader.runs import grid, ranks, refuse, simulated

Item = TypeVar("Item")
SIMULATED = {"on", "placement", "sizes", "model", "overhead", "gamma", "loggp"}
USED: dict[str, set[str]] = {
    "space-time": set(), "ownership": set(), "page": {"on", "placement", "sizes"}, "time": SIMULATED, "links": SIMULATED,
    "curves": SIMULATED,
}  # fmt: skip


def draw_command(options: argparse.Namespace) -> int:
    """One picture, or the page that steps through a schedule, by the suffix of the file."""
    path, what = Path(options.output), options.what
    if path.suffix.lower() in (".html", ".htm"):
        refuse(options, {"what"}, "for pictures; a page shows everything")
        what = "page"
    refuse(options, SIMULATED - USED[what], f"of no use for {what}")
    if what == "curves":
        draw.curves(_curve_rows(options), path, x="ranks" if len(options.ranks) > 1 else "bytes")
    else:
        with watched():
            _draw_one(options, path, what)
    print(f"wrote {path}")
    return 0


def _draw_one(options: argparse.Namespace, path: Path, what: str) -> None:
    target = _only(options.targets, "algorithm")
    schedule = target.build(_only(ranks(target, options), "rank count"), options.root)
    nbytes = _only(options.sizes, "size")
    if what == "page":
        draw.page(schedule, path, topology(options.on, ranks=schedule.n), nbytes, options.placement)
    elif what == "ownership":
        draw.ownership(schedule, path)
    elif what == "links":
        draw.link_load(simulated(options, schedule, nbytes), path)
    elif what == "time":
        draw.space_time(simulated(options, schedule, nbytes, record=True), path)
    else:
        draw.space_time(schedule, path)


def _only(items: Sequence[Item], what: str) -> Item:
    if len(items) != 1:
        names = " ".join(map(str, items[:3]))
        raise ValueError(f"draw shows one {what}, not {len(items)} ({names} ...); or use --what curves")
    return items[0]


def _curve_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for target, n, nbytes in steps(grid(options)):
        done = simulated(options, target.build(n, options.root), nbytes)
        rows.append({"algorithm": str(target), "n": n, "nbytes": nbytes, "seconds": done.total})
    return rows


def export_command(options: argparse.Namespace) -> int:
    """A schedule as MSCCL-IR."""
    if len(options.targets) != 1:
        raise ValueError("export writes one algorithm, like allreduce/ring")
    target = options.targets[0]
    with watched():
        export_msccl(target.build(ranks(target, options)[0], options.root), options.output)
    print(f"wrote {options.output}")
    return 0
