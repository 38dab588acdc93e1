"""Who holds what after each round: a grid of ranks x slots per round, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from ringleader.collectives.draw.canvas import (
    FAINT,
    GREY,
    LETTER,
    SKY,
    Target,
    caption,
    check_suffix,
    new_figure,
    plain,
    save,
)
from ringleader.collectives.draw.contents import COMPLETE, EMPTY, OTHER, PARTIAL, History
from ringleader.collectives.schedule import Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

Colour = tuple[float, float, float]

PANELS = 12
PAGE = (13.0, 12.0)  # inches that all panels may take together
GAP_X, GAP_Y = 0.55, 0.62  # inches between panels, with room for their titles and numbers
PITCH = 1.1  # inches from panel to panel at least: the width of a title
TOP, BOTTOM, SIDE = 0.55, 0.95, 0.35  # inches around them
NUMBERED = 0.14  # inches that a cell needs to have its number written in
SMALL_LETTER = 0.066  # inches that a letter takes in the line that names a fault
BETWEEN = 0.6  # columns between output and scratch


def ownership(schedule: Schedule, path: Target = None) -> Figure:
    """Grids of ranks x slots, one per round: how much of the final result each cell holds.

    Shows the state before the first round and after each; of more than 12 states the first, the last and
    evenly chosen ones. Scratch slots, if there are any, stand to the right of the output's.
    """
    check_suffix("ownership", path)
    history = History("ownership", schedule)
    chosen = _chosen(len(history.states))
    title, fault = _title(history, chosen)
    least = 2 * SIDE + max(LETTER * len(title), SMALL_LETTER * len(fault))
    layout = _layout(len(chosen), *_extent(history), least)
    figure = new_figure(layout.width, layout.height)
    colours = _colours(history)
    kinds: set[int] = set()
    for place, after in enumerate(chosen):
        row, column = divmod(place, layout.across)
        left = SIDE + GAP_X / 2 + column * layout.pitch
        top = TOP + row * (layout.panel[1] + GAP_Y) + GAP_Y / 2
        axes = figure.add_axes(
            (
                left / layout.width, 1 - (top + layout.panel[1]) / layout.height,
                layout.panel[0] / layout.width, layout.panel[1] / layout.height,
            )
        )  # fmt: skip
        kinds |= _panel(axes, history, after, colours, layout.cell)
        axes.set_title("start" if after == 0 else f"after round {after - 1}", fontsize=9, pad=4)
        if column == 0:
            axes.set_ylabel("rank", fontsize=8, labelpad=2)
    left, top = SIDE / layout.width, 1 - 0.2 / layout.height
    figure.text(left, top, title, fontsize=11, va="top")
    figure.text(left, top - 0.25 / layout.height, fault, fontsize=8, va="top", color="#a00000")
    _legend(figure, history, kinds, colours, layout)
    return save(figure, path)


def _chosen(states: int) -> list[int]:
    return sorted({round(k) for k in np.linspace(0, states - 1, min(states, PANELS))})


def _x(history: History) -> list[float]:
    """Where each column stands: buffers apart."""
    buffers = list(dict.fromkeys(buffer for buffer, _ in history.columns))
    return [i + BETWEEN * buffers.index(buffer) for i, (buffer, _) in enumerate(history.columns)]


def _extent(history: History) -> tuple[float, float]:
    """Width and height of a panel, in cells."""
    return _x(history)[-1] + 1, float(history.schedule.n)


class _Layout(NamedTuple):
    across: int
    cell: float  # inches
    panel: tuple[float, float]
    pitch: float
    width: float
    height: float


def _layout(panels: int, wide: float, high: float, least: float) -> _Layout:
    """The number of panels in a row that makes the cells largest, in a figure ``least`` inches wide."""

    def cell(across: int) -> float:
        down = -(-panels // across)
        return min(0.34, (PAGE[0] / across - GAP_X) / wide, (PAGE[1] / down - GAP_Y) / high)

    across = max(
        range(1, panels + 1), key=lambda a: (round(cell(a), 6), -abs(a * wide - -(-panels // a) * high))
    )
    size = max(cell(across), 0.02)
    down = -(-panels // across)
    panel = (wide * size, high * size)
    pitch = max(panel[0] + GAP_X, PITCH)
    width = max(2 * SIDE + across * pitch, least, 6.5)
    return _Layout(across, size, panel, pitch, width, TOP + down * (panel[1] + GAP_Y) + BOTTOM)


def _colours(history: History) -> Colormap:
    """Amounts on a scale that every eye sees as a scale; a mere "has it" as one colour."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return colormaps["viridis"] if history.most > 1 else ListedColormap([SKY])


def _panel(axes: Axes, history: History, after: int, colours: Colormap, cell: float) -> set[int]:
    """Draw one state; returns the kinds of cells in it."""
    from matplotlib.collections import LineCollection, PatchCollection
    from matplotlib.patches import Rectangle

    x = _x(history)
    boxes, faces, crossed, framed, inks, kinds = [], [], [], [], [], set()
    for rank, row in enumerate(history.states[after].tolist()):
        for column, expression in enumerate(row):
            kind, amount = history.judge(rank, column, expression)
            kinds.add(kind)
            face = _face(kind, amount, history.most, colours)
            ink = _ink(face)
            boxes.append(Rectangle((x[column], rank), 1, 1))
            faces.append(face)
            if kind == OTHER:
                crossed.append([(x[column], rank + 1.0), (x[column] + 1, float(rank))])
            elif kind == COMPLETE:
                framed.append(Rectangle((x[column] + 0.1, rank + 0.1), 0.8, 0.8))
                inks.append(ink)
            if amount and cell >= NUMBERED:
                _number(axes, (x[column] + 0.5, rank + 0.5), _says(history, expression, amount), ink, cell)
    width = min(0.9, 4 * cell)
    for drawn in (
        PatchCollection(boxes, facecolor=faces, edgecolor="#b8b8b8", linewidth=0.4, gid="cells"),
        LineCollection(crossed, color="white", linewidth=0.8, gid="other"),
        PatchCollection(framed, facecolor="none", edgecolor=inks, linewidth=width, gid="complete"),
    ):
        axes.add_collection(drawn)
    _frame(axes, history, x)
    return kinds


def _rgb(colour: object) -> Colour:
    from matplotlib.colors import to_rgb

    return to_rgb(colour)  # type: ignore[arg-type]


def _face(kind: int, amount: int, most: int, colours: Colormap) -> Colour:
    if kind == OTHER:
        return _rgb(FAINT)
    if not amount:
        return _rgb("white")
    return _rgb(colours((min(amount, most) - 1) / max(most - 1, 1)))


def _ink(face: Colour) -> str:
    """What can be read on it."""
    red, green, blue = face
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else "black"


def _says(history: History, expression: int, amount: int) -> str:
    """The number in a cell: contributions held or, where nothing is ever folded, whose input it is."""
    return str(amount) if history.most > 1 else str(history.rank_of(expression))


def _number(axes: Axes, at: tuple[float, float], text: str, ink: str, cell: float) -> None:
    size = min(8.0, 72 * cell * (0.55 if len(text) < 3 else 0.4))
    axes.text(*at, text, ha="center", va="center_baseline", fontsize=size, color=ink, gid="number")


def _frame(axes: Axes, history: History, x: list[float]) -> None:
    """Ranks and slots along the sides, no more of them than can be read."""
    n = history.schedule.n
    axes.set_xlim(-0.05, x[-1] + 1.05)
    axes.set_ylim(n + 0.05, -0.05)
    ranks = range(0, n, -(-n // 16))
    buffers: dict[str, list[int]] = {}
    for column, (buffer, _) in enumerate(history.columns):
        buffers.setdefault(buffer, []).append(column)
    shown = [c for columns in buffers.values() for c in columns[:: -(-len(columns) // (16 // len(buffers)))]]
    axes.set_yticks([r + 0.5 for r in ranks], [str(r) for r in ranks], fontsize=6.5)
    axes.set_xticks([x[c] + 0.5 for c in shown], [str(history.columns[c][1]) for c in shown], fontsize=6.5)
    axes.tick_params(length=0, pad=1.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if len(buffers) > 1:
        for buffer, columns in buffers.items():
            middle = (x[columns[0]] + x[columns[-1]] + 1) / 2
            axes.annotate(
                buffer, (middle, n), xytext=(0, -11), textcoords="offset points", ha="center", va="top",
                fontsize=7, color=GREY, annotation_clip=False,
            )  # fmt: skip


def _title(history: History, chosen: list[int]) -> tuple[str, str]:
    """What is shown, and what is wrong with it (nothing, if it is proved)."""
    every = len(history.states)
    some = "" if len(chosen) == every else f" ({len(chosen)} of {every} states shown)"
    fault = "" if history.verdict else plain(str(history.verdict).split(": ", 1)[1])
    return caption(history.schedule) + some, fault


def _legend(figure: Figure, history: History, kinds: set[int], colours: Colormap, layout: _Layout) -> None:
    """One for all panels: the scale, and how the other kinds of cells look (if there are any)."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Patch

    folds = history.most > 1
    known = {
        PARTIAL: Patch(facecolor=SKY, label="belongs here"),
        COMPLETE: Patch(facecolor="white", edgecolor="black", label="final, as promised"),
        OTHER: Patch(
            facecolor=FAINT,
            edgecolor="white",
            hatch="///",
            label="anything else: passing through, to be overwritten",
        ),
        EMPTY: Patch(facecolor="white", edgecolor=FAINT, label="nothing yet"),
    }
    shown = kinds - {PARTIAL} if folds else kinds | {PARTIAL}
    figure.legend(
        handles=[patch for kind, patch in known.items() if kind in shown], loc="center left",
        bbox_to_anchor=(SIDE / layout.width, 0.62 / layout.height), ncols=4,
        frameon=False, fontsize=8.5, handlelength=1.3, handleheight=1.3, columnspacing=1.4, borderaxespad=0,
    )  # fmt: skip
    number = "contributions held:" if folds else "number: the rank whose input it is"
    if folds or layout.cell >= NUMBERED:
        figure.text(SIDE / layout.width, 0.3 / layout.height, number, fontsize=8.5, va="center")
    if folds:
        where = (1.9 / layout.width, 0.25 / layout.height, 2.4 / layout.width, 0.12 / layout.height)
        scale = ScalarMappable(Normalize(1, history.most), colours)
        bar = figure.colorbar(scale, cax=figure.add_axes(where), orientation="horizontal")
        bar.set_ticks([1, history.most])
        bar.ax.tick_params(labelsize=8, length=2, pad=1.5)
