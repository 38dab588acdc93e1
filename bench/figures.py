"""What is printed, computed from what was measured: times, bandwidths, ratios, the share of the physical limit.

Of each repeat p50, p95 and mean are taken over its calls. What is shown for a series is the median of each over the
repeats, and the least time of all. (On more ranks than cores the mean may be far from p50: some calls wait until a
rank gets a core again.) The fastest peer at a point and place is the one with the least such p50; the
ratio of one of our entries is the median over the repeats of that peer's p50 over ours in the same repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
from ringleader.bench.orchestrator import Point, Series
from ringleader.bench.patterns import PATTERNS


@dataclass(frozen=True)
class Row:
    """One entry at one point in one place. Bandwidths in bytes a second. ``ratio`` and its least and largest value
    of all repeats are None for peers, and where there is no peer (``against``) that has the collective;
    ``limit_share`` where nothing is moved."""

    n: int
    collective: str
    bytes: int
    count: int
    type: str
    op: str
    entry: str
    place: str
    p50_seconds: float
    p95_seconds: float
    mean_seconds: float
    min_seconds: float
    algbw: float
    busbw: float
    wrong: int | None
    limit_share: float | None
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    against: str | None
    copy_rate: float | None
    repeats: int
    p50s_seconds: tuple[float, ...]  # of every repeat

    @property
    def ours(self) -> bool:
        return self.entry.startswith("ringleader")

    def flat(self) -> dict[str, Any]:
        """For files."""
        return asdict(self)


def percentile(samples: Sequence[float], percent: float) -> float:
    """The least sample that at least ``percent`` of them do not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)]


def p50s(series: Series) -> list[float]:
    return [percentile(samples, 50) for samples in series.samples]


def rows(point: Point) -> list[Row]:
    """Every entry, in both places."""
    made = []
    for series in point.series:
        peers = [s for s in point.series if not s.ours and s.place == series.place]
        fastest = min(peers, key=lambda s: median(p50s(s)), default=None) if series.ours else None
        made.append(_row(point, series, fastest))
    return made


def _row(point: Point, series: Series, fastest: Series | None) -> Row:
    pattern, medians = PATTERNS[point.collective], p50s(series)
    p50 = median(medians)
    ratios = [] if fastest is None else [theirs / own for theirs, own in zip(p50s(fastest), medians)]
    moved = pattern.traffic(point.n, series.place) * point.nbytes
    shares = [moved / rate / own for rate, own in zip(point.copy_rates, medians)] if moved else []
    return Row(
        n=point.n, collective=point.collective, bytes=point.nbytes, count=point.count, type=point.dtype,
        op="sum" if point.collective in FOLDS else "none", entry=series.entry, place=series.place,
        p50_seconds=p50, p95_seconds=median(percentile(samples, 95) for samples in series.samples),
        mean_seconds=median(float(np.mean(samples)) for samples in series.samples),
        min_seconds=min(map(min, series.samples)),
        algbw=point.nbytes / p50, busbw=point.nbytes / p50 * pattern.bus(point.n),
        wrong=None if point.collective == "barrier" else series.wrong,
        limit_share=median(shares) if shares else None,
        ratio=median(ratios) if ratios else None,
        ratio_low=min(ratios, default=None), ratio_high=max(ratios, default=None),
        against=None if fastest is None else fastest.entry,
        copy_rate=median(point.copy_rates) if point.copy_rates else None,
        repeats=len(series.samples), p50s_seconds=tuple(medians),
    )  # fmt: skip


FOLDS = ("allreduce", "reduce", "reduce_scatter", "scan")


def ratio_text(ratio: float) -> str:
    """Two decimals, of small ones two digits."""
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"


def geometric_mean(values: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))
