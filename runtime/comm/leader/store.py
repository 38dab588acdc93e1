"""One part on one of its servers: its values, the gradients on their way into it, and who waits for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ringleader.runtime.comm.leader.placement import Part
from ringleader.runtime.comm.leader.post import Letter, Post
from ringleader.runtime.comm.leader.rules import Slot
from ringleader.runtime.comm.leader.settings import Settings


class Clocks:
    """How far each worker is: the iterations that it has said are over. ``workers``: living ones, in rank order."""

    def __init__(self, workers: Sequence[int]) -> None:
        self.workers = list(workers)
        self.told = dict.fromkeys(workers, 0)

    def drop(self, worker: int) -> None:
        if worker in self.workers:
            self.workers.remove(worker)


class Stored:
    """``staleness`` 0: the gradients of an iteration are folded in rank order and applied as one, so a part's
    ``version`` is the number of iterations in it. Above: each gradient is applied by itself, when it comes."""

    def __init__(self, part: Part, clocks: Clocks, settings: Settings, post: Post) -> None:
        self.part, self.clocks, self.staleness, self.post = part, clocks, settings.staleness, post
        self.mean = settings.reduction == "mean"
        self.code = settings.compressor(part)  # of what comes in; to decode, one is enough for all workers
        self.in_place = self.staleness == 0 and self.code is None  # gradients may be added where they lie
        self.slot: Slot | None = None  # until the first values have come
        self.version = 0
        self.pushes: dict[int, deque[Letter]] = {
            worker: deque() for worker in clocks.workers
        }  # not yet here in full
        self.taking: set[int] = set()  # workers whose oldest push is coming in
        self.pulls: list[Letter] = []
        self._readers: dict[int, int] = {}  # of arrays on their way to workers, by identity
        self._spare: list[NDArray[Any]] = []  # memory that has been used is faster than new memory
        self._order = tuple(clocks.workers)
        self._applied = dict.fromkeys(
            clocks.workers, 0
        )  # iterations of each worker that are in, by its pushes
        self._here: dict[int, NDArray[Any]] = {}
        self._turn = self._folded = 0
        self._total: NDArray[Any] | None = None
        self._lr: float | None = None

    # How far the workers are, as this part sees it

    def clock(self, worker: int) -> int:
        """All pushes of this worker for iterations below are in, or lie where they can be read. Where there may be several in
        an iteration, it must have said that the iteration is over."""
        if self.pushes[worker]:
            letter = self.pushes[worker][0]
            return letter.clock + self.lies(letter)
        told = self.clocks.told[worker]
        return max(told, self._applied[worker]) if self.staleness == 0 else told

    def awaits(self, worker: int) -> bool:
        """Does it matter here that this worker has ended an iteration? Not if its pushes have said so, or nobody waits."""
        return bool(self.pulls) if self.staleness > 0 else self._applied[worker] < self.clocks.told[worker]

    def may_take(self, letter: Letter) -> bool:
        """Is it time for the payload of this push? One of a later iteration stays with its worker until then."""
        if letter.sender in self.taking or self.slot is None:
            return False
        return self.staleness > 0 or letter.clock <= self.version

    def lies(self, letter: Letter) -> bool:
        """Is the gradient of this push added out of its worker's memory, when its turn has come?"""
        return self.in_place and letter.readable

    def may_answer(self, pull: Letter) -> bool:
        """May a worker in iteration ``pull.clock`` see the values as they are?"""
        if self.slot is None:
            return False
        if self.staleness == 0:
            return self.version >= pull.clock
        return not self.pushes[pull.sender] and not self.behind(pull)

    def behind(self, pull: Letter) -> list[int]:
        """The workers that this pull waits for."""
        return [w for w in self.clocks.workers if self.clock(w) < pull.clock - self.staleness]

    def describe(self, letter: Letter) -> str:
        """Why the pull is not answered, or the push not taken."""
        if self.slot is None:
            return f"{self.part.key!r} has no values yet: init has not ended on every worker"
        late = ", ".join(f"rank {w}, which is in iteration {self.clock(w)}" for w in self.behind(letter))
        return f"{self.part.key!r} in iteration {letter.clock} waits for {late or 'its own pushes'}"

    def answerable(self) -> list[Letter]:
        """The pulls that may be answered now. They wait no longer."""
        ready: list[Letter] = []
        waiting: list[Letter] = []
        for pull in self.pulls:
            (ready if self.may_answer(pull) else waiting).append(pull)
        self.pulls = waiting
        return ready

    # Gradients

    def take(self, letter: Letter, g: NDArray[Any]) -> None:
        """A push is here in full: ``g``, which is ours."""
        self._come(letter)
        if self.staleness > 0:
            self._update(g, _rate(letter))
        else:
            self._here[letter.sender], self._lr = g, _rate(letter)

    def add(self) -> list[Letter]:
        """Add to the sum what can be, in rank order and in one pass: gradients that are here, and those that can be read
        where they lie, whose letters are returned. One alone would be copied for nothing, so it waits if it can."""
        if self.staleness > 0 or self.slot is None:
            return []
        sources, turn = self._next()
        alone = self._total is None and len(sources) == 1 and turn < len(self._order)
        if alone and isinstance(sources[0], Letter) and sources[0].free:
            return []
        for worker in self._order[self._turn : turn]:
            self._here.pop(worker, None)
        self._turn = turn
        self._folded += len(sources)
        letters = [source for source in sources if isinstance(source, Letter)]
        if sources:
            self._sum(sources)
        for letter in letters:
            self._come(letter)
            self._lr = _rate(letter)
        return letters

    def _next(self) -> tuple[list[NDArray[Any] | Letter], int]:
        """What can be added next, and whose turn it is then."""
        found: list[NDArray[Any] | Letter] = []
        for turn in range(self._turn, len(self._order)):
            worker = self._order[turn]
            queue = self.pushes[worker]
            if worker in self._here:
                found.append(self._here[worker])
            elif queue and self.lies(queue[0]) and self.may_take(queue[0]):
                found.append(queue[0])
            elif worker in self.clocks.workers and self.clock(worker) <= self.version:
                return found, turn
        return found, len(self._order)

    def _sum(self, sources: list[NDArray[Any] | Letter]) -> None:
        total = self._total
        if total is None and isinstance(first := sources[0], np.ndarray):
            total, sources = first, sources[1:]
        self._total = self.memory() if total is None else total
        self.post.add_up(self._total, sources, onto=total is not None)
        self._spare += [source for source in sources if isinstance(source, np.ndarray)]

    def _come(self, letter: Letter) -> None:
        self.pushes[letter.sender].popleft()
        self.taking.discard(letter.sender)
        self._applied[letter.sender] = max(self._applied[letter.sender], letter.clock + 1)

    def apply(self) -> bool:
        """Apply the sum once nobody is missing any more: is this the next version?"""
        complete = self._turn == len(self._order) and self.clocks.workers
        if self.staleness > 0 or self.slot is None or not complete:
            return False
        if self._total is not None:
            if self.mean:
                np.divide(self._total, self._folded, out=self._total)
            self._update(self._total, self._lr)
        self._turn = self._folded = 0
        self._total = None
        self.version += 1
        return True

    def _update(self, g: NDArray[Any], lr: float | None) -> None:
        assert self.slot is not None
        if self.slot.in_place:
            self._own().update(g, lr)
            self._spare.append(g)
        else:
            before = self.slot.w
            self.slot.update(g, lr)
            self._reuse(before)

    def _own(self) -> Slot:
        """To be changed. Readers shall have the values of one moment: theirs stay as they are."""
        assert self.slot is not None
        if id(self.slot.w) in self._readers:
            fresh = self.memory()
            fresh[...] = self.slot.w
            self.slot.w = fresh
        return self.slot

    def memory(self) -> NDArray[Any]:
        """For a gradient, or for values; contents are arbitrary."""
        if self._spare:
            return self._spare.pop()
        return self.post.transport.empty(self.part.shape, self.part.dtype)

    def _reuse(self, w: NDArray[Any]) -> None:
        if id(w) not in self._readers:
            self._spare.append(w)

    def load(self, state: dict[str, NDArray[Any]]) -> None:
        """Go on from what ``state`` of its slot was, and from its values, "w"."""
        slot = self._own()
        slot.w[...] = state.pop("w")
        slot.load(state)

    def lend(self) -> NDArray[Any]:
        """The values, for somebody who reads them until ``give_back``."""
        assert self.slot is not None
        w = self.slot.w
        self._readers[id(w)] = self._readers.get(id(w), 0) + 1
        return w

    def give_back(self, w: NDArray[Any]) -> None:
        assert self.slot is not None
        self._readers[id(w)] -= 1
        if not self._readers[id(w)]:
            del self._readers[id(w)]
            if w is not self.slot.w:
                self._spare.append(w)

    def drop(self, worker: int) -> None:
        """It is lost: what has come from it in full still counts."""
        self.pushes[worker].clear()
        self.taking.discard(worker)
        self.pulls = [pull for pull in self.pulls if pull.sender != worker]


def _rate(letter: Letter) -> float | None:
    """The learning rate that came with a push."""
    return None if isnan(letter.value) else letter.value
