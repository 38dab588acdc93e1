"""The ranks that are asked: started once for a rank count, then measured in turn."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringleader.bench.contestants import Contestant, Launcher
from ringleader.bench.job import Answer, Job

BUDGET = 0.1  # seconds that a measurement should last: several turns of ranks that share a core
MOST = 2000  # iterations of a measurement
PATIENCE = 300.0  # seconds that the start of a job, or one measurement, may take


class _Ranks(Contestant):
    def commands(self, n: int, address: Path, peers: Path, launcher: Launcher) -> list[list[str]]:
        return [launcher(n, [sys.executable, "-m", "ringleader.bench.leader.worker", str(address)])]


@dataclass(eq=False)
class Series:
    """Something to be measured: an order, but for how often. Of each repeat, seconds of an iteration."""

    job: Job
    order: dict[str, Any]
    seconds: list[float]
    wrong: int = 0
    pace: float = 0.0  # seconds that an iteration took lately; 0: not known yet

    def turn(self, budget: float) -> None:
        """Measure once more. The first turn only finds out how many iterations there is time for."""
        if not self.pace:
            self.pace = self._ask(1)
        iterations = max(1, min(MOST, int(budget / self.pace)))
        self.pace = self._ask(iterations)
        self.seconds.append(self.pace)

    def _ask(self, iterations: int) -> float:
        answers = self.job.ask(iterations=iterations, **self.order)
        self.wrong += sum(answer.get("wrong", 0) for answer in answers)
        return max(1e-9, seconds(answers) / iterations)


def seconds(answers: list[Answer]) -> float:
    """From when the first rank began until the last one ended. Where ranks take turns on a core, the time that each took by
    itself would leave out what it waited for its first turn."""
    starts, ends = zip(*(answer["span"] for answer in answers if answer["span"] is not None))
    return float(max(ends) - min(starts)) / 1e9


@contextmanager
def started(n: int, launcher: Launcher) -> Iterator[Job]:
    with Job(_Ranks("leader", "ringleader"), n, Path(), launcher, PATIENCE) as job:
        yield job


def series(job: Job, **order: Any) -> Series:
    return Series(job, order, [])


def push_pull(job: Job, ranks: int, servers: int, nbytes: int, *, colocated: bool) -> Series:
    """Of the parameter server, on the first ``ranks`` ranks."""
    return series(job, do="push_pull", ranks=ranks, servers=servers, colocated=colocated, nbytes=nbytes)


def measure(entries: list[Series], repeats: int, budget: float = BUDGET) -> None:
    """In turn: A B C, A B C, ..."""
    for _ in range(repeats):
        for entry in entries:
            entry.turn(budget)
