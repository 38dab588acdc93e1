"""Steps a second, and loss against time, while a worker is slow: ring, and the modes of the parameter server.

All methods train the same network from the same weights, on as many workers, for as many seconds, in turn in each repeat. A
gradient counts its share of the mean over all workers' images, so as many gradients move the weights as far in each method.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from ringleader.bench.contestants import Launcher
from ringleader.bench.job import Answer
from ringleader.bench.leader.ranks import started
from ringleader.bench.leader.training import IN_TURN, STEADY

PATTERNS = (STEADY, IN_TURN)


@dataclass(frozen=True)
class Method:
    """``mode`` "ring", or one of the parameter server's."""

    mode: str
    staleness: int | None = None

    def __str__(self) -> str:
        return (
            self.mode
            if self.mode == "ring"
            else self.mode.upper() + ("" if self.staleness is None else f", s = {self.staleness}")
        )


METHODS = (Method("ring"), Method("bsp"), *(Method("ssp", s) for s in (0, 1, 3, 10)), Method("asp"))


@dataclass(frozen=True)
class Plan:
    """``nap``: seconds that the slow worker sleeps in a step, besides what a step takes."""

    workers: int = 4
    nap: float = 0.05
    seconds: float = 6.0
    repeats: int = 3
    every: float = 0.2


@dataclass(frozen=True)
class Trained:
    """One run. ``ends``: of each worker, when its steps ended, in seconds since the start; ``losses`` of the weights that the
    first worker had ``at`` some times."""

    ends: Sequence[Sequence[float]]
    at: Sequence[float]
    losses: Sequence[float]

    def gradients(self, seconds: float) -> int:
        """How many all workers together have made until then."""
        return sum(bisect_right(ends, seconds) for ends in self.ends)

    @property
    def largest_gap(self) -> int:
        """Steps that the fastest has ended more than the slowest, at most, until the first worker stops."""
        last = min((ends[-1] for ends in self.ends if ends), default=0.0)
        steps = [0] * len(self.ends)
        gap = 0
        for at, worker in sorted((at, w) for w, ends in enumerate(self.ends) for at in ends):
            if at > last:
                break
            steps[worker] += 1
            gap = max(gap, max(steps) - min(steps))
        return gap

    def reached(self, loss: float) -> float | None:
        """Seconds until the loss was first below."""
        return next((at for at, value in zip(self.at, self.losses) if value < loss), None)


@dataclass(frozen=True)
class Row:
    """All repeats of a method."""

    pattern: str
    method: Method
    runs: Sequence[Trained]
    seconds: float

    @property
    def gradients(self) -> float:
        """A second, by all workers together."""
        return median(run.gradients(self.seconds) / self.seconds for run in self.runs)

    def steps(self, worker: int) -> float:
        """A second, of one worker."""
        return median(bisect_right(run.ends[worker], self.seconds) / self.seconds for run in self.runs)

    @property
    def largest_gap(self) -> int:
        return max(run.largest_gap for run in self.runs)

    def reached(self, loss: float) -> float | None:
        """Seconds until the loss was below; None: not in the median run."""
        never = float("inf")
        at = median(never if (r := run.reached(loss)) is None else r for run in self.runs)
        return None if at == never else at

    def curve(self, points: int = 200) -> tuple[list[float], list[float]]:
        """Times, and the median over the repeats of the loss then, between two snapshots by a straight line."""
        end = min(run.at[-1] for run in self.runs)
        times = np.linspace(0, end, points)
        return times.tolist(), np.median(
            [np.interp(times, run.at, run.losses) for run in self.runs], axis=0
        ).tolist()


def run(plan: Plan, methods: Sequence[Method], patterns: Sequence[str], launcher: Launcher) -> Iterator[Row]:
    """Train; the rows of a pattern come when all its repeats are done. One rank more than workers serves."""
    with started(plan.workers + 1, launcher) as job:
        for pattern in patterns:
            runs: dict[Method, list[Trained]] = {method: [] for method in methods}
            for seed in range(1, plan.repeats + 1):
                for method in methods:
                    answers = job.ask(
                        do="train", mode=method.mode, staleness=method.staleness, seed=seed, pattern=pattern,
                        nap=plan.nap, seconds=plan.seconds, every=plan.every,
                    )  # fmt: skip
                    runs[method].append(trained(answers[: plan.workers]))
            yield from (Row(pattern, method, runs[method], plan.seconds) for method in methods)


def trained(answers: Sequence[Answer]) -> Trained:
    """From what the workers tell, by rank."""
    start: Any = min(answer["start"] for answer in answers)
    ends = [[at - start for at in answer["ends"]] for answer in answers]
    shift = answers[0]["start"] - start
    return Trained(ends, [at + shift for at in answers[0]["at"]], answers[0]["losses"])
