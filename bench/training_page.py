"""Training steps in bench/RESULTS.md: the table that bench/training.py prints, machine, versions, and whether the goal is met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ringleader.bench.results import machine_text

GOAL = 1.2  # times as fast as PyTorch
HEADING = (
    "| ranks | step | ringleader (ms) | PyTorch (ms) | ratio | losses apart |\n|---:|---|---:|---:|---:|---:|"
)
METHOD = """The same networks from the same parameters on the same data, float32, SGD with momentum for LeNet-5 and Adam
for the others; one rank alone, several as DataParallel and as DDP over Gloo. Steps of both are timed in turn in the same
processes. A time is the slowest rank's of a step, Python included; shown are medians over the repeats. *ratio*: PyTorch's
time over ours, as the median (least ... largest) of the repeats' ratios. *losses apart*: the largest difference of the
two losses in the first steps. LSTM and GRU read letters, of which there are 65: ours computes what an input contributes
once for each letter (models/recurrent.py). *On vectors* there is nothing to share: the bare layers."""


@dataclass(frozen=True)
class Row:
    """One network on so many ranks: seconds of a step in every repeat, ours and PyTorch's."""

    ranks: int
    step: str
    ours: Sequence[float]
    theirs: Sequence[float]
    apart: float

    @property
    def ratios(self) -> list[float]:
        return sorted(their / our for our, their in zip(self.ours, self.theirs, strict=True))

    def __str__(self) -> str:
        """Its line in the table."""
        ranks = str(self.ranks) if self.ranks == 1 else f"{self.ranks} (DDP over Gloo)"
        low, high = self.ratios[0], self.ratios[-1]
        return (
            f"| {ranks} | {self.step} | {median(self.ours) * 1e3:.2f} | {median(self.theirs) * 1e3:.2f} | "
            f"{median(self.ratios):.2f} ({low:.2f} ... {high:.2f}) | {self.apart:.1e} |"
        )


def section(rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    """In Markdown. ``about``: command, date, machine, versions, threads of a rank."""
    threads = f"{about['threads']} thread{'s' * (about['threads'] > 1)} a rank"
    below = [
        f"{row.step} on {row.ranks} rank{'s' * (row.ranks > 1)}" for row in rows if median(row.ratios) < GOAL
    ]
    met = f"NOT MET by {'; '.join(below)}" if below else "met"
    parts = [
        "## Training steps beside PyTorch",
        f"Made by `{about['command']}` on {about['date']}: {machine_text(about['machine'])} {threads}.",
        METHOD,
        "\n".join(f"- {name}: {version}" for name, version in about["versions"].items()),
        f"The goal is a ratio of {GOAL} in each: {met}.",
        "\n".join([HEADING, *map(str, rows)]),
    ]
    return "\n\n".join(parts) + "\n"
