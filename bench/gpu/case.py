"""A case: one operator at one size, ours and PyTorch's; and what measuring it gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ringleader.bench.gpu.place import Place, Tensor
from ringleader.bench.gpu.timing import Timing, ratios, seconds

OURS = "ringleader"
COPY = "copy"  # of as many bytes as the case must move: no peer, but the limit of what only moves them
WHOLE = "all"  # in what failed: not one side, but the case
NOT_BEGUN = "not begun"  # in what failed, in the place of a side: it says nothing about ours

Call = Callable[[], Any]


@dataclass(frozen=True)
class Work:
    """A case on a device. inputs: the tensors of one set.

    ours(device, version, *inputs), peers[name](*inputs): make a call on them, which gives results in whatever form.
    results: a call's results as tensors. plain(dtype, *inputs): the same by PyTorch's plain ops, computed in that dtype.
    Where results are random, ``holds(results, *inputs)`` takes its place and says what is wrong with them.
    """

    inputs: tuple[Tensor, ...]
    ours: Callable[..., Call]
    peers: Mapping[str, Callable[..., Call]]
    results: Callable[[Any], Sequence[Tensor]]
    plain: Callable[..., Sequence[Tensor]] | None = None
    holds: Callable[..., str] | None = None


@dataclass(frozen=True)
class Case:
    """group: "attention". operator: as in VERSIONS. flops: that the operator needs, 0 where moving is all there is to it.
    moved: bytes that must be read or written at least. kind: of the peak, as in ``Card.flops``. quick: measured by
    --quick, too. tags: what goals ask for."""

    group: str
    name: str
    operator: str
    dtype: str
    flops: float
    moved: float
    kind: str
    prepare: Callable[[Place], Work] = field(repr=False, compare=False)
    quick: bool = False
    tags: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.group}: {self.name}"


@dataclass(frozen=True)
class Result:
    """version: of ours. timings: by side, in every repeat. failed: why a side has none. error: ours, of what is allowed."""

    case: Case
    version: str = ""
    timings: Mapping[str, Sequence[Timing]] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    error: float | None = None

    @property
    def broken(self) -> str:
        """Why ours could not be measured; empty if it was, and if the case was not begun."""
        return self.failed.get(OURS, self.failed.get(WHOLE, ""))

    @property
    def seconds(self) -> float | None:
        """Ours, a call."""
        return seconds(self.timings[OURS]) if OURS in self.timings else None

    @property
    def rate(self) -> float | None:
        """FLOP/s; bytes a second where there is nothing to compute."""
        return None if self.seconds is None else (self.case.flops or self.case.moved) / self.seconds

    @property
    def peers(self) -> list[str]:
        return [side for side in self.timings if not side.startswith(OURS) and side != COPY]

    @property
    def peer(self) -> str | None:
        """The fastest."""
        return min(self.peers, key=lambda side: seconds(self.timings[side]), default=None)

    @property
    def ratios(self) -> list[float]:
        """How many times as fast as the fastest peer, in each repeat, sorted; empty if either is missing."""
        return self._against(self.peer)

    @property
    def copy_shares(self) -> list[float]:
        """Of the rate of a copy of as many bytes, in each repeat, sorted; empty where there is none."""
        return self._against(COPY)

    def _against(self, side: str | None) -> list[float]:
        if side is None or side not in self.timings or OURS not in self.timings:
            return []
        return ratios(self.timings[OURS], self.timings[side])
