"""The simulator's machine, fitted to the machine that this runs on.

What is measured is not what is to be predicted: the rounds of a ring ReduceScatter and AllGather, one by one; a gather to
one rank; push and pull of one worker with one server. The line a + b S that each gives over its sizes is fitted by least
squares of the relative error, with a and b of at least 0. There is no other parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
from ringleader.bench.job import Job
from ringleader.bench.leader.ranks import BUDGET, Series, measure, push_pull, series
from ringleader.collectives import build, simulate
from ringleader.collectives.topology.base import Topology, links
from ringleader.collectives.topology.graph import Graph
from ringleader.collectives.topology.units import FASTEST
from scipy.optimize import nnls

SIZES = (4 << 10, 32 << 10, 256 << 10, 1 << 20, 4 << 20)  # bytes of a message
SMALL = 4  # bytes of a message that only costs its start
LEAST = 1 / FASTEST  # seconds a byte


@dataclass(frozen=True)
class Machine:
    """``start``: seconds of a message, of which ``overhead`` for the CPU at either end, the rest on its way; ``copy``: seconds
    a byte that a rank takes in; ``all_copy``: when all ranks do so at once; ``fold``: seconds a byte more, if it is folded.
    """

    n: int
    start: float
    overhead: float
    copy: float
    all_copy: float
    fold: float

    @property
    def topology(self) -> Topology:
        """A rank takes in what it gets, at its own rate, and all together at the rate of all: memory and cores are shared."""
        ranks, hub, memory = np.arange(self.n), self.n, self.n + 1
        ends = [*((rank, hub) for rank in ranks), (hub, memory), *((memory, rank) for rank in ranks)]
        together = min(FASTEST, self.n / max(self.all_copy, LEAST))
        bandwidth = [FASTEST] * self.n + [together] + [1 / max(self.copy, LEAST)] * self.n
        latency = [0.0] * self.n + [self.start - self.overhead] + [0.0] * self.n
        names = (*(f"rank {rank}" for rank in ranks), "all ranks", "memory")
        wires = links(np.array(ends), np.array(bandwidth), np.array(latency))
        return Graph("this machine", self.n, wires, (("memory", 2),), names)

    def predict(self, algorithm: str, nbytes: int, **options: int) -> float:
        """Seconds of an AllReduce."""
        schedule = build("allreduce", algorithm, self.n, **options)
        return simulate(schedule, nbytes, self.topology, overhead=self.overhead, gamma=self.fold).total


def line(sizes: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """a and b of seconds = a + b size, neither below 0, with the least squares of the relative errors."""
    t = np.asarray(seconds)
    a, b = nnls(np.stack([1 / t, np.asarray(sizes) / t], axis=1), np.ones(len(t)))[0]
    return float(a), float(b)


def fitted(n: int, rounds: Mapping[str, Sequence[float]], pair: Sequence[float], gather: float, sizes: Sequence[int] = SIZES,
           ) -> Machine:  # fmt: skip
    """``rounds``: seconds of one round of ring "allgather" and "reduce_scatter" on all ranks, for each of ``sizes``; ``pair``:
    of the allgather, between two ranks; ``gather``: seconds in which a rank takes in a SMALL message of each other rank."""
    start, all_copy = line(sizes, rounds["allgather"])
    _, folding = line(sizes, rounds["reduce_scatter"])
    _, copy = line(sizes, pair)
    overhead = start if n < 3 else min(start, max(0.0, gather - start) / (n - 2))
    return Machine(n, start, overhead, copy, all_copy, max(0.0, folding - all_copy))


def lettered(
    machine: Machine, letters: Sequence[float], fold: Sequence[float], sizes: Sequence[int] = SIZES
) -> Machine:
    """The machine for messages that Python starts: all of their start is work for the CPU. ``letters``: seconds of one and of
    what worker and server do with it, for each of ``sizes``; ``fold``: seconds of numpy's sum of two arrays."""
    start, copy = line(sizes, letters)
    return replace(
        machine,
        start=start,
        overhead=start,
        copy=copy,
        all_copy=max(copy, machine.all_copy),
        fold=line(sizes, fold)[1],
    )


class Measurement:
    """On the ranks of a job, all in turn: the machine for native messages, and that for letters."""

    def __init__(self, job: Job, sizes: Sequence[int] = SIZES) -> None:
        n, self.sizes, self.n = job.n, sizes, job.n

        def ring(name: str, ranks: int) -> list[Series]:
            return [_collective(job, name, "ring", ranks, nbytes) for nbytes in sizes]

        self.rings = {name: ring(name, n) for name in ("allgather", "reduce_scatter")}
        self.pair = ring("allgather", 2)
        self.gather = _collective(job, "gather", "linear", n, SMALL)
        self.asked = [push_pull(job, 2, 1, s, colocated=False) for s in sizes]  # a letter there and one back
        self.folds = [series(job, do="fold", nbytes=nbytes) for nbytes in sizes]

    def run(self, repeats: int, budget: float = BUDGET) -> tuple[Machine, Machine]:
        every = [
            *self.rings["allgather"],
            *self.rings["reduce_scatter"],
            *self.pair,
            self.gather,
            *self.asked,
            *self.folds,
        ]
        measure(every, repeats, budget)
        rounds = {name: [s / (self.n - 1) for s in _medians(of)] for name, of in self.rings.items()}
        native = fitted(self.n, rounds, _medians(self.pair), _medians([self.gather])[0], self.sizes)
        letters = [s / 2 for s in _medians(self.asked)]
        return native, lettered(native, letters, _medians(self.folds), self.sizes)


def _collective(job: Job, name: str, algorithm: str, ranks: int, nbytes: int) -> Series:
    order: dict[str, Any] = {"name": name, "algorithm": algorithm, "options": {}, "ranks": ranks}
    return series(job, do="collective", nbytes=nbytes, **order)


def _medians(of: Sequence[Series]) -> list[float]:
    return [median(s.seconds) for s in of]
