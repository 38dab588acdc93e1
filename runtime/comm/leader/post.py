"""Letters between workers and servers: a short header from anyone, and a payload when its receiver is ready for it.

Nothing here waits. Whoever calls ``progress`` moves everything, and the functions that were given to ``send`` and
``receive`` are called from there; one lock guards it all, since a rank may be worker and server in two threads.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from ringleader.runtime.comm.transport import Transport, UnderWay

TAGS = 30_000  # of payloads: MPI promises 32,767; so many of one sender may be under way
LEAST_NAP, LONGEST_NAP = (
    2e-5,
    1e-3,
)  # seconds that a service thread sleeps after something moved, and when nothing does
QUIET = 1e-3  # seconds without a letter that ``idle`` waits for
LOOK_EVERY = 0.02  # seconds between two looks at who is gone


class Letter(NamedTuple):
    """``token``: the same in an answer. ``free``: of a push that nobody waits for by itself. ``nbytes``: of the payload,
    -1 if there is none. ``seq``: number among all letters from this sender to this receiver, from 1 on. ``readable``: can
    ``receive_now`` and ``add_up`` have the payload?"""

    kind: int
    part: int = -1
    clock: int = 0
    token: int = 0
    priority: int = 0
    value: float = 0.0
    free: bool = False
    nbytes: int = -1
    tag: int = 0
    seq: int = 0
    sender: int = -1
    readable: bool = False


FORMAT = struct.Struct("<iiqqid?qiq")  # of all but the last two, which the receiver knows


class _Open(NamedTuple):
    request: UnderWay
    peer: int
    incoming: bool
    done: Callable[[], None] | None
    kept: Any  # memory that must stay until then


class Post:
    """One rank's letters over ``transport``, which nothing else uses. ``deliver(letter)`` is called for each that comes,
    ``lost(rank)`` once for each rank that has finished or failed. May be set: ``look()``, called now and then; ``idle()``,
    called when nothing has come for a while: has it found something to do?"""

    def __init__(
        self, transport: Transport, deliver: Callable[[Letter], None], lost: Callable[[int], None]
    ) -> None:
        self.transport, self.deliver, self.lost = transport, deliver, lost
        self.lock = threading.RLock()
        self.failed: BaseException | None = None
        self._fail: Callable[[BaseException], None] | None = None
        self._thread: threading.Thread | None = None
        self._stop = False
        self._waiting = 0  # threads in ``wait_until``
        self.look: Callable[[], None] = lambda: None
        self.idle: Callable[[], bool] = lambda: False
        self._moved = 0.0  # when something last did
        self.gone: set[int] = set()
        self.sent_bytes = 0  # headers and payloads
        self._sent = [0] * transport.size
        self._seen = [0] * transport.size
        self._tag = 0
        self._open: list[_Open] = []
        self._done: deque[Callable[[], None]] = deque()  # to be called
        self._looked = 0.0
        self._mail = transport.mail(FORMAT.size)

    def send(
        self, peer: int, letter: Letter, payload: NDArray[Any] | None = None, done: Callable[[], None] | None = None,
        quiet: bool = True,
    ) -> None:  # fmt: skip
        """``payload``: contiguous; must stay as it is until ``done`` is called. ``quiet``: when something else wakes this
        rank is soon enough for that. To a rank that is gone: nothing happens."""
        if peer in self.gone:
            return
        self._sent[peer] += 1
        nbytes, tag = letter.nbytes, letter.tag
        if payload is not None:
            self._tag = self._tag % TAGS + 1
            nbytes, tag = payload.nbytes, self._tag
            self.sent_bytes += nbytes
        self.sent_bytes += FORMAT.size
        note = FORMAT.pack(*letter[:7], nbytes, tag, self._sent[peer])
        request = self._mail.send(peer, note, payload if nbytes > 0 else None, tag, quiet)
        if request is not None:
            self._open.append(_Open(request, peer, False, done, (note, payload)))
        elif done is not None:
            self.later(done)

    def receive(self, letter: Letter, into: NDArray[Any], done: Callable[[], None]) -> None:
        """Take the payload of a letter, whose ``nbytes`` are those of ``into``, which is contiguous."""
        if into.nbytes != letter.nbytes:
            raise RuntimeError(
                f"rank {self.transport.rank}: a letter of kind {letter.kind} from rank {letter.sender} brings "
                f"{letter.nbytes} bytes where {into.nbytes} are expected"
            )
        if self.receive_now(letter, into) or not letter.nbytes:
            self.later(done)
        else:
            request = self._mail.take(letter.sender, letter.tag, into)
            self._open.append(_Open(request, letter.sender, True, done, into))

    def receive_now(self, letter: Letter, into: NDArray[Any], together: int = 0) -> bool:
        """Take the payload at once, out of its sender's memory; False: that cannot be, so ``receive`` it. ``together``: see
        ``Mail.take_now``."""
        return letter.readable and self._mail.take_now(letter.sender, letter.tag, into, together)

    def add_up(self, total: NDArray[Any], sources: Sequence[NDArray[Any] | Letter], onto: bool) -> None:
        """Into ``total``, in one go and from left to right: what it has, if ``onto``, then arrays and payloads of letters
        that are ``readable``, all of its shape and dtype."""
        self._mail.add_up(total, [(s.sender, s.tag) if isinstance(s, Letter) else s for s in sources], onto)

    def later(self, call: Callable[[], None]) -> None:
        """Call it once what is going on has been dealt with."""
        self._done.append(call)

    def discard(self, letter: Letter) -> None:
        """Its payload, if any, is not wanted; but its sender waits to be rid of it."""
        if letter.nbytes >= 0 and letter.sender not in self.gone:
            self.receive(letter, np.empty(letter.nbytes, np.uint8), lambda: None)

    def progress(self) -> bool:
        """Go as far as possible; has anything moved?"""
        with self.lock:
            try:
                now = time.monotonic()
                moved = self._move()
                if now - self._looked > LOOK_EVERY:
                    self._looked = now
                    moved = self._look() or moved
                if not moved and now - self._moved < QUIET:
                    return False
                self._moved = now
                return moved or self.idle()
            except Exception as error:
                self._break(error)
                raise

    def _break(self, error: BaseException) -> None:
        """Letters are moved by whoever is there; a failure is the service thread's, if there is one."""
        if self._fail is not None and self.failed is None:
            self.failed = error
            self._fail(error)

    def _move(self) -> bool:
        heard = self._mail.hear()
        for peer, note, readable in heard:
            if peer not in self.gone:  # that has been dealt with
                self._hear(Letter._make((*FORMAT.unpack(note), peer, readable)))
        moved = bool(heard)
        if self._open:
            waiting: list[_Open] = []
            for entry in self._open:
                if not entry.request.test():
                    waiting.append(entry)
                elif entry.done is not None:
                    self._done.append(entry.done)
            moved = moved or len(waiting) < len(self._open)
            self._open = waiting  # before the calls, which may open more
        while self._done:
            self._done.popleft()()
            moved = True
        return moved

    def _hear(self, letter: Letter) -> None:
        if letter.seq > self._seen[letter.sender]:
            self._seen[letter.sender] = letter.seq
            self.deliver(letter)
        else:  # it has come before: changes nothing, and the payload that comes first is the other's
            self.later(partial(self.discard, letter))

    def _look(self) -> bool:
        self.look()
        fresh = self.transport.gone() - self.gone
        while fresh and self._move():  # what they sent before they went still counts
            pass
        for peer in fresh:
            self.gone.add(peer)
            for entry in [entry for entry in self._open if entry.peer == peer]:
                entry.request.cancel()
                self._open.remove(entry)
                if not entry.incoming and entry.done is not None:
                    entry.done()  # nobody reads that memory any more
            self.lost(peer)
        return bool(fresh)

    # Waiting

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> bool:
        """Keep everything moving until ``ready()``, for at most ``timeout`` seconds; is it? An exception of the service
        thread is raised here."""
        start, turn = time.monotonic(), 0
        with self.lock:
            self._waiting += 1
        try:
            while True:
                with self.lock:
                    if self.failed is not None:
                        raise self.failed
                    if ready():
                        return True
                if time.monotonic() - start > timeout:
                    return False
                turn = 0 if self.progress() else turn + 1
                if turn:
                    self.transport.await_message(turn)
        finally:
            with self.lock:
                self._waiting -= 1

    def serve_in_thread(self, name: str, fail: Callable[[BaseException], None]) -> None:
        """From now on a thread moves everything while nobody waits, until ``close``, or until this rank has ended without
        it. It does not keep the process alive; an exception in what it does, whoever does it, goes to ``fail``, and to
        whoever waits."""

        def run() -> None:
            idle = LEAST_NAP
            try:
                while not self._stop and self.transport.rank not in self.gone:
                    with self.lock:
                        if self._waiting:  # who waits is faster at it: no other thread has to wake up
                            idle = LONGEST_NAP
                        else:
                            idle = LEAST_NAP if self.progress() else min(2 * idle, LONGEST_NAP)
                    time.sleep(idle)
            except BaseException as error:
                self._break(error)

        self._fail = fail
        self._thread = threading.Thread(target=run, name=name, daemon=True)
        self._thread.start()

    @property
    def sending(self) -> bool:
        """Is anything that was sent still on its way?"""
        return any(not entry.incoming for entry in self._open)

    def close(self) -> None:
        """No more letters: give up what is under way."""
        self._stop = True
        if self._thread is not None:
            self._thread.join()
        with self.lock:
            self._mail.close()
            for entry in self._open:
                entry.request.cancel()
            self._open.clear()
