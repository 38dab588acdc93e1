"""Compressed gradients: ``mpirun -n 2 python -m ringleader.bench.compression --data FOLDER -o bench/RESULTS.md``.

Each case is trained with gradients as they are, then with each scheme, from the same seeds; the scores on the test set must
come within the case's margin. The folder has MNIST's four IDX files.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ringleader.bench.page import write_section
from ringleader.bench.quality import FOLDER, Case, Row, line, loaded, seed_list, trained
from ringleader.bench.results import machine
from ringleader.runtime.comm import Communicator, init
from ringleader.runtime.comm.compression import check_spec
from threadpoolctl import threadpool_limits

SCHEMES = (
    "fp16", "bf16", "int8", "int8:stochastic", "sign", "topk:0.01", "topk:0.05", "randomk:0.05", "powersgd:2", "powersgd:4",
)  # fmt: skip
HEAD = (
    "case",
    "compression",
    "bytes a step",
    "times fewer",
    "measure",
    "score",
    "difference",
    "margin",
    "",
)


@dataclass(frozen=True)
class Compared:
    """``margin``: by how much the score may be worse than without compression, in the median over the seeds."""

    case: Case
    margin: float

    def with_scheme(self, scheme: str | None, sync: str = "allreduce") -> Case:
        settings = {**self.case.settings, **SYNCS[sync]}
        return replace(
            self.case, settings=settings if scheme is None else {**settings, "compression": scheme}
        )


LENET5: dict[str, Any] = {
    "data": f"mnist:{FOLDER}",
    "epochs": 3,
    "lr": 0.03,
    "schedule": "cosine",
    "shift": 1,
}
LSTM: dict[str, Any] = {
    "data": "adding:50", "epochs": 12, "width": 64, "batch_size": 64, "lr": 0.005, "schedule": "cosine", "memory": 50,
}  # fmt: skip
CASES = {
    "LeNet-5, MNIST": Compared(Case("lenet5", LENET5, "accuracy", None, "", 1), 0.005),
    "LSTM, adding, T 50": Compared(Case("lstm", LSTM, "loss", None, "", 1), 0.005),
}
SYNCS: dict[str, dict[str, Any]] = {
    "allreduce": {},
    "ps": {"sync": "ps", "colocated": True},  # every rank works, and the first serves besides
}
TITLES = {"allreduce": "Compressed gradients", "ps": "Compressed gradients, pushed to a parameter server"}
METHOD = """Every line is a training of its own, data-parallel on all ranks, from the same initial weights and batches as the one
without compression. Bytes are what rank 0 sends for the gradients of one step, those that are too small to be compressed
included; "times fewer" is against the same without compression. The score is that of the whole test set after the
last step, as the median over the seeds; the adding problem's is the mean squared error, 0.1667 for who always says 1. It is
"met" where it is worse than without compression by no more than the margin."""


def cells(name: str, scheme: str, row: Row, exact: Row, margin: float) -> list[str]:
    """One line of the table."""
    measure, shown = row.case.score, row.case.shown
    score, wanted = (statistics.median(r.scores[measure] for r in some.results) for some in (row, exact))
    worse = wanted - score if measure == "accuracy" else score - wanted
    metrics, wire = row.results[0].metrics, row.results[0].metrics.wire
    bytes_a_step = "" if wire is None else f"{wire.sent / metrics.steps:,.0f}"
    return [
        name, scheme, bytes_a_step, "" if wire is None else f"{wire.ratio:.1f}", measure, shown(score),
        "" if wire is None else f"{0.0 - 100 * worse:+.2f} points" if measure == "accuracy" else f"{worse:+.4f}",
        f"{100 * margin:g} points" if measure == "accuracy" else f"{margin:g}",
        "" if wire is None else "met" if worse <= margin else "NOT MET",
    ]  # fmt: skip


def compared(
    name: str, compared: Compared, options: argparse.Namespace, world: Communicator
) -> list[list[str]]:
    """The case without compression and with each scheme; rank 0 prints each line as soon as it is known."""
    seeds = options.seeds or range(1, compared.case.seeds + 1)
    rows: list[list[str]] = []
    exact: Row | None = None
    for scheme in (None, *options.schemes):
        case = compared.with_scheme(scheme, options.sync)
        row = trained(f"{name}, {scheme or 'exact'}", case, seeds, options.sets[name], options.data, world)
        exact = exact or row
        rows.append(cells(name, scheme or "none", row, exact, compared.margin))
        if world.rank == 0:
            print(line(rows[-1]), flush=True)
    return rows


def section(
    rows: Sequence[Sequence[str]], command: str, ranks: int, seeds: str, sync: str = "allreduce"
) -> str:
    """The rows in Markdown, with where they come from."""
    on = machine()
    return "\n\n".join(
        [
            f"## {TITLES[sync]}",
            f"Made by `mpirun -n {ranks} {command}` on {time.strftime('%Y-%m-%d')}: {on['processor']}, {on['cores']} cores, "
            f"{on['system']}, {ranks} ranks, 1 thread a rank, seeds {seeds}; numpy {np.__version__}; float32. "
            f"Load average: {on['load']}.",
            METHOD,
            "\n".join([line(HEAD), "|---" * len(HEAD) + "|", *map(line, rows)]),
        ]
    )  # fmt: skip


def _options(arguments: Sequence[str] | None, cases: Mapping[str, Compared]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ringleader.bench.compression", description=(__doc__ or "").split("\n")[0], allow_abbrev=False
    )  # fmt: skip
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), metavar=FOLDER,
        help="folder of the four IDX files of MNIST (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--sync",
        choices=SYNCS,
        default="allreduce",
        help="or ps: pushed to a parameter server on the first rank",
    )
    parser.add_argument("--only", default="", metavar="NAME", help="cases whose name contains this")
    parser.add_argument(
        "--schemes", type=lambda text: text.split(","), default=list(SCHEMES), metavar="SCHEME,...",
        help="like sign,topk:0.01 (default: ten of them)",
    )  # fmt: skip
    parser.add_argument("--seeds", type=seed_list, help="like 1,2,3 (default: 1)")
    parser.add_argument("-o", dest="output", type=Path, help="page of results whose section this writes")
    options = parser.parse_args(arguments)
    options.cases = {name: case for name, case in cases.items() if options.only.lower() in name.lower()}
    if not options.cases:
        parser.error(f"--only {options.only!r}: no such case; known: {'; '.join(cases)}")
    try:
        for scheme in options.schemes:
            check_spec(scheme)
        options.sets = loaded({name: case.case for name, case in options.cases.items()}, options.data)
    except ValueError as error:
        parser.error(str(error))
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if all scores come within their margins, otherwise 1."""
    options = _options(arguments, CASES)
    world = init()
    if world.size == 1:
        print("one rank sends no gradients: start several, mpirun -n 2 ...", file=sys.stderr)
        return 2
    rows: list[list[str]] = []
    with threadpool_limits(1):
        if world.rank == 0:
            print(f"{line(HEAD)}\n{'|---' * len(HEAD)}|", flush=True)
        for name, case in options.cases.items():
            rows += compared(name, case, options, world)
    if options.output is not None and world.rank == 0:
        seeds = ", ".join(map(str, options.seeds or [1]))
        name = "compression" if options.sync == "allreduce" else f"compression {options.sync}"
        text = section(rows, _command(options), world.size, seeds, options.sync)
        write_section(options.output, name, text)
    return int(any("NOT MET" in row for row in rows))


def _command(options: argparse.Namespace) -> str:
    """What makes the section again. The folder lies elsewhere on each machine."""
    command = f"python -m ringleader.bench.compression --data {FOLDER}"
    if options.sync != "allreduce":
        command += f" --sync {options.sync}"
    if options.only:
        command += f" --only {options.only!r}"
    if options.schemes != list(SCHEMES):
        command += f" --schemes {','.join(options.schemes)}"
    if options.seeds:
        command += f" --seeds {','.join(map(str, options.seeds))}"
    return f"{command} -o {options.output}"


if __name__ == "__main__":
    sys.exit(main())
