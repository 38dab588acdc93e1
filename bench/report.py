"""Tables for people, and files for programs: what ``ringleader bench`` prints and writes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ringleader.bench.figures import Row
from ringleader.bench.verdicts import Verdict

COLUMNS = (
    f"{'size':>12} {'count':>12} {'type':>8} {'op':>4}  {'contestant':<22} {'place':<5} {'p50':>10} {'p95':>10} "
    f"{'min':>10} {'algbw':>7} {'busbw':>7} {'#wrong':>6} {'limit':>6} {'ratio':>7}"
)
UNITS = (
    f"{'(B)':>12} {'(elements)':>12} {'':>8} {'':>4}  {'':<22} {'':<5} {'(us)':>10} {'(us)':>10} "
    f"{'(us)':>10} {'(GB/s)':>7} {'(GB/s)':>7} {'':>6} {'':>6} {'':>7}"
)


def heading(collective: str, n: int, repeats: int) -> str:
    return f"# {collective} on {n} ranks, {repeats} interleaved repeats\n#{COLUMNS[1:]}\n#{UNITS[1:]}"


def line(row: Row) -> str:
    """As nccl-tests, with p50, p95 and the least time; the share of the physical limit; and how many times as fast
    as the fastest peer."""
    wrong = "N/A" if row.wrong is None else str(row.wrong)
    share = "-" if row.limit_share is None else f"{row.limit_share:.0%}"
    ratio = "-" if row.ratio is None else f"{row.ratio:.2f}x"
    return (
        f"{row.bytes:>12} {row.count:>12} {row.type:>8} {row.op:>4}  {row.entry:<22} {row.place:<5} "
        f"{row.p50_seconds * 1e6:>10.2f} {row.p95_seconds * 1e6:>10.2f} {row.min_seconds * 1e6:>10.2f} "
        f"{row.algbw / 1e9:>7.2f} {row.busbw / 1e9:>7.2f} {wrong:>6} {share:>6} {ratio:>7}"
    )


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
    writer = csv.DictWriter(file, list(flat[0]) if flat else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
