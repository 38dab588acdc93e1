"""Space-time diagrams of schedules: a line per rank, rounds along it, an arrow for every message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ringleader.collectives.draw.canvas import (
    COPIES,
    FAINT,
    FOLDS,
    GREY,
    LETTER,
    LINE,
    caption,
    new_figure,
)
from ringleader.collectives.draw.contents import Message, messages, refuse_large
from ringleader.collectives.schedule import Schedule

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

ARROWS = 4096  # more cannot be told apart
LEFT, RIGHT, TOP, BOTTOM = 0.75, 0.3, 0.85, 0.75  # inches around the axes
LEGEND = 0.3  # inches from the figure's lower edge
DASHED = (0, (4, 1.5))


def rounds_figure(schedule: Schedule) -> Figure:
    """Time runs in rounds: a message leaves at the start of its round and is there at its end."""
    refuse_large("space_time", schedule)
    rounds = [list(messages(groups)) for groups in schedule.expand()]
    refuse_arrows(sum(len(r) for r in rounds))
    axes = rank_axes(schedule.n, len(rounds), caption(schedule))
    axes.set_xlim(0, max(len(rounds), 1))
    every = max(1, -(-len(rounds) // 32))
    axes.set_xticks(
        [k + 0.5 for k in range(0, len(rounds), every)], [str(k) for k in range(0, len(rounds), every)]
    )
    axes.set_xlabel("round")
    axes.vlines(range(len(rounds) + 1), -0.6, schedule.n - 0.4, color=FAINT, linewidth=0.6, zorder=0)
    heaviest = max((len(m.slots) for r in rounds for m in r), default=1)
    for number, sent in enumerate(rounds):
        _round(axes, number, sent, heaviest)
    everything = [m for r in rounds for m in r]
    uneven = "more slots" if len({len(m.slots) for m in everything if m.src != m.dst}) > 1 else ""
    legend(axes, message_handles({(m.src == m.dst, m.folds) for m in everything}, uneven))
    return axes.figure  # type: ignore[return-value]


def refuse_arrows(count: int) -> None:
    if count > ARROWS:
        raise ValueError(f"space_time: {count} messages cannot be told apart; draw at most {ARROWS}")


def rank_axes(n: int, rounds: int, *title: str) -> Axes:
    """Axes with a line for each of ``n`` ranks, rank 0 on top, and room for so many rounds."""
    width = max(0.32, min(1.1, 13 / max(rounds, 1))) * rounds
    width = min(max(width, LETTER * max(map(len, title)), 4.5), 16)
    height = n * max(0.2, min(0.5, 5.5 / n))
    top = TOP + LINE * (len(title) - 1)
    figure = new_figure(LEFT + width + RIGHT, top + height + BOTTOM)
    full_width, full_height = figure.get_size_inches()
    axes = figure.add_axes(
        (LEFT / full_width, BOTTOM / full_height, width / full_width, height / full_height)
    )
    for number, line in enumerate(title):
        at = 1 - (0.18 + LINE * number) / full_height
        figure.text(LEFT / full_width, at, line, fontsize=10 if number else 11, va="top")
    axes.set_ylim(n - 0.4, -0.6)
    axes.set_yticks(range(n), [str(rank) for rank in range(n)], fontsize=9 if n <= 32 else 7)
    axes.set_ylabel("rank")
    axes.hlines(range(n), 0, 1, transform=axes.get_yaxis_transform(), color=GREY, linewidth=0.8, zorder=1)
    axes.tick_params("y", pad=6)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    axes.xaxis.set_label_position("top")
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def _round(axes: Axes, number: int, sent: list[Message], heaviest: int) -> None:
    """Messages between the same two ranks leave one after the other, so that each can be seen."""
    between = Counter((m.src, m.dst) for m in sent)
    spread = 0.3 if any(count > 1 for count in between.values()) else 0.0
    seen: Counter[tuple[int, int]] = Counter()
    for m in sent:
        count = between[m.src, m.dst]
        late = spread * seen[m.src, m.dst] / count
        seen[m.src, m.dst] += 1
        if m.src == m.dst:
            axes.plot(
                [number + 0.5 + late - spread * (count - 1) / count / 2], [m.src], marker="P" if m.folds else "s", markersize=5,
                color=FOLDS if m.folds else COPIES, markeredgecolor="white", markeredgewidth=0.5,
                linestyle="none", zorder=4, gid="local",
            )  # fmt: skip
        else:
            ends = (number + 0.08 + late, m.src), (number + 0.92 - spread + late, m.dst)
            arrow(axes, *ends, folds=m.folds, weight=len(m.slots) / heaviest)


def arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], *, folds: bool, weight: float = 1.0
) -> None:
    """A message: blue and solid if it is copied, vermillion and dashed if it is folded."""
    from matplotlib.patches import FancyArrowPatch

    axes.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=8, shrinkA=0, shrinkB=0, gid="message",
            color=FOLDS if folds else COPIES, linewidth=0.7 + 0.9 * weight,
            linestyle=DASHED if folds else "solid", zorder=3,
        )
    )  # fmt: skip


def message_handles(there: set[tuple[bool, bool]], uneven: str) -> list[Line2D]:
    """Only what the picture has: (on the rank itself, folded) of the messages there."""
    from matplotlib.lines import Line2D

    known: list[tuple[bool, bool, dict[str, Any], str]] = [
        (False, False, {"linestyle": "solid"}, "message, copied"),
        (False, True, {"linestyle": DASHED}, "message, folded into what is there"),
        (True, False, {"marker": "s", "linestyle": "none"}, "copy on the rank itself"),
        (True, True, {"marker": "P", "linestyle": "none"}, "fold on the rank itself"),
    ]
    handles = [
        Line2D([], [], color=FOLDS if folds else COPIES, label=label, **how)
        for local, folds, how, label in known
        if (local, folds) in there
    ]
    if uneven:
        handles.append(Line2D([], [], linestyle="none", label=f"thicker: {uneven}"))
    return handles


def legend(axes: Axes, handles: Sequence[Artist]) -> None:
    """Below the axes, side by side, in two rows where one would be too long."""
    figure = axes.figure
    width, height = figure.get_size_inches()  # type: ignore[union-attr]
    long = sum(0.8 + 0.075 * len(str(h.get_label())) for h in handles)
    if handles:
        figure.legend(
            handles=handles, loc="center", bbox_to_anchor=(0.5, LEGEND / height), frameon=False,
            ncols=len(handles) if long < width else -(-len(handles) // 2),
            fontsize=9, handlelength=2.6, columnspacing=1.6,
        )  # fmt: skip
