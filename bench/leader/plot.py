"""Pictures of a slow worker, and of where the leader is faster than the ring."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from ringleader.bench.leader.crossover import SERVER, Curve
from ringleader.bench.leader.page import size_text
from ringleader.bench.leader.stragglers import Row

LOSSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5)
RATIOS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)


def plot_stragglers(rows: Sequence[Row], path: Path) -> None:
    """A column for each pattern: above the loss, below the gradients so far, both against time."""
    patterns = list(dict.fromkeys(row.pattern for row in rows))
    figure = Figure(figsize=(5.6 * len(patterns), 7.2), layout="constrained")
    axes = figure.subplots(2, len(patterns), squeeze=False, sharex=True, sharey="row")
    for column, pattern in enumerate(patterns):
        upper, lower = axes[0][column], axes[1][column]
        for number, row in enumerate(row for row in rows if row.pattern == pattern):
            style = {"color": f"C{number}", "label": str(row.method), "linewidth": 1.5,
                     "linestyle": "--" if row.method.mode == "ring" else "-"}  # fmt: skip
            upper.plot(*row.curve(), **style)
            lower.plot(*_gradients(row), **style)
        upper.set(yscale="log", title=f"a slow worker: {pattern}")
        _plain(upper.yaxis, LOSSES, "g")
        lower.set_xlabel("seconds")
        for axis in (upper, lower):
            axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("loss of the first worker's weights (nats)")
    axes[1][0].set_ylabel("gradients of all workers so far")
    axes[0][0].legend(fontsize="small")
    figure.savefig(path, dpi=100)


def _gradients(row: Row, points: int = 100) -> tuple[Any, Any]:
    """The median over the repeats."""
    times = np.linspace(0, row.seconds, points)
    return times, np.median([[run.gradients(at) for at in times] for run in row.runs], axis=0)


def plot_crossover(curves: Sequence[Curve], path: Path) -> None:
    """A column for each rank count, a row for the schedule and one for the parameter server: how many times as fast as the
    ring, measured (whole lines) and predicted (broken ones)."""
    counts, kinds = (list(dict.fromkeys(values)) for values in zip(*((c.n, c.what) for c in curves)))
    figure = Figure(figsize=(max(6.5, 4.8 * len(counts)), 3.9 * len(kinds)), layout="constrained")
    axes = figure.subplots(len(kinds), len(counts), squeeze=False, sharex=True, sharey=True)
    for i, what in enumerate(kinds):
        for column, n in enumerate(counts):
            own, axis = [c for c in curves if (c.what, c.n) == (what, n)], axes[i][column]
            for number, curve in enumerate(own):
                label = f"{curve.servers} server{'s' * (curve.servers > 1)}"
                axis.plot(
                    curve.sizes, curve.measured, f"C{number}o-", markersize=4, label=f"{label}, measured"
                )
                axis.plot(curve.sizes, curve.predicted, f"C{number}--", label=f"{label}, predicted")
            axis.axhline(1, color="black", linewidth=0.8)
            axis.set_title(what if what == SERVER else f"AllReduce by {what}", fontsize="medium", loc="left")
            axis.set_title(f"{n} ranks", fontsize="medium", loc="right")
            _scale(axis, sorted({size for curve in own for size in curve.sizes}))
        axes[i][0].set_ylabel("times as fast as the ring")
    axes[0][-1].legend(fontsize="x-small")  # the most ranks have all numbers of servers
    for axis in axes[-1]:
        axis.set_xlabel("size")
    figure.savefig(path, dpi=100)


def _scale(axis: Any, sizes: Sequence[int]) -> None:
    axis.set(xscale="log", yscale="log")
    axis.xaxis.set_major_locator(FixedLocator(list(sizes)[:: max(1, len(sizes) // 5)]))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: size_text(value)))
    axis.xaxis.set_minor_locator(NullLocator())
    _plain(axis.yaxis, RATIOS, "gx")
    axis.grid(alpha=0.3)


def _plain(axis: Any, ticks: Sequence[float], form: str) -> None:
    """These ticks alone; ``form``: "g", and what comes behind."""
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:{form[0]}}{form[1:]}"))
    axis.set_minor_locator(NullLocator())
