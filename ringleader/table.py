"""Rows as a table for people, or as JSON or CSV for programs."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ringleader.collectives.topology.units import seconds_text

Row = Mapping[str, Any]


def show(rows: Sequence[Row], form: str = "table") -> None:
    """Print ``rows``, which have the same keys. ``form``: "table", "json" or "csv".

    In a table, columns get units by the end of their name: bytes, seconds, factor (x), busy or idle (a
    share).
    """
    if form == "json":
        print(json.dumps([dict(row) for row in rows], indent=1))
    elif form == "csv":
        if rows:
            writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    elif rows:
        print(as_text(rows))


def as_text(rows: Sequence[Row]) -> str:
    """Aligned columns: words to the left, numbers to the right."""
    names = list(rows[0])
    cells = [[cell(name, row[name]) for name in names] for row in rows]
    heads = [name.replace("_", " ") for name in names]
    widths = [max(len(line[i]) for line in [heads, *cells]) for i in range(len(names))]
    left = [all(isinstance(row[name], str) for row in rows) for name in names]

    def line(words: Sequence[str]) -> str:
        padded = (w.ljust(n) if to_left else w.rjust(n) for w, n, to_left in zip(words, widths, left))
        return "  ".join(padded).rstrip()

    return "\n".join([line(heads), *map(line, cells)])


def cell(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return "-"
    if name.endswith("bytes"):
        return in_bytes(value)
    if name.endswith("seconds"):
        return seconds_text(value)
    if name.endswith("factor"):
        return f"{value:.2f}x"
    if name.endswith(("busy", "idle")):
        return f"{value:.0%}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}"


def in_bytes(value: float) -> str:
    """Powers of 1024, as nccl-tests and OSU print them."""
    for unit in ("", "K", "M", "G"):
        if value < 1024:
            return f"{value:.4g}{unit}"
        value /= 1024
    return f"{value:.4g}T"
