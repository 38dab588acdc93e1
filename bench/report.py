"""Tables for people, and files for programs: what ``ringleader bench`` prints and writes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ringleader.bench.figures import Row, ratio_text
from ringleader.bench.verdicts import Verdict

# As nccl-tests, and: who was measured, in which place; p50, p95, mean and the least of the times; the share of the
# physical limit; how many times as fast as the fastest peer. A negative width: to the left.
COLUMNS: tuple[tuple[str, str, int, Callable[[Row], str]], ...] = (
    ("size", "(B)", 12, lambda row: str(row.bytes)),
    ("count", "(elements)", 12, lambda row: str(row.count)),
    ("type", "", 8, lambda row: row.type),
    ("op", "", 5, lambda row: row.op),
    ("contestant", "", -22, lambda row: row.entry),
    ("place", "", -5, lambda row: row.place),
    ("p50", "(us)", 10, lambda row: _us(row.p50_seconds)),
    ("p95", "(us)", 10, lambda row: _us(row.p95_seconds)),
    ("mean", "(us)", 10, lambda row: _us(row.mean_seconds)),
    ("min", "(us)", 10, lambda row: _us(row.min_seconds)),
    ("algbw", "(GB/s)", 7, lambda row: f"{row.algbw / 1e9:.2f}"),
    ("busbw", "(GB/s)", 7, lambda row: f"{row.busbw / 1e9:.2f}"),
    ("#wrong", "", 6, lambda row: "N/A" if row.wrong is None else str(row.wrong)),
    ("limit", "", 5, lambda row: "-" if row.limit_share is None else f"{row.limit_share:.0%}"),
    ("ratio", "", 7, lambda row: "-" if row.ratio is None else f"{ratio_text(row.ratio)}x"),
)


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.2f}"


def heading(collective: str, n: int, repeats: int) -> str:
    """Three lines, above the lines of the rows."""
    names = _joined(name for name, *_ in COLUMNS)
    units = _joined(unit for _, unit, *_ in COLUMNS)
    return f"# {collective} on {n} ranks, {repeats} interleaved repeats\n#{names[1:]}\n#{units[1:]}"


def line(row: Row) -> str:
    return _joined(text(row) for _, _, _, text in COLUMNS)


def _joined(words: Iterable[str]) -> str:
    padded = (w.rjust(width) if width > 0 else w.ljust(-width) for w, (_, _, width, _) in zip(words, COLUMNS))
    return " ".join(padded).rstrip()


def as_json(rows: Iterable[Row], verdicts: Iterable[Verdict], about: Mapping[str, Any]) -> str:
    """One object: what was measured on what (``about``), the rows, the verdicts. Seconds and bytes a second."""
    whole = {
        **about,
        "rows": [row.flat() for row in rows],
        "verdicts": [{**vars(v), "text": str(v)} for v in verdicts],
    }
    return json.dumps(whole, indent=1) + "\n"


def write_csv(rows: Sequence[Row], file: Any) -> None:
    """One line a row; the repeats' p50s are separated by blanks."""
    flat = [row.flat() | {"p50s_seconds": " ".join(map(repr, row.p50s_seconds))} for row in rows]
    if flat:
        writer = csv.DictWriter(file, list(flat[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)
