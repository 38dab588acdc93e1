"""Who keeps the others waiting."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterable

from ringleader.runtime.comm.leader.post import Letter

SLOW_AFTER = (
    5.0  # seconds that a pull waits for a worker before it is named; then after twice as long, and so on
)

log = logging.getLogger("ringleader.leader")


class Patience:
    """``waits[rank]``: seconds that pulls of others have waited until something came from this worker."""

    def __init__(self) -> None:
        self.waits: dict[int, float] = defaultdict(float)
        self._since: dict[tuple[int, int], float] = {}
        self._limit: dict[int, float] = {}
        self._looked = 0.0

    def start(self, pull: Letter) -> None:
        self._since[pull.sender, pull.token] = time.monotonic()

    def end(self, pull: Letter, cause: int | None) -> None:
        """It is answered, because something came from the worker ``cause``."""
        waited = time.monotonic() - self._since.pop((pull.sender, pull.token))
        if cause is not None and cause != pull.sender:
            self.waits[cause] += waited
            self._limit.pop(cause, None)

    def look(self, late: Iterable[tuple[Letter, list[int]]]) -> None:
        """Once in a while: name the workers for whom pulls wait too long. ``late``: pulls, and whom they wait for."""
        now = time.monotonic()
        if now - self._looked < SLOW_AFTER / 4:
            return
        self._looked = now
        longest: dict[int, float] = {}
        for pull, workers in late:
            for worker in workers:
                longest[worker] = max(longest.get(worker, 0.0), now - self._since[pull.sender, pull.token])
        for worker, waited in longest.items():
            limit = self._limit.get(worker, SLOW_AFTER)
            if waited > limit:
                self._limit[worker] = 2 * waited
                log.warning("rank %d is slow: others have waited %.0f s for its gradients", worker, waited)
