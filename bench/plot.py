"""A picture of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, NullLocator
from ringleader.bench.figures import Row
from ringleader.bench.patterns import PATTERNS
from ringleader.bench.verdicts import WHERE

SHAPES = "osD^vP*X"
RATIOS = (0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000)


def plot(rows: Sequence[Row], path: Path) -> None:
    """A column for every rank count; for every collective and place two rows: bus bandwidth over size with the
    physical limit, and how many times as fast as the fastest peer we are, with the range of all repeats.

    ValueError if nothing can be drawn (a barrier has no bandwidth).
    """
    drawn = [row for row in rows if row.busbw]
    if not drawn:
        raise ValueError("there is no bandwidth to be drawn; give a collective that moves data")
    counts, entries = (list(dict.fromkeys(values)) for values in zip(*((r.n, r.entry) for r in drawn)))
    parts = list(dict.fromkeys((row.collective, row.place) for row in drawn))
    figure = Figure(figsize=(max(6.5, 4.6 * len(counts)), 6.4 * len(parts)), layout="constrained")
    axes = figure.subplots(2 * len(parts), len(counts), squeeze=False, sharex=True, sharey="row")
    for i, (collective, place) in enumerate(parts):
        for column, n in enumerate(counts):
            of = [row for row in drawn if (row.collective, row.place, row.n) == (collective, place, n)]
            upper, lower = axes[2 * i][column], axes[2 * i + 1][column]
            _panel(upper, lower, of, entries)
            upper.set_title(f"{collective}, {n} ranks, {WHERE[place]}", fontsize="medium")
        axes[2 * i][0].set_ylabel("bus bandwidth (GB/s)")
        axes[2 * i + 1][0].set_ylabel("times as fast as the fastest peer")
    for lowest in axes[-1]:
        lowest.set_xlabel("size (bytes)")
    axes[0][0].legend(fontsize="small")
    figure.savefig(path, dpi=100)


def _panel(upper: Any, lower: Any, of: list[Row], entries: list[str]) -> None:
    """``entries``: of the whole figure, so that each has its own colour everywhere."""
    for number, name in enumerate(entries):
        style = {
            "color": f"C{number}",
            "marker": SHAPES[number % len(SHAPES)],
            "markersize": 4,
            "label": name,
        }
        _draw(upper, lower, [row for row in of if row.entry == name], style)
    _draw_limit(upper, of)
    lower.axhline(1, color="black", linewidth=0.8)
    _scale(upper, lower, sorted({row.bytes for row in of}))


def _draw(upper: Any, lower: Any, own: list[Row], style: dict[str, Any]) -> None:
    sizes = [row.bytes for row in own]
    upper.plot(sizes, [row.busbw / 1e9 for row in own], **style)
    compared = [(row.bytes, row.ratio, row.ratio_low, row.ratio_high) for row in own if row.ratio is not None]
    if compared:
        at, ratios, lows, highs = zip(*compared)
        lower.plot(at, ratios, **style)
        lower.fill_between(at, lows, highs, color=style["color"], alpha=0.2, linewidth=0)


def _draw_limit(upper: Any, of: list[Row]) -> None:
    """The bandwidth of a collective that moves no more than it must, as fast as as many processes copy."""
    limits = {}
    for row in of:
        pattern = PATTERNS[row.collective]
        if row.copy_rate is not None and (moved := pattern.traffic(row.n, row.place)):
            limits[row.bytes] = row.copy_rate / moved * pattern.bus(row.n) / 1e9
    if limits:
        upper.plot(list(limits), list(limits.values()), "k--", linewidth=1, label="physical limit")


def _scale(upper: Any, lower: Any, sizes: list[int]) -> None:
    upper.set(xscale="log", yscale="log")
    lower.set(xscale="log", yscale="log")
    every = sizes[:: max(1, len(sizes) // 6)]
    lower.xaxis.set_major_locator(FixedLocator(every))
    lower.xaxis.set_major_formatter(FixedFormatter([_short(size) for size in every]))
    lower.xaxis.set_minor_locator(NullLocator())
    lower.yaxis.set_major_locator(FixedLocator(RATIOS))
    lower.yaxis.set_minor_locator(NullLocator())
    lower.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    for axis in (upper, lower):
        axis.grid(alpha=0.3)


def _short(nbytes: float) -> str:
    for unit in ("", "K", "M"):
        if nbytes < 1024:
            return f"{nbytes:.3g}{unit}"
        nbytes /= 1024
    return f"{nbytes:.3g}G"
