"""Measuring contestants in turn, so that noise of the machine hits all alike: A B C, A B C, ...

For every rank count all contestants' jobs are started once and live until it is done. For every collective and size
each repeat measures every entry (a contestant, with an algorithm and a kind of buffers) and, beside them, how fast
as many processes copy memory. Calls are not separated by barriers, as in nccl-tests; the time of a call is that of
its slowest rank.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

import numpy as np
from ringleader.bench.contestants import RINGLEADER, Contestant, Launcher
from ringleader.bench.job import Answer, Job, JobLostError
from ringleader.bench.patterns import PATTERNS, elements, larger_buffer

BUDGET = 0.02  # seconds that one measurement of an entry should last
# Calls that take less are timed in batches that take about so long: many turns of ranks that share a core, since a
# batch counts as its slowest rank's, which in a short one is the rank whose turn came last.
SHORT = 1e-3
FEWEST, MOST, PARTS = 3, 400, 6  # samples of a part, and of a measurement; parts in which they are taken
COPY_BUDGET = 0.03  # longer than a time slice, as there may be more processes than cores
COPIED_FROM = 64 << 10  # bytes; the copying of less measures numpy's call, not the memory
ALONE_SAMPLES, ALONE_BATCH = 200, 50
HANDED_TIMES, HANDED_REPEATS = 500, 5  # the best of the repeats counts: it is a bound


class NotOfferedError(Exception):
    """The library has no such collective."""


@dataclass(frozen=True)
class Plan:
    """What to measure. ``sizes`` in bytes, see patterns; ``peers``: where the peers' environments are;
    ``patience``: seconds that the start of a job, or one measurement, may take."""

    ranks: Sequence[int]
    collectives: Sequence[str]
    sizes: Sequence[int]
    algorithms: Sequence[str]
    against: Sequence[Contestant]
    peers: Path
    dtype: str = "float32"
    repeats: int = 5
    patience: float = 120.0


@dataclass(eq=False)
class Series:
    """One entry at one point in one place. ``samples[repeat]``: seconds of each call, or batch over its calls."""

    entry: str
    ours: bool
    place: str
    samples: list[list[float]] = field(default_factory=list)
    wrong: int = 0


@dataclass
class Point:
    """All entries at one rank count, collective and size. ``copy_rates[repeat]``: bytes read and written a second,
    by all ranks together, each copying S bytes; none below COPIED_FROM."""

    n: int
    collective: str
    nbytes: int
    count: int
    dtype: str
    series: list[Series] = field(default_factory=list)
    copy_rates: list[float] = field(default_factory=list)


@dataclass(eq=False)
class Entry:
    """A contestant's job, asked to use one algorithm and one kind of buffers."""

    name: str
    job: Job
    algorithm: str
    buffers: str
    pace: dict[str, float] = field(default_factory=dict)  # by place: seconds that a call took lately

    def turn(self, place: str) -> list[float]:
        """Seconds of calls, or of batches over their calls: as many as BUDGET has room for.

        The first few may all have met another process on their core, so how many there is room for is asked again
        until time was spent. NotOfferedError if the library has no such collective.
        """
        samples: list[float] = []
        spent = 0.0
        for _ in range(PARTS):
            count, batch = paced(self.pace.get(place, BUDGET))
            part = self._ask(do="measure", place=place, samples=count, batch=batch)
            if not part[0]["offered"]:
                raise NotOfferedError
            slowest = np.max([answer["times"] for answer in part], axis=0) / batch / 1e9
            self.pace[place] = float(slowest.mean())
            samples += slowest.tolist()
            spent += self.pace[place] * count * batch
            if spent >= BUDGET / 2 or len(samples) >= MOST:
                break
        return samples

    def wrong(self, place: str) -> int:
        """Wrong elements of one call, on all ranks."""
        return sum(answer["wrong"] for answer in self._ask(do="check", place=place))

    def _ask(self, **order: Any) -> list[Answer]:
        return self.job.ask(buffers=self.buffers, algorithm=self.algorithm, **order)


def paced(seconds: float) -> tuple[int, int]:
    """Samples, and calls in each, for a call that takes about so long."""
    batch = max(1, math.ceil(SHORT / seconds))
    return max(FEWEST, int(BUDGET / (seconds * batch))), batch


@dataclass
class Run:
    """What there is besides the points: who could not be measured and why, versions, our call without partners, and
    how fast ranks hand memory over to each other."""

    lost: dict[str, str] = field(default_factory=dict)  # "mpich, 4 ranks" -> why
    versions: dict[str, str] = field(default_factory=dict)
    alone: dict[int, float] = field(default_factory=dict)  # by rank count: seconds
    handed: dict[int, float] = field(
        default_factory=dict
    )  # by rank count: bytes a second that each rank hands over

    def lose(self, name: str, n: int, why: object) -> None:
        self.lost.setdefault(f"{name} on {n} ranks", str(why))


def measure(plan: Plan, launcher: Launcher, run: Run) -> Generator[Point, None, None]:
    """Measure, point by point; ``run`` is filled in meanwhile. Closing the iterator ends all jobs."""
    for n in plan.ranks:
        with ExitStack() as stack:
            entries = []
            for contestant in (RINGLEADER, *plan.against):
                try:
                    if why := contestant.missing(plan.peers):
                        raise JobLostError(why)
                    job = stack.enter_context(Job(contestant, n, plan.peers, launcher, plan.patience))
                    _introduce(run, contestant, job)
                    entries += _entries(contestant, job, plan.algorithms)
                except (RuntimeError, OSError, SubprocessError) as error:
                    run.lose(contestant.name, n, error)
            for collective in plan.collectives:
                for nbytes in plan.sizes if collective != "barrier" else [0]:
                    yield _point(plan, run, n, collective, nbytes, entries)


def _entries(contestant: Contestant, job: Job, algorithms: Sequence[str]) -> list[Entry]:
    kinds = job.hello[0]["buffers"]
    if contestant is not RINGLEADER:
        return [Entry(contestant.name, job, "", kind) for kind in kinds]
    return [Entry(_name(a, kind), job, a, kind) for a in algorithms for kind in kinds]


def _name(algorithm: str, buffers: str) -> str:
    return " ".join(
        filter(None, ["ringleader" if algorithm == "auto" else f"ringleader/{algorithm}", buffers])
    )


def _introduce(run: Run, contestant: Contestant, job: Job) -> None:
    hello = job.hello[0]
    run.versions[contestant.name] = f"{hello['version']}, numpy {hello['numpy']}, Python {hello['python']}"
    if contestant is RINGLEADER:
        times = job.ask(do="alone", samples=ALONE_SAMPLES, batch=ALONE_BATCH)[0]["times"]
        run.alone[job.n] = float(np.median(times)) / ALONE_BATCH / 1e9
        if path := job.ask(do="share")[0]["path"]:
            turns = [job.ask(do="hand", path=path, times=HANDED_TIMES) for _ in range(HANDED_REPEATS)]
            run.handed[job.n] = max(turn[0]["bytes"] / _slowest(turn) for turn in turns)


class _Measurement:
    """One point while it is measured. Entries whose job is lost, or whose library has no such collective, drop out."""

    def __init__(self, plan: Plan, run: Run, entries: list[Entry], point: Point) -> None:
        self.plan, self.run, self.entries, self.point = plan, run, entries, point
        self.running: list[tuple[Entry, Series]] = []
        self.copies = 0  # in one measurement of the copy rate; 0: not known yet

    def prepare(self) -> None:
        """Tell every job, and try every entry once."""
        point = self.point
        for job in dict.fromkeys(entry.job for entry in self.entries):
            with self._losing(job):
                job.ask(do="point", collective=point.collective, count=point.count, dtype=point.dtype)
                for entry in [entry for entry in self.entries if entry.job is job]:
                    for place in PATTERNS[point.collective].places:
                        if _warm_up(entry, place):
                            series = Series(entry.name, job.contestant is RINGLEADER, place)
                            self.running.append((entry, series))
        point.series = [series for _, series in self.running]

    def repeat(self) -> None:
        """Every entry once, then the copy rate."""
        for entry, series in list(self.running):
            if not entry.job.lost:
                with self._losing(entry.job):
                    series.samples.append(entry.turn(series.place))
                    series.wrong += entry.wrong(series.place)
        ours = next((entry.job for entry, series in self.running if series.ours), None)
        if ours is not None and self.point.nbytes >= COPIED_FROM:
            with self._losing(ours):
                self.copies = self.copies or _copies(ours, self.point.nbytes)
                self.point.copy_rates.append(_copy_rate(ours, self.point.nbytes, self.copies))

    @contextmanager
    def _losing(self, job: Job) -> Iterator[None]:
        try:
            yield
        except JobLostError as error:
            where = f"{self.point.collective}, {self.point.nbytes:,} bytes"
            self.run.lose(job.contestant.name, self.point.n, f"{error} (at {where})")
            self.entries[:] = [entry for entry in self.entries if entry.job is not job]
            self.running = [pair for pair in self.running if pair[0].job is not job]
            self.point.series = [series for _, series in self.running]


def _point(plan: Plan, run: Run, n: int, collective: str, nbytes: int, entries: list[Entry]) -> Point:
    itemsize = np.dtype(plan.dtype).itemsize
    count = elements(collective, nbytes, n, itemsize)
    point = Point(n, collective, larger_buffer(collective, count, n, itemsize), count, plan.dtype)
    measurement = _Measurement(plan, run, entries, point)
    measurement.prepare()
    for _ in range(plan.repeats):
        measurement.repeat()
    return point


def _warm_up(entry: Entry, place: str) -> bool:
    """One turn that does not count; False: not offered."""
    entry.pace.pop(place, None)  # that of another size
    try:
        entry.turn(place)
    except NotOfferedError:
        return False
    return True


def _copies(job: Job, nbytes: int) -> int:
    """How often to copy so many bytes for one measurement."""
    times = 1
    job.ask(do="copy", nbytes=nbytes, times=times)  # the first touch of the memory
    while (seconds := _slowest(job.ask(do="copy", nbytes=nbytes, times=times))) < COPY_BUDGET / 4:
        times *= 4
    return max(1, round(times * COPY_BUDGET / seconds))


def _copy_rate(job: Job, nbytes: int, times: int) -> float:
    seconds = _slowest(job.ask(do="copy", nbytes=nbytes, times=times))
    return 2 * nbytes * times * job.n / seconds


def _slowest(answers: list[dict[str, list[int]]]) -> float:
    return max(answer["times"][0] for answer in answers) / 1e9
