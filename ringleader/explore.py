"""The commands that look at algorithms, in a table of all; draw and export are in pictures."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ringleader import arguments
from ringleader.arguments import Target
from ringleader.benchmark import bench_command
from ringleader.collectives import (
    COLLECTIVES,
    Cost,
    Model,
    Simulation,
    Table,
    bounds,
    cost,
    cost_of,
    export_trace,
    find,
    tune,
    verify,
    verify_programs,
)
from ringleader.collectives.cost import MOST_COUNTED, closed_cost
from ringleader.collectives.tuning import candidates
from ringleader.options import complete
from ringleader.pictures import draw_command, export_command
from ringleader.progress import steps, watched
from ringleader.runs import grid, pairs, ranks, refuse, simulated
from ringleader.table import Row, show

FACTORS = """starts: messages that the busiest rank of each round starts or takes in one after the other, in all rounds.
factors: how many times the lower bound. rank order: operations need not commute."""


def algorithms_command(options: argparse.Namespace) -> int:
    """What there is, and what it costs."""
    rows = []
    for target in options.targets:
        known = find(target.collective, target.name)
        own = [p for p in known.parameters if p not in ("n", "root")]
        rows.append(
            {
                "algorithm": str(target),
                **_factors(_cost(target, options.ranks[0], options.sizes[0]), target, options.ranks[0]),
                "rank_order": known.ordered if known.collective.folds else None,
                "parameters": ", ".join(own),
            }
        )
    show(rows, options.form)
    if options.form == "table":
        print(f"\n{options.ranks[0]} ranks, {options.sizes[0]:,} bytes; {FACTORS}")
    return 0


def _cost(target: Target, n: int, nbytes: int) -> Cost | None:
    """None: no closed form is known, and it is too large to be counted."""
    if target.schedule is not None:
        return cost_of(target.build(n), nbytes)
    given = dict(target.parameters)
    if n > MOST_COUNTED:
        return closed_cost(target.collective, target.name, n, nbytes, 0, **given)
    return cost(target.collective, target.name, n, nbytes, 0, **given)


def _factors(price: Cost | None, target: Target, n: int) -> dict[str, Any]:
    names = (
        "rounds",
        "starts",
        "starts_factor",
        "sent_bytes",
        "sent_factor",
        "reduced_bytes",
        "reduced_factor",
    )
    if price is None:
        return dict.fromkeys(names)
    over = price.factors(bounds(target.collective, n, price.nbytes))
    values = (
        price.rounds, price.starts, over["starts"], price.sent, over["sent"], price.reduced, over["reduced"]
    )  # fmt: skip
    return dict(zip(names, values))


def verify_command(options: argparse.Namespace) -> int:
    """Prove every target for every rank count and root; show the first counter-example of each."""
    rows, failed = [], 0
    for target, n in steps([(t, n) for t in options.targets for n in ranks(t, options)]):
        proved = 0
        for root in range(n) if target.rooted and not options.root_zero else [0]:
            schedule = target.build(n, root)
            verdict = verify(schedule)
            if verdict and options.programs:
                verdict = verify_programs(schedule)
            if not verdict:
                failed += 1
                print(f"{verdict}\n{verdict.grid()}", file=sys.stderr)
                break
            proved += 1
        rows.append(
            {"algorithm": str(target), "n": n, "proved": proved, "failed": proved == 0 or not verdict}
        )
    show(rows if options.form != "table" else _summed(rows), options.form)
    return 1 if failed else 0


def _summed(rows: Sequence[Row]) -> list[Row]:
    """One line for each algorithm, whatever the number of rank counts."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["algorithm"], []).append(row)
    return [
        {
            "algorithm": name,
            "ranks": f"{of[0]['n']} ... {of[-1]['n']}" if len(of) > 1 else str(of[0]["n"]),
            "schedules_proved": sum(r["proved"] for r in of),
            "wrong_for_n": ", ".join(str(r["n"]) for r in of if r["failed"]) or "none",
        }
        for name, of in found.items()
    ]


def cost_command(options: argparse.Namespace) -> int:
    """Rounds, bytes and seconds in the alpha-beta-gamma model, by closed form where there is one, and the least
    that is possible."""
    model = Model(options.alpha, options.beta, options.gamma)
    rows = []
    for target, n, nbytes in steps(grid(options)):
        price = _cost(target, n, nbytes)
        least = bounds(target.collective, n, nbytes if price is None else price.nbytes)
        rows.append(
            {
                "algorithm": str(target), "n": n, "bytes": nbytes, **_factors(price, target, n),
                "least_starts": least.starts, "least_sent_bytes": least.sent, "least_reduced_bytes": least.reduced,
                "model_seconds": None if price is None else price.time(model.alpha, model.beta, model.gamma),
                "by": "too large to count" if price is None else "closed form" if price.closed else "counting",
            }
        )  # fmt: skip
    show(rows, options.form)
    return 0


def simulate_command(options: argparse.Namespace) -> int:
    """Time on a topology, where it is spent, and how far from what the topology allows."""
    rows: list[Row] = []
    result: Simulation | None = None
    _require_once(options)
    for target, n, nbytes in steps(grid(options)):
        result = simulated(
            options, target.build(n), nbytes, ports=options.ports, slow=dict(options.slow), jitter=options.jitter,
            seed=options.seed, record=bool(options.trace),
        )  # fmt: skip
        rows += _by_round(target, result) if options.rounds else [_in_all(target, result)]
    show(rows, options.form)
    if options.trace and result is not None:
        export_trace(result, options.trace)
        print(f"wrote {options.trace}; open it in Perfetto", file=sys.stderr)
    return 0


def _require_once(options: argparse.Namespace) -> None:
    """ValueError if two faults of a kind are for one place, as one of them would be ignored."""
    places: dict[str, list[Any]] = {
        "slow": [rank for rank, _ in options.slow],
        "degrade": [frozenset(ends) for ends, _ in options.degrade],
        "cut": [frozenset(ends) for ends in options.cut],
    }
    for name, where in places.items():
        if len(set(where)) < len(where):
            raise ValueError(f"--{name} is given twice for one place; give it once")


def _in_all(target: Target, result: Simulation) -> Row:
    link, load, busy = result.bottleneck
    return {
        "algorithm": str(target), "n": result.schedule.n, "bytes": result.nbytes, "topology": result.topology.name,
        "total_seconds": result.total, "topology_factor": result.ratio if math.isfinite(result.ratio) else None,
        "busiest_link": link, "link_bytes": load, "link_busy": busy, "idle": float(result.idle.mean()),
    }  # fmt: skip


def _by_round(target: Target, result: Simulation) -> Iterator[Row]:
    """A line for every run of equal rounds."""
    first = 0
    for times, seconds, link in result.rounds:
        yield {
            "algorithm": str(target), "n": result.schedule.n, "bytes": result.nbytes,
            "topology": result.topology.name, "first_round": first, "rounds": times, "round_seconds": seconds,
            "waits_for": "-" if link < 0 else result.topology.link_name(link),
        }  # fmt: skip
        first += times


def tune_command(options: argparse.Namespace) -> int:
    """The best algorithm for every rank count and size, by the model; or why it is the best."""
    if options.table:
        refuse(options, {"on", "alpha", "beta", "gamma"}, "not for --table, whose choices are made")
    elif options.on:
        refuse(options, {"alpha", "beta", "gamma"}, "not for --on, which simulates")
    if options.why:
        refuse(options, {"form"}, "not for --why, which is text")
    names = list(dict.fromkeys(t.collective for t in options.targets))
    asked = [(name, n, nbytes) for name in names for n, nbytes in pairs(options, len(names))]
    with watched():
        if options.table:
            table = Table.load(options.table)
        else:
            model = options.on or Model(options.alpha, options.beta, options.gamma)
            table = tune(names, options.ranks, options.sizes, model)
        if options.output:
            table.save(options.output)
            print(f"wrote {options.output}", file=sys.stderr)
        reasons = [str(table.why(*one)) for one in asked] if options.why else []
        rows = [] if options.why else [_choices(table, *one) for one in asked]
    if options.why:
        print("\n\n".join(reasons))
    else:
        show(rows, options.form)
    return 0


def _choices(table: Table, collective: str, n: int, nbytes: int) -> Row:
    """The best one, and the best in rank order: None if that means nothing, or there is none."""
    what = COLLECTIVES[collective]
    has_order = what.folds and not what.at_least_once
    ordered = has_order and candidates(collective, n, nbytes, ordered=True)
    return {
        "collective": collective, "n": n, "bytes": nbytes,
        "choice": str(table.choose(collective, n, nbytes)),
        "in_rank_order": str(table.choose(collective, n, nbytes, ordered=True)) if ordered else None,
    }  # fmt: skip


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "algorithms": algorithms_command,
    "verify": verify_command,
    "cost": cost_command,
    "simulate": simulate_command,
    "draw": draw_command,
    "export": export_command,
    "tune": tune_command,
    "bench": bench_command,
}


def run(options: argparse.Namespace) -> int:
    """Run the command in ``options``; returns the exit code. ValueErrors are the user's to mend."""
    options.given = complete(options)
    if "targets" in vars(options):
        options.targets = arguments.targets(options.targets or list(COLLECTIVES))
    return COMMANDS[options.command](options)
