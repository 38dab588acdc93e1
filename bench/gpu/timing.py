"""Timing on a device that works behind the host's back: contestants in turn, on inputs that lie in no cache.

A measurement is some calls in a row between two marks in the device's stream. Before them the device is held busy, so
that the host has queued the calls before the first begins: what is measured is the device's time, launches back to back,
without Python between them. What the host takes to queue a call is measured beside it.

Each call works on the next of several sets of buffers that together are more than the second-level cache, and its
results stay until that set's turn comes again, so neither inputs nor results are where the last call has left them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol

COLD = 2  # times the second-level cache that the sets of buffers are together
BUDGET = 0.02  # seconds that a measurement should last on the device
AHEAD = 0.005  # seconds of the host's work that are queued at most: the driver's queue takes about a thousand launches
WARM = 2  # calls before anything is timed: compilation, cuDNN's choice of an algorithm


class Clock(Protocol):
    """Of the device, and of the host."""

    def mark(self) -> Any:
        """A moment in the device's stream, when all that was queued before is done."""

    def between(self, start: Any, end: Any) -> float:
        """Seconds between two moments; waits for them."""
        ...

    def hold(self, seconds: float) -> None:
        """Queue work that keeps the device busy for about so long."""

    def host(self) -> float:
        """Seconds of the host's clock."""
        ...


@dataclass(frozen=True)
class Timing:
    """Seconds a call, the device's and the host's."""

    device: float
    host: float


def sets_needed(nbytes: int, cache: int) -> int:
    """How many sets of ``nbytes`` are COLD times ``cache`` bytes; one set that is so large is left cold by itself."""
    return max(1, math.ceil(COLD * cache / max(1, nbytes)))


class Contestant:
    """One side's calls, one for each set of buffers, taken in turn."""

    def __init__(self, name: str, calls: Sequence[Callable[[], Any]]) -> None:
        self.name = name
        self._calls = calls
        self._kept: list[Any] = [None] * len(calls)  # so that the next result lies elsewhere
        self._turn = 0

    def __call__(self) -> None:
        turn = self._turn
        self._kept[turn] = self._calls[turn]()
        self._turn = (turn + 1) % len(self._calls)


def measure(contestant: Contestant, calls: int, hold: float, clock: Clock) -> Timing:
    """``calls`` in a row, after the device was held for so many seconds."""
    clock.hold(hold)
    start, began = clock.mark(), clock.host()
    for _ in range(calls):
        contestant()
    queued = clock.host() - began
    return Timing(clock.between(start, clock.mark()) / calls, queued / calls)


def plan(contestant: Contestant, clock: Clock) -> tuple[int, float]:
    """How many calls make a measurement, and for how long the device must be held before."""
    for _ in range(WARM):
        contestant()
    once = measure(contestant, 2, AHEAD, clock)
    calls = max(1, min(int(BUDGET / max(once.device, 1e-9)), int(AHEAD / max(once.host, 1e-9))))
    return calls, 2 * calls * once.host


def interleaved(contestants: Sequence[Contestant], repeats: int, clock: Clock) -> dict[str, list[Timing]]:
    """Timings by name, one a repeat. Each repeat goes once around, every other one backwards."""
    plans = [plan(contestant, clock) for contestant in contestants]
    timings: dict[str, list[Timing]] = {contestant.name: [] for contestant in contestants}
    for repeat in range(repeats):
        around = list(zip(contestants, plans, strict=True))
        for contestant, (calls, hold) in around[:: -1 if repeat % 2 else 1]:
            timings[contestant.name].append(measure(contestant, calls, hold, clock))
    return timings


def seconds(timings: Sequence[Timing]) -> float:
    """The device's, as the median over the repeats."""
    return median(timing.device for timing in timings)


def ratios(ours: Sequence[Timing], theirs: Sequence[Timing]) -> list[float]:
    """How many times as fast ours is, in each repeat, sorted."""
    return sorted(their.device / our.device for our, their in zip(ours, theirs, strict=True))
