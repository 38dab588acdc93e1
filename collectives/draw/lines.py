"""Time against bytes or ranks, one line per algorithm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from ringleader.collectives.draw.canvas import (
    CATEGORIES,
    FAINT,
    Target,
    check_suffix,
    new_figure,
    plain,
    save,
    shortened,
)
from ringleader.collectives.topology.units import bytes_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart without colour: lengths without a common divisor, so that 63 lines have a look of their own.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
DASHES: tuple[Any, ...] = (
    "solid", (0, (6, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)), (0, (3, 1.5)), (0, (9, 2, 1.5, 2, 1.5, 2)),
    (0, (1.5, 4)),
)  # fmt: skip
AXES = {"bytes": ("nbytes", "n"), "ranks": ("n", "nbytes")}  # what runs along x, and what must stay the same


def curves(
    rows: Iterable[Mapping[str, Any]], path: Target = None, x: Literal["bytes", "ranks"] = "bytes"
) -> Figure:
    """Time against ``x`` on logarithmic axes.

    ``rows``: {"algorithm": name, "n": ranks, "nbytes": bytes, "seconds": time} each; all of one rank count
    (x="bytes") or of one size (x="ranks").
    """
    check_suffix("curves", path)
    if x not in AXES:
        raise ValueError(f"curves: no axis {x!r}; x is 'bytes' or 'ranks'")
    table = list(rows)
    along, fixed = AXES[x]
    same = _same(table, fixed)
    lines = _lines(table, along)
    height = max(4.8, 0.8 + 0.205 * len(lines))  # the legend has a line for each
    figure = new_figure(9.6, height)
    axes = figure.add_axes((0.095, 0.6 / height, 0.58, 1 - 1.05 / height))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    for number, (name, points) in enumerate(lines.items()):
        axes.plot(
            *zip(*sorted(points.items())), label=plain(shortened(name, 30)),
            color=CATEGORIES[number % len(CATEGORIES)], marker=MARKERS[number % len(MARKERS)],
            linestyle=DASHES[number % len(DASHES)], markersize=5, linewidth=1.5,
        )  # fmt: skip
    _axes(axes, x, sorted({row[along] for row in table}))
    axes.set_title(f"{same} ranks" if x == "bytes" else bytes_text(same), loc="left", fontsize=11)
    drawn = axes.get_lines()
    axes.legend(
        drawn, [str(line.get_label()) for line in drawn], loc="upper left", bbox_to_anchor=(1.02, 1),
        frameon=False, fontsize=9, handlelength=4, borderaxespad=0,
    )  # fmt: skip
    return save(figure, path)


def _lines(table: list[Mapping[str, Any]], along: str) -> dict[str, dict[int, float]]:
    """The points of each algorithm, in the order in which algorithms come up."""
    lines: dict[str, dict[int, float]] = {}
    for row in table:
        points = lines.setdefault(str(row["algorithm"]), {})
        if not (row[along] > 0 and row["seconds"] > 0):
            raise ValueError(
                f"curves: {row['algorithm']} takes {row['seconds']} s at {along}={row[along]}; "
                "logarithmic axes can only show what is above 0"
            )
        if row[along] in points:
            raise ValueError(
                f"curves: {row['algorithm']} is given twice at {along}={row[along]}; give one row for each point"
            )
        points[row[along]] = row["seconds"]
    return lines


def _same(table: list[Mapping[str, Any]], fixed: str) -> int:
    values = sorted({row[fixed] for row in table})
    if len(values) != 1:
        raise ValueError(
            f"curves: one picture is of one {fixed}, got {values or 'no rows'}; choose among the rows"
        )
    return int(values[0])


def _axes(axes: Axes, x: str, values: list[int]) -> None:
    from matplotlib.ticker import (
        EngFormatter,
        FixedLocator,
        FuncFormatter,
        LogLocator,
        NullFormatter,
        NullLocator,
    )

    axes.grid(True, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    low, high = axes.get_ylim()
    few = high < 100 * low  # too few powers of ten to read a value by
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
    axes.yaxis.set_major_formatter(EngFormatter("s"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(FixedLocator(values[:: -(-len(values) // 9)]))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda v, _: bytes_text(int(v)) if x == "bytes" else f"{v:.0f}")
    )
    axes.set_xlabel("bytes of a rank's larger buffer" if x == "bytes" else "ranks")
    axes.set_ylabel("time")
    axes.tick_params(labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
