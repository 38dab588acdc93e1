"""``ringleader tune -n N``: the fastest on this machine, measured, and kept where ``algorithm="auto"`` finds it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import groupby

from ringleader.collectives import COLLECTIVES
from ringleader.collectives.topology.units import seconds_text
from ringleader.launch import MOST_STARTED, Launched, LaunchError, launch, launched
from ringleader.options import complete
from ringleader.runs import refuse
from ringleader.runtime.comm import cache, init
from ringleader.runtime.comm.measure import SIZES, Comparison, measure, to_table
from ringleader.table import Row, show

PREDICTED = ("table", "on", "alpha", "beta", "gamma")  # options by which ``tune`` does not measure


def wanted(options: argparse.Namespace) -> bool:
    """Is ``tune`` to measure? It is where no model, no topology and no table is given."""
    return all(getattr(options, name) is None for name in PREDICTED)


def measure_command(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Start the ranks, or be one of them. ValueError, OSError: the user's to mend; LaunchError: no ranks."""
    options.given = complete(options)
    if options.why:
        refuse(options, {"form"}, "not for --why, which is text")
    launcher = launched()
    ranks = _ranks(options, launcher)
    if launcher is None:
        return launch(ranks, list(arguments))
    return _here(options)


def _ranks(options: argparse.Namespace, launcher: Launched | None) -> int:
    asked: list[int] = options.ranks if "ranks" in options.given else [launcher.size] if launcher else []
    if len(asked) != 1:
        raise ValueError(
            "tune: give -n, one number of ranks to measure on; or what to predict by: --on, --alpha, --beta, --gamma"
        )
    if launcher and launcher.size != asked[0]:
        raise ValueError(f"-n {asked[0]}, but the launcher started {launcher.size} ranks; leave -n away")
    if asked[0] == 1:
        raise ValueError("tune: on one rank there is nothing to choose; give -n 2 or more")
    if launcher is None and asked[0] > MOST_STARTED:
        raise ValueError(
            f"-n {asked[0]} are too many ranks for one machine, at most {MOST_STARTED}; or start them by mpirun"
        )
    return asked[0]


def _here(options: argparse.Namespace) -> int:
    """As one rank of the job."""
    try:
        world = init()
    except RuntimeError as error:
        raise LaunchError(str(error)) from error
    say = world.rank == 0
    if say:
        about = f"on {world.size} ranks over {world.transport}, for about {seconds_text(options.seconds)}"
        print(f"measuring {about}", file=sys.stderr, flush=True)
    sizes = options.sizes if "sizes" in options.given else SIZES
    names = list(dict.fromkeys(options.targets)) or list(COLLECTIVES)
    comparisons = measure(world, names, sizes, options.seconds)
    if not say:
        return 0
    if options.why:
        print("\n\n".join(map(_all, comparisons)))
    else:
        show(_rows(comparisons, every=options.form != "table"), options.form)
    table = to_table(world, comparisons)
    if options.output:
        table.save(options.output)
        print(f"wrote {options.output}", file=sys.stderr)
    else:
        print(f'saved as {cache.save(table)}, where algorithm="auto" finds it', file=sys.stderr)
    return 0


def _rows(comparisons: Sequence[Comparison], every: bool) -> list[Row]:
    """The best for each size; or only where it is another than for the size before."""
    rows: list[Row] = []
    alike = groupby(comparisons, key=lambda c: (c.collective, c.nbytes if every else c.timings[0].choice))
    for comparison in (next(same) for _, same in alike):
        best, vendor = comparison.timings[0], comparison.vendor
        assert best.seconds is not None
        rows.append(
            {
                "collective": comparison.collective, "n": comparison.n, "from_bytes": comparison.nbytes,
                "choice": str(best.choice), "seconds": best.seconds, "vendor_seconds": vendor,
                "vendor_factor": vendor and vendor / best.seconds,
            }
        )  # fmt: skip
    return rows


def _all(comparison: Comparison) -> str:
    """Every candidate, the fastest first."""
    lines = [f"{comparison.collective} of {comparison.nbytes} bytes on {comparison.n} ranks, measured"]
    width = max(len(str(t.choice)) for t in comparison.timings)
    for i, timed in enumerate(comparison.timings):
        assert timed.seconds is not None
        lines.append(f"{'> ' if i == 0 else '  '}{timed.choice!s:<{width}}  {seconds_text(timed.seconds):>9}")
    return "\n".join(lines)
