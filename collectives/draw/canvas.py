"""What all figures share: colours, plain text, and files that come out the same every time.

Matplotlib is imported when a figure is made, never before, and its global state (pyplot) is not used.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from ringleader.collectives.schedule import Schedule
from ringleader.collectives.topology.units import seconds_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Target = str | PathLike[str] | None

# Okabe and Ito, "Color Universal Design" (2008): told apart with any colour vision. Their yellow is left
# out: it cannot be seen on white.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = CATEGORIES = (
    "#000000", "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#cc79a7",
)  # fmt: skip
COPIES, FOLDS = BLUE, VERMILLION  # and always solid against dashed
GREY, FAINT = "#6b6b6b", "#d9d9d9"
LETTER, LINE = 0.085, 0.24  # inches that a letter of a title takes on average, and a line of it
SUFFIXES = (".svg", ".png")


def check_suffix(what: str, path: Target, known: tuple[str, ...] = SUFFIXES) -> None:
    """Before any work is done: is this a file that we can write?"""
    if path is not None and Path(path).suffix.lower() not in known:
        raise ValueError(f"{what}: cannot write {Path(path).name!r}; use {' or '.join(known)}")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), facecolor="white")


def save(figure: Figure, path: Target) -> Figure:
    """Write the figure if a path is given. The same figure gives the same bytes: no date, no random ids."""
    if path is not None:
        from matplotlib import rc_context

        suffix = Path(path).suffix.lower()
        # None drops what would differ from day to day, or from one installation to the next.
        metadata = {"Date": None, "Creator": None} if suffix == ".svg" else {"Software": None}
        with rc_context({"svg.hashsalt": "ringleader"}):
            figure.savefig(path, format=suffix[1:], dpi=150, metadata=metadata)
    return figure


def plain(text: str) -> str:
    """Text that a name cannot turn into anything else: one line, nothing unprintable, no formulas."""
    return printable(text).replace("$", r"\$")


def printable(text: str) -> str:
    """One line, and nothing in it that cannot be shown or encoded."""
    return "".join(c if c.isprintable() else "?" for c in text)


def seconds_drawn(seconds: float) -> str:
    """As text has it, which may have to be ASCII; a picture need not."""
    return seconds_text(seconds).replace(" us", " µs")


def caption(schedule: Schedule) -> str:
    """What a figure of this schedule is called."""
    return plain(description(schedule))


def description(schedule: Schedule) -> str:
    """The same for a page, where no character has a meaning of its own."""
    what = schedule.collective.name if schedule.collective else "fragment"
    slots = f"{schedule.slots} slot" + "s" * (schedule.slots != 1)
    root = f", root {schedule.root}" if schedule.collective and schedule.collective.rooted else ""
    return f"{what}, {shortened(schedule.name)}: {schedule.n} ranks{root}, {slots} per block"


def shortened(name: str, most: int = 48) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
