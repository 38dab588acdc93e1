"""The commands that look at algorithms: algorithms, verify, cost, simulate, draw, export, tune."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ringleader import arguments
from ringleader.arguments import Target
from ringleader.collectives import (
    COLLECTIVES,
    Cost,
    Model,
    Simulation,
    Table,
    bounds,
    cost,
    cost_of,
    draw,
    export_msccl,
    export_trace,
    find,
    simulate,
    topology,
    tune,
    verify,
    verify_programs,
)
from ringleader.collectives.cost import MOST_COUNTED, closed_cost
from ringleader.table import Row, show

Item = TypeVar("Item")
QUIET = 20  # steps below which no progress bar is worth showing
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
        return closed_cost(target.collective, target.name, n, nbytes, **given)
    return cost(target.collective, target.name, n, nbytes, **given)


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
    for target, n in steps([(t, n) for t in options.targets for n in _ranks(t, options)]):
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
    for target, n, nbytes in steps(_grid(options)):
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
    for target, n, nbytes in steps(_grid(options)):
        where = topology(options.on, ranks=n)
        if options.degrade:
            where = where.degraded(dict(options.degrade))
        if options.cut:
            where = where.without(options.cut)
        result = simulate(
            target.build(n), nbytes, where, model=options.model, placement=options.placement, ports=options.ports,
            slow=dict(options.slow), jitter=options.jitter, seed=options.seed, record=bool(options.trace),
        )  # fmt: skip
        rows += _by_round(target, result) if options.rounds else [_in_all(target, result)]
    show(rows, options.form)
    if options.trace and result is not None:
        export_trace(result, options.trace)
        print(f"wrote {options.trace}; open it in Perfetto", file=sys.stderr)
    return 0


def _in_all(target: Target, result: Simulation) -> Row:
    link, load, busy = result.bottleneck
    return {
        "algorithm": str(target), "n": result.schedule.n, "bytes": result.nbytes, "topology": result.topology.name,
        "total_seconds": result.total, "topology_factor": result.ratio,
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


def draw_command(options: argparse.Namespace) -> int:
    """One picture, or the page that steps through a schedule, by the suffix of the file."""
    path, what = Path(options.output), options.what
    if what == "curves":
        draw.curves(_curve_rows(options), path, x="ranks" if len(options.ranks) > 1 else "bytes")
        print(f"wrote {path}")
        return 0
    if len(options.targets) != 1:
        names = " ".join(map(str, options.targets[:3]))
        raise ValueError(
            f"draw shows one algorithm, not {len(options.targets)} ({names} ...); or use --what curves"
        )
    target = options.targets[0]
    n, nbytes = _ranks(target, options)[0], options.sizes[0]
    schedule = target.build(n, options.root)
    where = topology(options.on, ranks=n)
    if path.suffix == ".html":
        draw.page(schedule, path, where, nbytes, options.placement)
    elif what == "ownership":
        draw.ownership(schedule, path)
    elif what == "links":
        draw.link_load(simulate(schedule, nbytes, where, placement=options.placement), path)
    elif what == "time":
        draw.space_time(
            simulate(schedule, nbytes, where, model=options.model, placement=options.placement, record=True),
            path,
        )
    else:
        draw.space_time(schedule, path)
    print(f"wrote {path}")
    return 0


def _curve_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for target, n, nbytes in steps(_grid(options)):
        done = simulate(target.build(n), nbytes, topology(options.on, ranks=n), placement=options.placement)
        rows.append({"algorithm": str(target), "n": n, "nbytes": nbytes, "seconds": done.total})
    return rows


def export_command(options: argparse.Namespace) -> int:
    """A schedule as MSCCL-IR."""
    if len(options.targets) != 1:
        raise ValueError("export writes one algorithm, like allreduce/ring")
    target = options.targets[0]
    export_msccl(target.build(_ranks(target, options)[0], options.root), options.output)
    print(f"wrote {options.output}")
    return 0


def tune_command(options: argparse.Namespace) -> int:
    """The best algorithm for every rank count and size, by the model; or why it is the best."""
    names = list(dict.fromkeys(t.collective for t in options.targets))
    if options.table:
        table = Table.load(options.table)
    else:
        model = options.on or Model(options.alpha, options.beta, options.gamma)
        table = tune(names, options.ranks, options.sizes, model)
    if options.output:
        table.save(options.output)
        print(f"wrote {options.output}", file=sys.stderr)
    asked = [(name, n, nbytes) for name in names for n in options.ranks for nbytes in options.sizes]
    if options.why:
        print("\n\n".join(str(table.why(*one)) for one in asked))
        return 0
    chosen = [(*one, table.choose(*one), table.choose(*one, ordered=True)) for one in asked]
    show(
        [
            {"collective": c, "n": n, "bytes": size, "choice": str(best), "in_rank_order": str(ordered)}
            for c, n, size, best, ordered in chosen
        ],
        options.form,
    )  # fmt: skip
    return 0


def _ranks(target: Target, options: argparse.Namespace) -> Sequence[int]:
    """Those asked for; a schedule from a file has its own."""
    ranks: list[int] = options.ranks
    return ranks if target.schedule is None else [target.schedule.n]


def _grid(options: argparse.Namespace) -> list[tuple[Target, int, int]]:
    return [(t, n, s) for t in options.targets for n in _ranks(t, options) for s in options.sizes]


def steps(items: Sequence[Item]) -> Iterator[Item]:
    """``items``, with a progress bar on a terminal if there are many."""
    if len(items) < QUIET or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, console=Console(stderr=True), transient=True)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "algorithms": algorithms_command,
    "verify": verify_command,
    "cost": cost_command,
    "simulate": simulate_command,
    "draw": draw_command,
    "export": export_command,
    "tune": tune_command,
}


def run(options: argparse.Namespace) -> int:
    """Run the command in ``options``; returns the exit code. ValueErrors are the user's to mend."""
    options.targets = arguments.targets(options.targets or list(COLLECTIVES))
    return COMMANDS[options.command](options)
