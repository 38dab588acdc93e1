"""What the commands have in common: which runs are asked for, how they are simulated, what would be ignored."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from ringleader.arguments import Target
from ringleader.collectives import LogGP, Schedule, Simulation, simulate, topology

MOST_RUNS = 1_000_000  # of one command; more is a typing error


def refuse(options: argparse.Namespace, names: Iterable[str], why: str) -> None:
    """ValueError if one of these options was given, which would be ignored."""
    if ignored := sorted(options.given.intersection(names)):
        name = {"sizes": "bytes", "form": "json or --csv"}.get(ignored[0], ignored[0])
        raise ValueError(f"--{name} is {why}; leave it away")


def ranks(target: Target, options: argparse.Namespace) -> Sequence[int]:
    """Those asked for; a schedule from a file has its own."""
    asked: list[int] = options.ranks
    if target.schedule is None:
        return asked
    if "ranks" in options.given:
        target.require_ranks(asked)
    return [target.schedule.n]


def grid(options: argparse.Namespace) -> list[tuple[Target, int, int]]:
    pairs(options, len(options.targets))
    return [(t, n, s) for t in options.targets for n in ranks(t, options) for s in options.sizes]


def pairs(options: argparse.Namespace, times: int) -> list[tuple[int, int]]:
    """Rank counts and sizes, to be looked at so many times."""
    if (runs := times * len(options.ranks) * len(options.sizes)) > MOST_RUNS:
        raise ValueError(
            f"{runs:,} runs are too many, at most {MOST_RUNS:,}; give fewer rank counts or sizes"
        )
    return [(n, nbytes) for n in options.ranks for nbytes in options.sizes]


def simulated(options: argparse.Namespace, schedule: Schedule, nbytes: int, **more: Any) -> Simulation:
    """By the options that simulate and draw have in common, and the links that simulate breaks."""
    where = topology(options.on, ranks=schedule.n)
    if degraded := getattr(options, "degrade", None):
        where = where.degraded(dict(degraded))
    if cut := getattr(options, "cut", None):
        where = where.without(cut)
    return simulate(
        schedule, nbytes, where, model=options.model, placement=options.placement, overhead=options.overhead,
        gamma=options.gamma, loggp=loggp(options), **more,
    )  # fmt: skip


def loggp(options: argparse.Namespace) -> LogGP | None:
    """Parameters of that model, in which ``overhead`` is called o."""
    if options.model != "loggp":
        if options.loggp:
            raise ValueError("--loggp is for --model loggp only")
        return None
    if "o" in options.loggp and "overhead" in options.given:
        raise ValueError("--overhead and o in --loggp are the same; give one of them")
    return LogGP(**{"o": options.overhead, **options.loggp})
