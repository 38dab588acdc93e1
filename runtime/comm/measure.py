"""Every algorithm and the MPI library's own collective, timed on a live communicator.

The candidates for one collective and size are called in turn, round after round, so that noise of the machine hits
all alike. A call takes as long as it does on the slowest rank, from a barrier on. Of a candidate's calls in a round
the median counts, and of its rounds the fastest: what else runs on the machine only ever makes a call slower. After
SURE rounds a candidate that is SLOWER times as slow as the best is not called again. What "auto" takes without a
table is only given up for what is CLEAR times as fast: less than that is often chance. Candidates that are the same
schedule on so few ranks are timed once.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ringleader.collectives import COLLECTIVES, Schedule
from ringleader.collectives.registry import find
from ringleader.collectives.tuning import VENDOR, Choice, Key, Range, Table, Timed, candidates
from ringleader.runtime.comm import cache
from ringleader.runtime.comm.chooser import UNTUNED
from ringleader.runtime.comm.communicator import Communicator
from ringleader.runtime.comm.ops import OPS

SIZES = (64, 4 << 10, 32 << 10, 256 << 10, 2 << 20, 16 << 20)  # bytes
SECONDS = 60.0  # for all of it
DTYPE = np.dtype(np.float32)
SLICE = 2e-3  # seconds that a candidate is called for in a round
MOST_CALLS, MOST_ROUNDS = 100, 12  # of a candidate in a round; for a collective and size
SURE, SLOWER, CLEAR = 2, 1.3, 1.05
LARGE = 4 << 20  # bytes; what a size gets of the time grows with it from there on

Call = Callable[[str | Schedule], object]


@dataclass(frozen=True)
class Comparison:
    """``timings``: of all candidates that were timed, the best first: the fastest, if it is CLEAR."""

    collective: str
    n: int
    nbytes: int
    timings: tuple[Timed, ...]

    @property
    def vendor(self) -> float | None:
        """Seconds of the MPI library's own; None where there is none."""
        return next((t.seconds for t in self.timings if t.choice == VENDOR), None)


def measure(
    world: Communicator, collectives: Iterable[str] = COLLECTIVES, sizes: Iterable[int] = SIZES,
    seconds: float = SECONDS,
) -> list[Comparison]:  # fmt: skip
    """Compare all candidates for each collective and size (bytes of a rank's larger buffer). Collective.

    ``seconds``: for all together; large sizes get more of it. Where it is short, the less promising candidates are
    left out, but never the vendor's own and what "auto" takes without a table: these are called, however long that
    takes. Every rank gets the same result. ValueError: one rank, no size, or not a number of seconds from 0 on.
    """
    ascending = sorted(set(sizes))
    if world.size == 1:
        raise ValueError("measure: on one rank there is nothing to choose")
    if not ascending or ascending[0] < 0 or not seconds >= 0:
        raise ValueError(
            f"measure: give sizes of 0 bytes or more, and seconds from 0 on; got {ascending}, {seconds}"
        )
    jobs = [(c, size) for c in collectives for size in (ascending if c != "barrier" else [0])]
    weights = [len(candidates(c, world.size, size)) * (1 + size / LARGE) for c, size in jobs]
    clock, found = _Clock(world), []
    for i, (collective, nbytes) in enumerate(jobs):
        share = max(0.0, seconds - clock.now()) * weights[i] / sum(weights[i:])
        found.append(_Contest(world, collective, nbytes, share).run())
    return found


def to_table(world: Communicator, comparisons: Sequence[Comparison]) -> Table:
    """The fastest for each size, with those that stand in for it where it does not suit a call."""
    ranges: dict[Key, tuple[Range, ...]] = {}
    for collective in dict.fromkeys(c.collective for c in comparisons):
        own = [c for c in comparisons if c.collective == collective]
        what = COLLECTIVES[collective]
        for ordered in (False, True) if what.folds and not what.at_least_once else (False,):
            kept = [(c.nbytes, found) for c in own if (found := _kept(c, ordered))]
            of_key = tuple(Range(size, *best, tuple(rest)) for size, (best, *rest) in kept)
            if of_key:
                ranges[Key(collective, world.size, ordered)] = of_key
    return Table(ranges, None, cache.machine(world._transport.name, world._transport.nodes))


def _kept(comparison: Comparison, ordered: bool) -> list[Timed]:
    """The best of all, of ours, and of ours that takes unequal blocks; and the vendor's own. Empty: none fits."""
    collective, n = comparison.collective, comparison.n
    # an operation that does not commute is none of the vendor's
    own = [t for t in comparison.timings if t.choice != VENDOR]
    fit = [t for t in own if not ordered or find(collective, t.choice.algorithm).ordered]
    keeping = (t for t in fit if t.choice.build(collective, n).keeps_blocks)
    wanted = {*fit[:1], *([] if (kept := next(keeping, None)) is None else [kept])}
    if not ordered:
        wanted |= {t for t in comparison.timings if t.choice == VENDOR}
    return [t for t in comparison.timings if t in wanted]


class _Clock:
    """Seconds since it was made, on the rank where most have passed."""

    def __init__(self, world: Communicator) -> None:
        self.world, self.start = world, time.perf_counter()

    def now(self) -> float:
        return float(self.world.allreduce(np.array([time.perf_counter() - self.start]), "max")[0])


@dataclass
class _Contest:
    """The candidates for one collective and size. Ranks decide by numbers that all have: who goes on, and when
    time is up."""

    world: Communicator
    collective: str
    nbytes: int
    seconds: float
    spent: float = 0.0
    best: dict[Choice, float] = field(default_factory=dict)  # the fastest round so far

    def run(self) -> Comparison:
        self.call = _call(self.world, self.collective, self.nbytes)
        self.clock = time.perf_counter()
        first = self._tried()
        going, rounds, up = sorted(first, key=lambda choice: first[choice]), 0, self.spent >= self.seconds
        while rounds < MOST_ROUNDS and not up:
            for choice in going:
                calls = max(1, min(MOST_CALLS, int(SLICE / first[choice])))
                median = statistics.median(self._times(choice, calls))
                self.best[choice] = min(median, self.best.get(choice, median))
                if up := self.spent >= self.seconds:
                    break
            rounds += 1
            if rounds >= SURE:
                limit = SLOWER * min(self.best.values())
                going = [choice for choice in going if self.best.get(choice, limit) <= limit]
        ranked = sorted({**first, **self.best}.items(), key=self._rank)
        timings = tuple(Timed(choice, seconds) for choice, seconds in ranked)
        return Comparison(self.collective, self.world.size, self.nbytes, timings)

    def _rank(self, timed: tuple[Choice, float]) -> tuple[float, Any]:
        choice, seconds = timed
        return seconds / (CLEAR if choice == self.usual else 1), choice.sort_key

    def _tried(self) -> dict[Choice, float]:
        """Seconds of a second call of each, the most promising first, as long as half of the time lasts."""
        sure, others = self._by_promise()
        first: dict[Choice, float] = {}
        for choice in [*sure, *others]:
            if choice not in sure and self.spent >= self.seconds / 2:
                break
            self._times(choice, 1)  # a schedule's first call builds its program
            first[choice] = max(1e-9, self._times(choice, 1)[0])
        return first

    def _by_promise(self) -> tuple[list[Choice], list[Choice]]:
        """Those that are timed in any case, and the rest by the model."""
        n = self.world.size
        suits = self.world._transport.vendor_suits(self.collective, DTYPE, OPS["sum"], True)
        self.usual = self._usual()[0]
        sure = [*([VENDOR] if suits else []), *self._usual()]
        every = [*self._usual(), *candidates(self.collective, n, self.nbytes)]
        built = [
            (c, c.build(self.collective, n)) for c in reversed(every)
        ]  # so that the first of equals stays
        different = {(schedule.digest, schedule.keeps_blocks): c for c, schedule in built}
        predicted = [(UNTUNED.predict(self.collective, c, n, self.nbytes), c) for c in different.values()]
        predicted.sort(key=lambda pair: (pair[0].seconds if pair[0] else np.inf, pair[1].sort_key))
        return sure, [choice for _, choice in predicted if choice not in sure]

    def _usual(self) -> list[Choice]:
        """What "auto" takes without a table; for operations that do not commute; for unequal blocks."""
        found: list[Choice] = []
        for ordered, equal in ((False, True), (True, True), (False, False)):
            with suppress(ValueError):  # there is none
                of = self.world._chooser.untuned(
                    self.collective, self.world.size, self.nbytes, ordered, equal, vendor=False
                )
                found += [of] * (of not in found)
        return found

    def _times(self, choice: Choice, calls: int) -> list[float]:
        """Seconds of each call on its slowest rank; and ``spent``, the seconds since the contest began."""
        world = self.world
        algorithm = "vendor" if choice == VENDOR else choice.build(self.collective, world.size)
        own = np.empty(calls + 1)
        for i in range(calls):
            world.barrier()
            start = time.perf_counter()
            self.call(algorithm)
            own[i] = time.perf_counter() - start
        own[calls] = time.perf_counter() - self.clock
        slowest: list[float] = world.allreduce(own, "max").tolist()
        self.spent = slowest.pop()
        return slowest


def _call(world: Communicator, collective: str, nbytes: int) -> Call:
    """A call whose larger buffer has ``nbytes`` bytes on every rank, or a little more where blocks must be equal."""
    n, root = world.size, world.rank == 0
    elements = -(-nbytes // DTYPE.itemsize)
    block = -(-elements // n)

    def array(size: int) -> np.ndarray:
        return np.full(size, 0, DTYPE)  # zeros() would not be in memory yet

    if collective == "barrier":
        return lambda algorithm: world.barrier(algorithm=algorithm)
    if collective in ("allreduce", "broadcast", "reduce"):
        x, method = array(elements), getattr(world, collective)
        return lambda algorithm: method(x, algorithm=algorithm)
    if collective in ("scan", "exscan"):
        x, out = array(elements), array(elements)
    elif collective in ("allgather", "gather"):
        x, out = array(block), array(block * n)
    elif collective == "alltoall":
        x, out = array(block * n), array(block * n)
    else:  # reduce_scatter, scatter
        x, out = array(block * n), array(block)
    gets = out if collective != "gather" or root else None
    method = getattr(world, collective)
    return lambda algorithm: method(x, out=gets, algorithm=algorithm)
