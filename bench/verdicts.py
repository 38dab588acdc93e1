"""The numbers that must stand, each with what was reached."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ringleader.bench.figures import Row, geometric_mean, ratio_text
from ringleader.bench.patterns import PLACES

NEVER_SLOWER = 1.0  # median ratio, at every size
GEOMETRIC = {2: 2.0, 4: 3.0, 8: 3.0}  # by rank count: geometric mean of the ratios over all sizes
LARGE = 1 << 20  # bytes from which the next two count
SHARED = 4.0  # ratio of buffers from world.empty
LIMIT = 0.6  # share of the physical limit
ALONE = 1e-6  # seconds of a call that has nobody to wait for
REPEATS = 5  # fewer decide nothing
WHERE = {"in": "in place", "out": "out of place"}


@dataclass(frozen=True)
class Verdict:
    """``met``: None where too few repeats were made. ``value`` and ``goal`` in the unit of ``unit``."""

    n: int
    what: str
    value: float
    goal: float
    met: bool | None
    unit: str = "x"
    at: str = ""

    @property
    def word(self) -> str:
        if self.met is None:
            return f"undecided (fewer than {REPEATS} repeats)"
        return "met" if self.met else "NOT MET"

    @property
    def reached(self) -> str:
        return _text(self.value, self.unit) + self.at

    @property
    def bound(self) -> str:
        return f"at {'most' if self.unit == 'us' else 'least'} {_text(self.goal, self.unit)}"

    def __str__(self) -> str:
        return f"{self.n} ranks, {self.what}: {self.reached} ({self.bound}): {self.word}"


def _text(value: float, unit: str) -> str:
    if unit == "x":
        return f"{ratio_text(value)}x"
    return f"{value:.0%}" if unit == "%" else f"{value * 1e6:.2f} us"


def verdicts(rows: Sequence[Row], alone: Mapping[int, float], handed: Mapping[int, float]) -> list[Verdict]:
    """On AllReduce, for every rank count, place and entry of ours. ``alone``, ``handed``: see Run."""
    made: list[Verdict] = []
    for n in dict.fromkeys(row.n for row in rows):
        for place in PLACES:
            here = [row for row in rows if (row.n, row.place, row.collective) == (n, place, "allreduce")]
            peers = ", ".join(dict.fromkeys(row.entry for row in here if not row.ours))
            for entry in dict.fromkeys(row.entry for row in here if row.ours):
                made += _of_entry([row for row in here if row.entry == entry], peers, handed.get(n))
        if n in alone:
            what = "our Python share (a call on one rank, which waits for nobody)"
            made.append(Verdict(n, what, alone[n], ALONE, alone[n] <= ALONE, "us"))
    return made


def _of_entry(own: list[Row], peers: str, handed: float | None) -> Iterator[Verdict]:
    """``own``: the rows of one entry in one place, over all sizes. ``handed``: bytes a second and rank."""
    n, name = own[0].n, f"{own[0].entry}, allreduce {WHERE[own[0].place]}"
    enough = all(row.repeats >= REPEATS for row in own)

    def verdict(what: str, value: float, goal: float, unit: str = "x", at: str = "") -> Verdict:
        return Verdict(n, f"{name}, {what}", value, goal, value >= goal if enough else None, unit, at)

    compared = [(row.ratio, row) for row in own if row.ratio is not None]
    if compared:
        least, row = min(compared, key=lambda pair: pair[0])
        at = f" at {row.bytes:,} bytes against {row.against}"
        yield verdict(f"least ratio to the fastest of {peers}", least, NEVER_SLOWER, at=at)
        mean = geometric_mean([ratio for ratio, _ in compared])
        if n in GEOMETRIC:
            yield verdict("geometric mean of the ratios", mean, GEOMETRIC[n])
    large = [(ratio, row) for ratio, row in compared if row.bytes >= LARGE]
    shared = own[0].entry.endswith(" empty")
    if large and shared:
        least, row = min(large, key=lambda pair: pair[0])
        yield verdict("least ratio from 1 MiB on", least, SHARED, at=f" at {row.bytes:,} bytes")
    shares = [(row.limit_share, row) for row in own if row.limit_share is not None and row.bytes >= LARGE]
    if shares:
        share, row = min(shares, key=lambda pair: pair[0])
        yield verdict(
            "least share of the physical limit from 1 MiB on", share, LIMIT, "%", f" at {row.bytes:,} bytes"
        )
    crossing = (
        [(row.busbw / handed, row) for row in own if row.bytes >= LARGE] if handed and not shared else []
    )
    if crossing:
        share, row = min(crossing, key=lambda pair: pair[0])
        at = f" at {row.bytes:,} bytes"
        yield verdict("least share of the hand-over limit from 1 MiB on", share, LIMIT, "%", at)
