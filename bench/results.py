"""Collectives in bench/RESULTS.md: machine, versions, medians and spreads, and what they say of the numbers that must stand."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ringleader.bench.contestants import cores
from ringleader.bench.figures import Row, ratio_text
from ringleader.bench.verdicts import WHERE, Verdict

BUSY = 0.5  # load average
METHOD = """Contestants are measured in turn within each repeat. A time is the p50 over the calls of a repeat, the
slowest rank's, Python included; shown are the median over the repeats and, behind it, the least and the largest of
them. *of limit*: the share reached of the physical limit, which is what must be read and written, over the rate at
which as many processes copy arrays of that size at once, measured beside it. That is memory of one's own, for small
arrays in one's own cache; but what an AllReduce folds belongs to another core. *hand-over limit*: the busbw at which
each rank, all at once, copies blocks of 128 KiB into memory that all can see, and the next rank's out of it, barriers
included: what an AllReduce of arrays in private memory must do besides folding. *ratio*: how many times as fast as the
fastest peer of that line, as the median (least ... largest) of the repeats' ratios."""


def machine() -> dict[str, Any]:
    """What is measured on: processor, cores that may be used, memory, system; and how busy it was just before."""
    try:
        model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        model = None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model[1] if model else platform.processor() or platform.machine(),
        "cores": cores(),
        "memory_bytes": memory,
        "load": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def machine_text(on: Mapping[str, Any]) -> str:
    """What ``machine`` found, in two sentences."""
    busy = ", so other programs took part of the cores" if on["load"] > BUSY else ""
    return (
        f"{on['processor']}, {on['cores']} cores, {on['memory_bytes'] / 2**30:.0f} GiB, {on['system']}. "
        f"Load average at the start: {on['load']}{busy}."
    )


def results(
    rows: Sequence[Row], verdicts: Sequence[Verdict], about: Mapping[str, Any], picture: str | None
) -> str:
    """The page, in Markdown. ``about``: machine, versions, lost, command, as in the JSON file."""
    parts = [
        "## Collectives",
        f"Made by `{about['command']}` on {about['date']}: {machine_text(about['machine'])}",
        METHOD,
        "\n".join(f"- {name}: {version}" for name, version in about["versions"].items()),
    ]
    if about["handed_rates"]:
        each = ", ".join(f"{rate / 1e9:.1f} GB/s on {n} ranks" for n, rate in about["handed_rates"].items())
        parts.append(f"Each rank hands over {each}.")
    if about["lost"]:
        parts.append("Not measured, or not to the end:")
        parts.append("\n".join(f"- {who}: {why}" for who, why in about["lost"].items()))
    if picture:
        parts.append(f"![bus bandwidth and ratios over size]({picture})")
    if verdicts:
        parts += ["### The numbers that must stand", _verdicts(verdicts)]
    for collective, n, place in dict.fromkeys((row.collective, row.n, row.place) for row in rows):
        of = [row for row in rows if (row.collective, row.n, row.place) == (collective, n, place)]
        parts += [f"### {collective}, {n} ranks, {WHERE[place]}", _table(of)]
    wrong = sum(row.wrong or 0 for row in rows)
    parts.append(f"Wrong elements in all of these measurements: {wrong}.")
    return "\n\n".join(parts) + "\n"


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    lines = ["| ranks | what | reached | goal | |", "|---:|---|---|---|---|"]
    lines += [f"| {v.n} | {v.what} | {v.reached} | {v.bound} | {v.word} |" for v in verdicts]
    return "\n".join(lines)


def _table(rows: list[Row]) -> str:
    """A line for each size, a column for each entry."""
    entries = list(dict.fromkeys(row.entry for row in rows))
    ours = [row.entry for row in rows if row.ours]
    heads = ["bytes", *(f"{entry} (us)" for entry in entries)]
    for entry in dict.fromkeys(ours):
        which = f" ({entry})" if len(set(ours)) > 1 else ""
        heads += [f"busbw GB/s{which}", f"of limit{which}", f"ratio{which}"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---:|" * len(heads)]
    for nbytes in dict.fromkeys(row.bytes for row in rows):
        at = {row.entry: row for row in rows if row.bytes == nbytes}
        cells = [f"{nbytes:,}", *(_time(at.get(entry)) for entry in entries)]
        for entry in dict.fromkeys(ours):
            cells += _against(at.get(entry))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _time(row: Row | None) -> str:
    if row is None:
        return "-"
    low, high = min(row.p50s_seconds), max(row.p50s_seconds)
    return f"{_us(row.p50_seconds)} ({_us(low)} ... {_us(high)})"


def _us(seconds: float) -> str:
    us = seconds * 1e6
    return f"{us:.2f}" if us < 10 else f"{us:.1f}" if us < 100 else f"{us:,.0f}"


def _against(row: Row | None) -> list[str]:
    if row is None:
        return ["-"] * 3
    share = "-" if row.limit_share is None else f"{row.limit_share:.0%}"
    ratio = "-"
    if row.ratio is not None and row.ratio_low is not None and row.ratio_high is not None:
        low, high = ratio_text(row.ratio_low), ratio_text(row.ratio_high)
        ratio = f"{ratio_text(row.ratio)} ({low} ... {high})"
    return [f"{row.busbw / 1e9:.2f}", share, ratio]
