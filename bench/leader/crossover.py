"""From how many bytes on ring or leader is the faster: by the simulator, on this machine as it was fitted, and measured.

Everything is measured on the same ranks in the same run, in turn: AllReduce by ring and by leader (the schedule, run as any
other), and push and pull of the parameter server with as many servers among the same workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log
from statistics import median

from ringleader.bench.contestants import Launcher
from ringleader.bench.job import Job
from ringleader.bench.leader.fit import SIZES as FITTED
from ringleader.bench.leader.fit import Machine, Measurement
from ringleader.bench.leader.ranks import BUDGET, Series, measure, push_pull, series, started

SIZES = (4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20)
RING, LEADER, SERVER = "ring", "leader", "parameter server"


@dataclass(frozen=True)
class Point:
    """Seconds, predicted and measured (the median of the repeats), of ``what``: RING, LEADER or SERVER."""

    n: int
    what: str
    servers: int  # 0: there are none
    nbytes: int
    predicted: float
    measured: float

    @property
    def apart(self) -> float:
        """How many times as long as predicted it takes."""
        return self.measured / self.predicted


@dataclass(frozen=True)
class Curve:
    """One way against the ring, over the bytes. ``predicted``, ``measured``: how many times as fast as the ring it is."""

    n: int
    what: str
    servers: int
    sizes: tuple[int, ...]
    predicted: tuple[float, ...]
    measured: tuple[float, ...]

    @property
    def agree(self) -> int:
        """At how many sizes the model names the one that is faster."""
        return sum((p >= 1) == (m >= 1) for p, m in zip(self.predicted, self.measured))


def curves(points: Sequence[Point]) -> list[Curve]:
    ring = {(p.n, p.nbytes): p for p in points if p.what == RING}
    made = []
    for n, what, servers in dict.fromkeys((p.n, p.what, p.servers) for p in points if p.what != RING):
        own = [p for p in points if (p.n, p.what, p.servers) == (n, what, servers)]
        beside = [ring[n, p.nbytes] for p in own]
        made.append(
            Curve(
                n, what, servers, tuple(p.nbytes for p in own),
                tuple(r.predicted / p.predicted for r, p in zip(beside, own)),
                tuple(r.measured / p.measured for r, p in zip(beside, own)),
            )
        )  # fmt: skip
    return made


def crossings(sizes: Sequence[int], ratios: Sequence[float]) -> list[float]:
    """Bytes at which the ratio passes 1, between two sizes by a straight line over the logarithms."""
    return [
        exp(log(a) + (log(b) - log(a)) * log(x) / (log(x) - log(y)))
        for (a, x), (b, y) in pairwise(zip(sizes, ratios))
        if (x >= 1) != (y >= 1)
    ]


def apart(points: Sequence[Point]) -> tuple[float, float]:
    """How far prediction and measurement are from each other, either way: the geometric mean of the factors, and the
    largest."""
    factors = [max(p.apart, 1 / p.apart) for p in points]
    return exp(sum(map(log, factors)) / len(factors)), max(factors)


def run(
    ranks: Sequence[int], servers: Sequence[int], sizes: Sequence[int], repeats: int, launcher: Launcher,
    budget: float = BUDGET, fitted: Sequence[int] = FITTED,
) -> Iterator[tuple[Machine, Machine, list[Point]]]:  # fmt: skip
    """For each rank count: the machine for native messages, that for letters, and all points."""
    for n in ranks:
        with started(n, launcher) as job:
            native, letters = Measurement(job, fitted).run(repeats, budget)
            found: list[Point] = []
            for nbytes in sizes:
                asked: list[tuple[str, int, Series, float]] = [
                    (RING, 0, _allreduce(job, "ring", nbytes), native.predict("ring", nbytes))
                ]
                for k in [k for k in servers if k <= n]:
                    asked += [
                        (LEADER, k, _allreduce(job, "leader", nbytes, servers=k),
                         native.predict("leader", nbytes, servers=k)),
                        (SERVER, k, push_pull(job, n, k, nbytes, colocated=True),
                         letters.predict("leader", nbytes, servers=k)),
                    ]  # fmt: skip
                measure([entry for _, _, entry, _ in asked], repeats, budget)
                found += [
                    Point(n, what, k, nbytes, predicted, median(entry.seconds))
                    for what, k, entry, predicted in asked
                ]
            yield native, letters, found


def _allreduce(job: Job, algorithm: str, nbytes: int, **options: int) -> Series:
    return series(
        job,
        do="collective",
        name="allreduce",
        algorithm=algorithm,
        options=options,
        ranks=job.n,
        nbytes=nbytes,
    )
