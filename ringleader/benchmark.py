"""The command bench: what is asked for, checked; the table as it grows; files; the exit code."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ringleader.bench import figures, report
from ringleader.bench.contestants import PEERS, default_peers
from ringleader.bench.figures import Row
from ringleader.bench.orchestrator import Plan, Run, measure
from ringleader.bench.page import write_section
from ringleader.bench.plot import plot
from ringleader.bench.results import machine, results
from ringleader.bench.verdicts import Verdict, verdicts
from ringleader.collectives import algorithms
from ringleader.launch import launched, mpirun_command
from ringleader.progress import watched
from ringleader.table import in_bytes

ENDINGS = (".json", ".csv", ".md", ".png", ".svg", ".pdf")
SMALLEST = 4  # bytes


def bench_command(options: argparse.Namespace) -> int:
    """Measure and show; 1 if a contestant could not be measured to the end, an element was wrong, or a
    file could not be written."""
    plan = _plan(options)
    files = _files(options.output)
    if options.setup:
        _set_up(plan)
    where = machine()
    run, rows, shown = Run(), list[Row](), ("", 0)
    table = options.form == "table"
    with _watched(plan, table) as advance, closing(measure(plan, mpirun_command, run)) as points:
        for point in points:
            made = figures.rows(point)
            rows += made
            if table:
                if shown != (shown := (point.collective, point.n)):
                    print("\n" + report.heading(point.collective, point.n, plan.repeats))
                _show(made)
            advance()
    found = verdicts(rows, run.alone, run.handed)
    about = {
        "command": _command(options), "date": time.strftime("%Y-%m-%d"), "machine": where,
        "versions": run.versions, "lost": run.lost, "alone_seconds": run.alone,
        "handed_rates": run.handed,
    }  # fmt: skip
    if table:
        print("\n".join(["", *(f"# {name}: {version}" for name, version in run.versions.items())]))
        print("\n".join(f"# {verdict}" for verdict in found))
    elif options.form == "json":
        print(report.as_json(rows, found, about), end="")
    else:
        report.write_csv(rows, sys.stdout)
    written = _write(files, rows, found, about)
    for who, why in run.lost.items():
        print(f"ringleader: {who}: {why}", file=sys.stderr)
    return 0 if written and not run.lost and not any(row.wrong for row in rows) else 1


def _plan(options: argparse.Namespace) -> Plan:
    """ValueError says what would be right."""
    if launched() is not None:
        raise ValueError("bench starts the ranks of all contestants itself; run it without mpirun")
    first, last = options.begin, options.end
    if not SMALLEST <= first <= last:
        raise ValueError(
            f"sizes go from -b to -e, from 4 bytes on; not from {in_bytes(first)} to {in_bytes(last)}"
        )
    sizes = [first]
    while sizes[-1] * options.factor <= last:
        sizes.append(sizes[-1] * options.factor)
    for collective in options.collectives:
        known = ["auto", "vendor", *algorithms(collective)]
        if wrong := [name for name in options.algorithms if name not in known]:
            raise ValueError(f"unknown algorithm {wrong[0]!r} of {collective}; known: {', '.join(known)}")
    return Plan(
        ranks=options.ranks, collectives=options.collectives, sizes=sizes, algorithms=options.algorithms,
        against=[PEERS[name] for name in options.vs], peers=Path(options.peers or default_peers()),
        dtype=options.dtype, repeats=options.repeats, patience=options.patience,
    )  # fmt: skip


def _files(names: list[str]) -> list[Path]:
    """Refused now rather than when all is measured."""
    for path in map(Path, names):
        if path.suffix not in ENDINGS:
            raise ValueError(f"{str(path)!r}: files to write end in {', '.join(ENDINGS)}")
        if not path.resolve().parent.is_dir() or not os.access(path.resolve().parent, os.W_OK):
            raise ValueError(f"{str(path)!r}: there is no such folder, or it cannot be written to")
    return [Path(name) for name in names]


def _set_up(plan: Plan) -> None:
    for contestant in plan.against:
        if contestant.missing(plan.peers):
            print(f"installing {contestant.name} into {plan.peers / contestant.name}", file=sys.stderr)
            try:
                contestant.set_up(plan.peers)
            except subprocess.CalledProcessError as error:
                print(f"ringleader: {contestant.name} could not be installed: {error}", file=sys.stderr)


@contextmanager
def _watched(plan: Plan, table: bool) -> Iterator[Any]:
    """The table grows as it is measured; otherwise a bar shows that something is going on."""
    if table:
        yield lambda: None
        return
    points = sum(len(plan.sizes) if name != "barrier" else 1 for name in plan.collectives)
    with watched(points * len(plan.ranks)) as advance:
        yield advance


def _show(rows: list[Row]) -> None:
    for row in rows:
        print(report.line(row))
    if rows and rows[0].copy_rate is not None:
        print(f"# {rows[0].n} processes at once copy such arrays at {rows[0].copy_rate / 1e9:.2f} GB/s")
    sys.stdout.flush()


def _command(options: argparse.Namespace) -> str:
    """What to type to get the same again."""
    words = [
        "ringleader bench", f"-n {','.join(map(str, options.ranks))}",
        f"-b {in_bytes(options.begin)} -e {in_bytes(options.end)} -f {options.factor}",
        f"--collective {','.join(options.collectives)}", f"--algorithm {','.join(options.algorithms)}",
        f"--vs {','.join(options.vs) or 'none'}", f"--dtype {options.dtype}", f"--repeats {options.repeats}",
        *(f"-o {name}" for name in options.output),
    ]  # fmt: skip
    return " ".join(words)


def _write(files: list[Path], rows: list[Row], found: list[Verdict], about: dict[str, Any]) -> bool:
    """False if one could not be written, for there is nothing in it."""
    pictures = [path for path in files if path.suffix in (".png", ".svg")]
    for path in files:
        if path.suffix == ".json":
            path.write_text(report.as_json(rows, found, about))
        elif path.suffix == ".csv":
            with open(path, "w", newline="") as file:
                report.write_csv(rows, file)
        elif path.suffix == ".md":
            picture = os.path.relpath(pictures[0], path.parent) if pictures else None
            write_section(path, "collectives", results(rows, found, about, picture))
        else:
            try:
                plot(rows, path)
            except ValueError as error:
                print(f"ringleader: {path}: {error}", file=sys.stderr)
                return False
        print(f"wrote {path}", file=sys.stderr)
    return True
