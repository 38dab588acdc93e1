"""A server: takes gradients, updates its parts, and answers when a worker may see them."""

from __future__ import annotations

import heapq
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ringleader.runtime.comm.errors import named
from ringleader.runtime.comm.leader.kinds import Kind
from ringleader.runtime.comm.leader.meeting import Meetings
from ringleader.runtime.comm.leader.patience import Patience
from ringleader.runtime.comm.leader.placement import Tensor
from ringleader.runtime.comm.leader.post import Letter, Post
from ringleader.runtime.comm.leader.rules import Rule
from ringleader.runtime.comm.leader.settings import Settings
from ringleader.runtime.comm.leader.state import packed, unpacked
from ringleader.runtime.comm.leader.store import Clocks, Stored

# Bytes on their way to one worker at once: what is more urgent can still go before the rest. QUIET: so many that this rank
# need not know at once when they have been read.
CREDIT, QUIET = 8 << 20, 4 << 20


class Server:
    """Number ``number`` of the servers. ``handle`` is called for each letter from a worker, ``drop`` when one is lost."""

    def __init__(self, number: int, post: Post, settings: Settings, rule: Rule) -> None:
        self.number, self.post, self.settings, self.rule = number, post, settings, rule
        self.clocks = Clocks(settings.workers)
        self.patience = Patience()
        self.meetings = Meetings(self.clocks)
        self.stored: dict[int, Stored] = {}
        self._told: dict[int, tuple[Letter, bytes]] = {}  # what each worker says of its tensors
        self._ready: dict[int, list[tuple[int, int, Letter, Stored, NDArray[Any]]]] = defaultdict(
            list
        )  # answers to pulls, by worker
        self._lent: dict[int, int] = defaultdict(int)  # bytes on their way, by worker
        self._early: dict[tuple[int, int], Letter] = {}  # pushes left for a moment, by part, worker
        self._came: dict[int, list[int]] = defaultdict(list)  # workers of whom something has come, by part
        self._order = count()
        post.idle, post.look = self.idle, self.look
        self._work: dict[int, Callable[[Letter], None]] = {
            Kind.HELLO: self._hello, Kind.INIT: self._init, Kind.PUSH: self._push, Kind.PULL: self._pull,
            Kind.PUSH_PULL: self._push_pull, Kind.CLOCK: self._clock, Kind.MEET: self._meet, Kind.STATE: self._state,
            Kind.LOAD: self._load, Kind.WHY: self._why, Kind.CLOSE: self._close,
        }  # fmt: skip

    @property
    def finished(self) -> bool:
        """Have all workers closed, or gone?"""
        return not self.clocks.workers

    def handle(self, letter: Letter) -> None:
        if letter.sender in self.clocks.workers:
            self._work[letter.kind](letter)
        else:  # it was dropped
            self.post.discard(letter)

    def _with_payload(self, letter: Letter, then: Callable[[NDArray[Any]], None]) -> None:
        payload = np.empty(letter.nbytes, np.uint8)
        self.post.receive(letter, payload, lambda: then(payload))

    def _answer(self, letter: Letter, payload: NDArray[Any] | None = None, kind: Kind = Kind.DONE) -> None:
        self.post.send(letter.sender, Letter(kind, letter.part, token=letter.token), payload)

    def _fail(self, letter: Letter, text: str) -> None:
        self._answer(letter, np.frombuffer(text.encode(), np.uint8), Kind.ERROR)

    # What there is

    def _hello(self, letter: Letter) -> None:
        self._with_payload(letter, lambda text: self._hear(letter, text.tobytes()))

    def _hear(self, letter: Letter, text: bytes) -> None:
        self._told[letter.sender] = letter, text
        self._agree()

    def _agree(self) -> None:
        """Each worker says what tensors it has; they must all have the same."""
        living = self.clocks.workers
        if not living or not self._told.keys() >= set(living):
            return
        told, self._told = {worker: self._told[worker] for worker in living}, {}
        text = told[living[0]][1]
        odd = next((worker for worker in living if told[worker][1] != text), None)
        if odd is not None:
            for letter, _ in told.values():
                self._fail(letter, _difference(living[0], text, odd, told[odd][1]))
            return
        tensors = {key: Tensor(tuple(shape), np.dtype(dtype)) for key, shape, dtype in json.loads(text)}
        self.stored = {
            part.number: Stored(part, self.clocks, self.settings, self.post)
            for part in self.settings.place(tensors) if self.number in part.holders
        }  # fmt: skip
        for letter, _ in told.values():
            self._answer(letter)

    def _init(self, letter: Letter) -> None:
        stored = self.stored[letter.part]
        if stored.slot is not None:  # whoever sent that died before all knew
            self.post.discard(letter)
            self._answer(letter)
            return
        w = stored.memory()

        def here() -> None:
            stored.slot = self.rule.slot(stored.part, w)
            self._answer(letter)
            self._answer_pulls(stored)
            self._advance(stored, stored.pushes)

        self.post.receive(letter, w, here)

    # Gradients and values

    def _push(self, letter: Letter) -> None:
        stored = self.stored[letter.part]
        stored.pushes[letter.sender].append(letter)
        self._go_on(stored, letter.sender)

    def _go_on(self, stored: Stored, worker: int) -> None:
        """Because of this worker, once all has been heard that is there: gradients that come together are added together."""
        if not self._came:
            self.post.later(self._advance_all)
        self._came[stored.part.number].append(worker)

    def _advance_all(self) -> None:
        came, self._came = self._came, defaultdict(list)
        for number, workers in came.items():
            self._advance(self.stored[number], workers, workers[-1])

    def _pull(self, letter: Letter) -> None:
        self._wait_for_values(letter)
        self._answer_pulls(self.stored[letter.part])

    def _push_pull(self, letter: Letter) -> None:
        self._wait_for_values(Letter(Kind.PULL, letter.part, letter.clock + 1, *letter[3:]))
        self._push(letter)

    def _wait_for_values(self, pull: Letter) -> None:
        self.patience.start(pull)
        self.stored[pull.part].pulls.append(pull)

    def _clock(self, letter: Letter) -> None:
        self.clocks.told[letter.sender] = letter.clock
        for stored in self.stored.values():
            if stored.awaits(letter.sender):
                self._go_on(stored, letter.sender)

    def _advance(self, stored: Stored, workers: Iterable[int], cause: int | None = None) -> None:
        """Take what may be taken of what these have pushed, answer what may be answered, version by version. ``cause``: the
        worker whose coming made it possible."""
        self._take_in(stored, workers)
        if stored.staleness > 0:
            self._answer_pulls(stored, cause)
        while self._add(stored):
            self._answer_pulls(stored, cause)
            self._take_in(stored, stored.pushes)

    def _take_in(self, stored: Stored, workers: Iterable[int]) -> None:
        for worker in workers:
            queue = stored.pushes[worker]
            while queue and stored.may_take(queue[0]):
                if stored.lies(queue[0]):
                    if not queue[0].free:
                        self._early[stored.part.number, worker] = queue[0]
                    break
                self._take(stored, queue[0])

    def _add(self, stored: Stored) -> bool:
        """Is this the next version?"""
        for letter in stored.add():
            self._acknowledge_later(stored, letter)
        return stored.apply()

    def _answer_pulls(self, stored: Stored, cause: int | None = None) -> None:
        ready = stored.answerable()
        for pull in ready:
            self.patience.end(pull, cause)
            # The values of this moment, whenever it is their turn: in mode "bsp", those of that iteration.
            entry = pull.priority, next(self._order), pull, stored, stored.lend()
            heapq.heappush(self._ready[pull.sender], entry)
        for worker in {pull.sender for pull in ready}:
            self._lend(worker)

    def idle(self) -> bool:
        """Those whose turn to be added has not come are copied, so that their workers need not wait for that."""
        while self._early:
            (number, worker), letter = self._early.popitem()
            stored = self.stored[number]
            queue = stored.pushes[worker]
            if queue and queue[0] is letter and stored.may_take(letter):
                self._take(stored, letter)
                return True
        return False

    def _take(self, stored: Stored, letter: Letter) -> None:
        stored.taking.add(letter.sender)
        g, code = stored.memory(), stored.code
        payload = g if code is None else np.empty(code.nbytes, np.uint8)

        def here() -> None:
            if code is not None:
                code.decode(payload, g)
            stored.take(letter, g)

        def came() -> None:
            here()
            self._advance(stored, (letter.sender,), letter.sender)
            self._acknowledge(stored, letter)

        if self.post.receive_now(letter, payload):
            here()
            self._acknowledge_later(stored, letter)
        else:
            self.post.receive(letter, payload, came)

    def _acknowledge_later(self, stored: Stored, push: Letter) -> None:
        if not push.free:
            self.post.later(lambda: self._acknowledge(stored, push))

    def _acknowledge(self, stored: Stored, push: Letter) -> None:
        """It is in. The values of a PUSH_PULL say so themselves, where they are not waited for."""
        if push.kind == Kind.PUSH:
            self._answer(push)
        elif not push.free and any(
            (pull.sender, pull.token) == (push.sender, push.token) for pull in stored.pulls
        ):
            self._answer(push, kind=Kind.TAKEN)

    def _lend(self, worker: int) -> None:
        """Send what this worker may see, the most urgent first, but not all at once."""
        waiting = self._ready[worker]
        while waiting and (
            not self._lent[worker] or self._lent[worker] + waiting[0][3].part.nbytes <= CREDIT
        ):
            _, _, pull, stored, w = heapq.heappop(waiting)
            self._lent[worker] += w.nbytes

            def returned(stored: Stored = stored, w: NDArray[Any] = w) -> None:
                stored.give_back(w)
                self._lent[worker] -= w.nbytes
                if self._ready[worker]:
                    self._lend(worker)

            answer = Letter(Kind.DONE, stored.part.number, token=pull.token)
            self.post.send(worker, answer, w, returned, quiet=self._lent[worker] <= QUIET)

    # Meetings, checkpoints, questions

    def _meet(self, letter: Letter) -> None:
        self._with_payload(letter, lambda numbers: self._gathered(letter, numbers))

    def _gathered(self, letter: Letter, numbers: NDArray[Any]) -> None:
        self.meetings.come(letter, numbers.view(np.float64))
        self._end_meetings()

    def _end_meetings(self) -> None:
        for letters, result in self.meetings.complete():
            for letter in letters:
                if isinstance(result, str):
                    self._fail(letter, result)
                else:
                    self._answer(letter, result)

    def _state(self, letter: Letter) -> None:
        slot = self.stored[letter.part].slot
        assert slot is not None  # the worker has had values from it
        self._answer(letter, packed({"w": slot.w, **slot.state()}))

    def _load(self, letter: Letter) -> None:
        def here(payload: NDArray[Any]) -> None:
            try:
                self.stored[letter.part].load(unpacked(payload))
            except (ValueError, KeyError) as error:  # of another rule, maybe
                self._fail(letter, f"{type(error).__name__}: {error}")
            else:
                self._answer(letter)

        self._with_payload(letter, here)

    def _why(self, letter: Letter) -> None:
        me = letter.sender
        texts = [
            stored.describe(waiting) for stored in self.stored.values()
            for waiting in (*stored.pulls, *stored.pushes[me]) if waiting.sender == me
        ]  # fmt: skip
        if me in self._told:
            missing = [worker for worker in self.clocks.workers if worker not in self._told]
            texts.append(f"it waits for {named(missing)} to call init")
        text = texts[0] if texts else self.meetings.describe()
        self._answer(letter, np.frombuffer(text.encode(), np.uint8))

    def _close(self, letter: Letter) -> None:
        self._answer(letter)
        self.drop(letter.sender)

    def look(self) -> None:
        """Once in a while: is somebody slow?"""
        self.patience.look(
            (pull, stored.behind(pull)) for stored in self.stored.values() for pull in stored.pulls
        )

    def drop(self, worker: int) -> None:
        """It has closed, or is lost: nobody waits for it any more."""
        self.clocks.drop(worker)
        self._ready.pop(worker, None)
        for stored in self.stored.values():
            stored.drop(worker)
            self._advance(stored, (), worker)
        self._agree()
        self._end_meetings()


def _difference(one: int, said: bytes, other: int, says: bytes) -> str:
    mine, theirs = ({key: rest for key, *rest in json.loads(text)} for text in (said, says))
    if mine == theirs:
        return (
            f"init: the workers have the same tensors in another order: rank {one} has {list(mine)}, rank {other} has "
            f"{list(theirs)}. Give every worker the same model."
        )
    key = next(key for key in [*mine, *theirs] if mine.get(key) != theirs.get(key))
    shown = [" ".join(map(str, tensors[key])) if key in tensors else "nothing" for tensors in (mine, theirs)]
    return (
        f"init: the workers have different tensors. {key!r}: rank {one} has {shown[0]}, rank {other} has {shown[1]}. "
        "Give every worker the same model."
    )
