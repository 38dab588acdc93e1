"""How well models train: ``python -m ringleader.bench.quality --data FOLDER -o bench/RESULTS.md``.

Each case is a ``ringleader train`` with settings of its own, run for some seeds (of the initial weights and of the data
alike), and has a score on the test set that every seed must reach. Only training counts as its time. The folder has
what cannot be generated: MNIST's four IDX files and tinyshakespeare.txt.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

import numpy as np
from ringleader.bench.contestants import cores
from ringleader.bench.page import write_section
from ringleader.bench.results import machine
from ringleader.models import build, configure
from ringleader.runtime.autograd.native import KERNELS
from ringleader.runtime.comm import Communicator, init
from ringleader.runtime.training import Data, Result, TrainConfig, load, run
from threadpoolctl import threadpool_limits

FOLDER = "FOLDER"  # in the data of a case, what --data says
REMEDY = (
    "it must have the four IDX files of MNIST, and tinyshakespeare.txt, which is input.txt of "
    "github.com/karpathy/char-rnn, data/tinyshakespeare"
)


@dataclass(frozen=True)
class Case:
    """``settings``: options of ``ringleader train``, by name. ``score``: "accuracy", which must be at least ``goal``,
    or "loss", which must be below it (None: no goal, the score is reported). ``beside``: what to compare it with.
    ``seeds``: how many, 1, 2, ..., unless somebody names others."""

    model: str
    settings: Mapping[str, Any]
    score: str
    goal: float | None
    beside: str
    seeds: int

    def configuration(self, seed: int, folder: str | Path) -> TrainConfig:
        data = str(self.settings["data"]).replace(FOLDER, str(folder))
        return configure(self.model, **{**self.settings, "data": data, "seed": seed, "data_seed": seed})

    def command(self, seeds: Sequence[int]) -> str:
        """What a person would type for one of the seeds."""
        options = [f"--{name.replace('_', '-')} {value}" for name, value in self.settings.items()]
        seed = str(seeds[0]) if len(seeds) == 1 else "SEED"
        return f"ringleader train {self.model} {' '.join(options)} --seed {seed} --data-seed {seed}"

    def shown(self, score: float) -> str:
        return f"{100 * score:.2f} %" if self.score == "accuracy" else f"{score:.4f}"

    @property
    def bound(self) -> str:
        if self.goal is None:
            return "reported"
        return f"{'at least' if self.score == 'accuracy' else 'below'} {self.shown(self.goal)}"

    def verdict(self, scores: Sequence[float]) -> str:
        """Of all seeds. A score that is not a number reaches nothing."""
        if self.goal is None:
            return "-"
        reached = (s >= self.goal if self.score == "accuracy" else s < self.goal for s in scores)
        return "met" if all(reached) else "NOT MET"


def memoryless(delay: int) -> float:
    """Nats a token of the copy problem for who says blanks and then draws among the 8 symbols ten times: the best
    without a memory, of delay + 20 tokens (Arjovsky, Shah and Bengio 2016)."""
    return 10 * log(8) / (delay + 20)


DELAY = 100
COPY = {
    "data": f"copy:{DELAY}", "epochs": 10, "width": 128, "batch_size": 64, "lr": 0.005, "schedule": "cosine",
}  # fmt: skip
ADDING = {
    "data": "adding:200", "epochs": 12, "width": 64, "batch_size": 64, "lr": 0.005, "schedule": "cosine",
}  # fmt: skip
TEXT = {
    "data": f"text:{FOLDER}/tinyshakespeare.txt", "epochs": 2, "steps": 2000, "batch_size": 12, "context": 64,
    "layers": 4, "heads": 4, "width": 128, "optimizer": "adamw", "weight_decay": 0.1, "clip": 1.0, "warmup": 100,
    "schedule": "cosine",
}  # fmt: skip
SAYING_1 = "1/6 = 0.1667 for who always says 1"
WITHOUT_MEMORY = f"{memoryless(DELAY):.4f} at best without a memory"
CASES: dict[str, Case] = {
    "logistic regression, MNIST": Case(
        "logistic", {"data": f"mnist:{FOLDER}", "epochs": 5, "lr": 0.03, "schedule": "cosine"}, "accuracy", 0.92,
        "LeCun et al. 1998: 88.0 % by a linear classifier", 3,
    ),
    "LeNet-5, MNIST": Case(
        "lenet5", {"data": f"mnist:{FOLDER}", "epochs": 10, "lr": 0.03, "schedule": "cosine", "shift": 1}, "accuracy",
        0.99, "LeCun et al. 1998: 99.05 %, 99.2 % with distorted images", 2,
    ),
    "LSTM, adding, T 200": Case("lstm", {**ADDING, "memory": 200}, "loss", 0.01, SAYING_1, 3),
    "GRU, adding, T 200": Case("gru", ADDING, "loss", 0.01, SAYING_1, 3),
    f"LSTM, copy, delay {DELAY}": Case("lstm", {**COPY, "memory": DELAY + 20}, "loss", memoryless(DELAY), WITHOUT_MEMORY, 2),
    f"GRU, copy, delay {DELAY}": Case("gru", COPY, "loss", memoryless(DELAY), WITHOUT_MEMORY, 2),
    "Transformer, tiny Shakespeare, nanoGPT's learning rate": Case(
        "transformer", {**TEXT, "lr": 0.001}, "loss", None, "nanoGPT: 1.88", 1,
    ),
    "Transformer, tiny Shakespeare, learning rate 0.003": Case(
        "transformer", {**TEXT, "lr": 0.003}, "loss", None, "nanoGPT: 1.88", 1,
    ),
}  # fmt: skip
HEAD = ("case", "trained", "seeds", "measure", "score", "goal", "", "beside", "seconds a seed")
METHOD = """Each is trained from scratch by Ringleader's own loop, for each seed, which is that of the initial weights and of
what is in which batch. The score is that of the whole test set (10,000 images, 1,000 new sequences, the last tenth
of the text) after the last step, as the median (least ... largest) over the seeds; "met" where *every* seed reaches
the goal. The settings were chosen by looking at such scores. Loss is the mean squared error of the adding problem,
otherwise the cross-entropy in nats a token. Seconds are those of training, without tests, as the median.

- MNIST: LeNet-5 sees images moved by up to a pixel each way.
- Adding, copy: the LSTM's gates start so that its units remember for up to as many steps as a sequence has
  (`--memory`, Tallec and Ollivier 2018). With forget biases of 1 alone some seeds stayed at 1/6 in the adding problem,
  and hardly fell below the baseline in the copy problem. The GRU needs no such start.
- Copy: ten symbols of 8 come back after a delay T, and the other T + 10 tokens are blanks. Without a memory the
  cross-entropy is at best 10 ln 8 / (T + 20) (Arjovsky, Shah and Bengio 2016).
- Tiny Shakespeare: nanoGPT's README gives its loss for a Transformer of this size, with this context, batch and number
  of steps, no dropout, on the same split of the same text, estimated from some drawn windows. The first of the rows has
  its optimiser's settings too, but for Adam's second beta (0.99 there), what is decayed, and where the learning rate ends."""


@dataclass(frozen=True)
class Row:
    """What the runs of a case came to, one for each seed."""

    name: str
    case: Case
    seeds: Sequence[int]
    results: Sequence[Result]
    epochs: float

    def cells(self) -> list[str]:
        scores = sorted(result.scores[self.case.score] for result in self.results)
        score = self.case.shown(statistics.median(scores))
        if len(scores) > 1:
            score += f" ({self.case.shown(scores[0])} ... {self.case.shown(scores[-1])})"
        seconds = statistics.median(result.metrics.seconds for result in self.results)
        return [
            self.name, f"{self.results[0].metrics.steps:,} steps, {self.epochs:.3g} epochs",
            ", ".join(map(str, self.seeds)), self.case.score, score, self.case.bound, self.case.verdict(scores),
            self.case.beside, f"{seconds:,.0f}",
        ]  # fmt: skip


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def loaded(cases: Mapping[str, Case], folder: Path) -> dict[str, Data]:
    """The data set of each case, before anything is trained. ValueError: what is missing, and what is needed."""
    sets: dict[str, Data] = {}  # by what --data would say: cases may share one
    for case in cases.values():
        config = case.configuration(1, folder)
        if config.data not in sets:
            try:
                sets[config.data] = load(config)
            except (OSError, ValueError) as error:
                raise ValueError(f"--data {folder}: {REMEDY} ({error})") from error
    return {name: sets[case.configuration(1, folder).data] for name, case in cases.items()}


def trained(
    name: str, case: Case, seeds: Sequence[int], data: Data, folder: Path, world: Communicator
) -> Row:
    """As ``ringleader train`` does it, for each seed."""
    results: list[Result] = []
    for seed in seeds:
        config = case.configuration(seed, folder)
        model = build(
            config.model, np.random.default_rng(seed), config.dtype, data.description, **config.sizes
        )
        result = run(config, model, world, data)
        assert result is not None  # nobody is a server only
        results.append(result)
        if world.rank == 0:
            said, seconds = data.task.say(result.scores), result.metrics.seconds
            print(f"{name}, seed {seed}: {said} after {seconds:.0f} s", file=sys.stderr, flush=True)
    return Row(name, case, seeds, results, results[0].metrics.samples / data.samples)


def section(rows: Sequence[Row], command: str, threads: int, ranks: int) -> str:
    """The rows in Markdown, with where they come from and how to have each again."""
    on = machine()
    kernels = "native kernels" if KERNELS is not None else "numpy's ops, without native kernels"
    commands = "\n".join(row.case.command(row.seeds) for row in rows)
    return "\n\n".join(
        [
            "## Quality",
            f"Made by `{command}` on {time.strftime('%Y-%m-%d')}: {on['processor']}, {on['cores']} cores, {on['system']}, "
            f"{ranks} rank{'s' * (ranks > 1)}, {threads} thread{'s' * (threads > 1)} a rank; {kernels}, numpy "
            f"{np.__version__}, Python {platform.python_version()}; float32. Load average: {on['load']}.",
            METHOD,
            "\n".join([line(HEAD), "|---" * len(HEAD) + "|", *(line(row.cells()) for row in rows)]),
            "The same by hand, one line a case:",
            f"```bash\n{commands}\n```",
        ]
    )  # fmt: skip


def seed_list(text: str) -> list[int]:
    seeds = [int(part) for part in text.split(",")]
    if min(seeds) < 0:
        raise ValueError
    return seeds


seed_list.__name__ = "list of seeds like 1,2,3"  # argparse says "invalid ... value"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ringleader.bench.quality", description=(__doc__ or "").split("\n")[0], allow_abbrev=False
    )  # fmt: skip
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), metavar=FOLDER,
        help="folder of the four IDX files of MNIST and of tinyshakespeare.txt (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--only", default="", metavar="NAME", help="cases whose name contains this")
    parser.add_argument("--seeds", type=seed_list, help="like 1,2,3 (default: as many as each case has)")
    parser.add_argument("-o", dest="output", type=Path, help="page of results whose section this writes")
    options = parser.parse_args(arguments)
    options.cases = {name: case for name, case in CASES.items() if options.only.lower() in name.lower()}
    if not options.cases:
        parser.error(f"--only {options.only!r}: no such case; known: {'; '.join(CASES)}")
    try:
        options.sets = loaded(options.cases, options.data)
    except ValueError as error:
        parser.error(str(error))
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if all goals are met, otherwise 1."""
    options = _options(arguments)
    world = init()
    threads = int(os.environ.get("OMP_NUM_THREADS", cores() if world.size == 1 else 1))
    rows: list[Row] = []
    with threadpool_limits(threads):
        for name, case in options.cases.items():
            seeds = options.seeds or range(1, case.seeds + 1)
            rows.append(trained(name, case, seeds, options.sets[name], options.data, world))
            if world.rank == 0:
                if len(rows) == 1:
                    print(f"{line(HEAD)}\n{'|---' * len(HEAD)}|")
                print(line(rows[-1].cells()), flush=True)
    if options.output is not None and world.rank == 0:
        write_section(options.output, "quality", section(rows, _command(options), threads, world.size))
    return int(any("NOT MET" in row.cells() for row in rows))


def _command(options: argparse.Namespace) -> str:
    """What makes the section again. The folder lies elsewhere on each machine."""
    command = f"python -m ringleader.bench.quality --data {FOLDER}"
    if options.only:
        command += f" --only {options.only!r}"
    if options.seeds:
        command += f" --seeds {','.join(map(str, options.seeds))}"
    return f"{command} -o {options.output}"


if __name__ == "__main__":
    sys.exit(main())
