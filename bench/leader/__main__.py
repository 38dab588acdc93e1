"""The parameter server, measured: ``python -m ringleader.bench.leader throughput|stragglers|crossover``.

``throughput``: push and pull beside copies of memory and AllReduce. ``stragglers``: training with a slow worker, by ring, BSP,
SSP and ASP. ``crossover``: from how many bytes on the ring is faster, predicted and measured. Each starts its own ranks on this
machine, prints its section of the page of results, and with -o writes it there.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ringleader.bench.job import JobLostError
from ringleader.bench.leader import crossover, page, plot, stragglers, throughput
from ringleader.bench.leader.ranks import BUDGET
from ringleader.bench.page import write_section
from ringleader.bench.results import machine
from ringleader.runtime.comm.mpirun import LaunchError, mpirun_command

WORKERS, SERVERS, RANKS, REPEATS = (1, 2, 4, 8), (1, 2, 4), (2, 4, 8), 5
QUICK = 0.005  # seconds of a measurement


def _throughput(options: argparse.Namespace, about: dict[str, Any]) -> str:
    roles = throughput.every(*_counts(options, WORKERS, (2,), (1,)))
    sizes = throughput.SIZES[:2] if options.quick else throughput.SIZES
    rows = []
    for row in throughput.run(roles, sizes, _repeats(options), mpirun_command, _budget(options)):
        _progress(
            f"{row.roles}, {page.size_text(row.nbytes)}: {max(row.of_memory):.0%} of memory, {max(row.of_limit):.0%} of the limit"
        )
        rows.append(row)
    return page.throughput_section(throughput.joined(rows), about)


def _stragglers(options: argparse.Namespace, about: dict[str, Any]) -> str:
    plan = stragglers.Plan(repeats=_repeats(options))
    methods, patterns = list(stragglers.METHODS), list(stragglers.PATTERNS)
    if options.quick:
        plan = stragglers.Plan(workers=2, nap=0.02, seconds=0.5, repeats=_repeats(options), every=0.1)
        methods, patterns = methods[:1] + methods[4:5], patterns[:1]
    rows = []
    for row in stragglers.run(plan, methods, patterns, mpirun_command):
        _progress(f"{row.pattern}, {row.method}: {row.gradients:.0f} gradients/s")
        rows.append(row)
    picture = _picture(options, lambda path: plot.plot_stragglers(rows, path))
    return page.stragglers_section(rows, plan, about, picture)


def _crossover(options: argparse.Namespace, about: dict[str, Any]) -> str:
    ranks, servers = _counts(options, RANKS, (3,), (1, 2))
    sizes = (4096, 65536) if options.quick else crossover.SIZES
    found = []
    for of in crossover.run(ranks, servers, sizes, _repeats(options), mpirun_command, _budget(options)):
        _progress(f"{of[0].n} ranks")
        found.append(of)
    curves = crossover.curves([point for _, _, points in found for point in points])
    picture = _picture(options, lambda path: plot.plot_crossover(curves, path))
    return page.crossover_section(found, about, picture)


COMMANDS = {"throughput": _throughput, "stragglers": _stragglers, "crossover": _crossover}


def _counts(
    options: argparse.Namespace,
    workers: Sequence[int],
    few_workers: Sequence[int],
    few_servers: Sequence[int],
) -> tuple[Sequence[int], Sequence[int]]:
    """Of workers and of servers: those that are asked for, the few of --quick, or all."""
    usual = (few_workers, few_servers) if options.quick else (workers, SERVERS)
    return options.workers or usual[0], options.servers or usual[1]


def _repeats(options: argparse.Namespace) -> int:
    return int(options.repeats or (1 if options.quick else 3 if options.what == "stragglers" else REPEATS))


def _budget(options: argparse.Namespace) -> float:
    return QUICK if options.quick else BUDGET


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _picture(options: argparse.Namespace, draw: Any) -> str | None:
    """Its place as the page, or a reader of what is printed, sees it."""
    if options.picture is None:
        return None
    draw(options.picture)
    beside = options.output.parent if options.output else Path()
    return Path(os.path.relpath(options.picture, beside)).as_posix()


def _numbers(text: str) -> list[int]:
    numbers = [int(part) for part in text.split(",")]
    if min(numbers) < 1:
        raise ValueError
    return numbers


_numbers.__name__ = "list of numbers like 1,2"  # argparse says "invalid ... value"


def _listed(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ringleader.bench.leader", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("what", choices=COMMANDS)
    parser.add_argument(
        "--quick", action="store_true", help="little of everything, in seconds: does it work?"
    )
    parser.add_argument(
        "--workers", type=_numbers, metavar="1,2,...", help=f"throughput (default: {_listed(WORKERS)}), crossover "
        f"({_listed(RANKS)}; there every rank is a worker)",
    )  # fmt: skip
    parser.add_argument(
        "--servers", type=_numbers, metavar="1,2,...", help=f"of either (default: {_listed(SERVERS)})"
    )
    parser.add_argument(
        "--repeats", type=int, help=f"interleaved repeats (default: {REPEATS}; stragglers 3; --quick 1)"
    )
    parser.add_argument(
        "--picture", type=Path, metavar="FILE.png", help="stragglers, crossover: a plot of it"
    )
    parser.add_argument("-o", dest="output", type=Path, help="page of results whose section this writes")
    options = parser.parse_args(arguments)
    if options.repeats is not None and options.repeats < 1:
        parser.error(f"--repeats must be at least 1, it is {options.repeats}")
    if (options.workers or options.servers) and options.what == "stragglers":
        parser.error("--workers and --servers are for throughput and crossover")
    if options.what == "crossover" and min(options.workers or RANKS) < 2:
        parser.error("--workers: a ring has at least 2 ranks")
    if options.picture and options.what == "throughput":
        parser.error("--picture is for stragglers and crossover; throughput has tables only")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 1 if the ranks could not be started or were lost."""
    given = sys.argv[1:] if arguments is None else arguments
    options = _options(arguments)
    about = {
        "command": f"python -m ringleader.bench.leader {shlex.join(given)}", "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
    }  # fmt: skip
    try:
        text = COMMANDS[options.what](options, about)
    except (JobLostError, LaunchError) as error:
        print(f"bench.leader: {error}", file=sys.stderr)
        return 1
    print(text)
    if options.output:
        write_section(options.output, f"leader {options.what}", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
