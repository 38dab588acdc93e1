"""Meetings of all living workers: a barrier, and a sum of some numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ringleader.runtime.comm.errors import named
from ringleader.runtime.comm.leader.post import Letter
from ringleader.runtime.comm.leader.store import Clocks


class Meetings:
    """By their numbers: who has come, with what."""

    def __init__(self, clocks: Clocks) -> None:
        self.clocks = clocks
        self._come: dict[int, dict[int, tuple[Letter, NDArray[Any]]]] = defaultdict(dict)

    def come(self, letter: Letter, numbers: NDArray[Any]) -> None:
        self._come[letter.clock][letter.sender] = letter, numbers

    def complete(self) -> Iterator[tuple[list[Letter], NDArray[Any] | str]]:
        """The meetings to which all living workers have come: whom to tell, and what: the number of those who have
        come, their ranks, and then the sum of their numbers, in rank order; or what is wrong."""
        for number in [n for n, come in self._come.items() if set(self.clocks.workers) <= come.keys()]:
            come = self._come.pop(number)
            ranks = [rank for rank in sorted(come) if rank in self.clocks.workers]
            letters, numbers = [come[rank][0] for rank in ranks], [come[rank][1] for rank in ranks]
            odd = next((i for i, x in enumerate(numbers) if x.size != numbers[0].size), None)
            if odd is not None:
                yield letters, _difference(ranks[0], numbers[0], ranks[odd], numbers[odd])
            elif ranks:
                total = sum(numbers[1:], numbers[0])
                yield letters, np.concatenate(([len(ranks)], ranks, total)).astype(np.float64)

    def describe(self) -> str:
        for come in self._come.values():
            missing = [rank for rank in self.clocks.workers if rank not in come]
            return f"it waits for {named(missing)} to come to the barrier, where {named(sorted(come))} waits"
        return "it waits for nobody"


def _difference(one: int, mine: NDArray[Any], other: int, theirs: NDArray[Any]) -> str:
    return (
        f"rank {one} brings {mine.size} numbers, rank {other} brings {theirs.size} (a barrier brings none). All workers "
        "must call the same, with the same shape."
    )
