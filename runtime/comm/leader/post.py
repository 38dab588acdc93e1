"""Letters between workers and servers: a short header from anyone, and a payload when its receiver is ready for it.

Nothing here waits. Whoever calls ``progress`` moves everything, and the functions that were given to ``send`` and
``receive`` are called from there; one lock guards it all, since a rank may be worker and server in two threads.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from ringleader.runtime.comm.transport import ANY, Bytes, Request, Transport, point_to_point

HEAD = 0  # tag of headers; payloads have tags of their own:
TAGS = 30_000  # MPI promises 32,767; so many payloads of one sender may be under way
LEAST_NAP, LONGEST_NAP = (
    2e-5,
    1e-3,
)  # seconds that a service thread sleeps after something moved, and when nothing does
LOOK_EVERY = 0.02  # seconds between two looks at who is gone


class Letter(NamedTuple):
    """``seq``: number among all letters from this sender to this receiver, from 1 on. ``answers``: the ``token`` of the
    letter that this one answers. ``nbytes``: of the payload, -1 if there is none."""

    kind: int
    part: int = -1
    clock: int = 0
    token: int = 0
    priority: int = 0
    value: float = 0.0
    flags: int = 0
    nbytes: int = -1
    tag: int = 0
    seq: int = 0
    sender: int = -1


FORMAT = struct.Struct("<iiqqidiqiq")  # of all but the sender, which is known from the message


class _Open(NamedTuple):
    request: Request
    peer: int
    done: Callable[[], None] | None
    kept: Any  # memory that must stay until then


class Post:
    """One rank's letters over ``transport``, which nothing else uses. ``deliver(letter)`` is called for each that comes,
    ``lost(rank)`` once for each rank that has finished or failed."""

    def __init__(
        self, transport: Transport, deliver: Callable[[Letter], None], lost: Callable[[int], None]
    ) -> None:
        self.transport, self.deliver, self.lost = transport, deliver, lost
        self.lock = threading.RLock()
        self.failed: BaseException | None = None
        self._moved = threading.Condition(self.lock)
        self._thread: threading.Thread | None = None
        self._stop = False
        self.gone: set[int] = set()
        self.sent_bytes = 0  # headers and payloads
        self._sent = [0] * transport.size
        self._seen = [0] * transport.size
        self._tag = 0
        self._open: list[_Open] = []
        self._looked = 0.0
        self._head: Bytes = np.empty(FORMAT.size, np.uint8)
        self._listening: Request | None = None
        self._listen()

    def _listen(self) -> None:
        self._listening = self.transport.irecv(self._head, ANY, point_to_point(HEAD), whole=True)

    def send(
        self, peer: int, letter: Letter, payload: NDArray[Any] | None = None, done: Callable[[], None] | None = None
    ) -> None:  # fmt: skip
        """``payload``: contiguous; must stay as it is until ``done`` is called. To a rank that is gone: nothing happens."""
        if peer in self.gone:
            return
        self._sent[peer] += 1
        view = None if payload is None else payload.reshape(-1).view(np.uint8)
        if view is not None:
            self._tag = self._tag % TAGS + 1
            letter = letter._replace(nbytes=view.size, tag=self._tag)
        letter = letter._replace(seq=self._sent[peer])
        head = np.frombuffer(FORMAT.pack(*letter[:-1]), np.uint8)
        self._start_send(head, peer, HEAD, None, whole=True)
        if view is not None:
            self._start_send(view, peer, letter.tag, done, whole=False)

    def _start_send(
        self, view: Bytes, peer: int, tag: int, done: Callable[[], None] | None, whole: bool
    ) -> None:
        self.sent_bytes += view.size
        request = self.transport.isend(view, peer, point_to_point(tag), whole=whole)
        self._open.append(_Open(request, peer, done, view))

    def receive(self, letter: Letter, into: NDArray[Any], done: Callable[[], None]) -> None:
        """Take the payload of a letter, whose ``nbytes`` are those of ``into``, which is contiguous."""
        if into.nbytes != letter.nbytes:
            raise RuntimeError(
                f"rank {self.transport.rank}: a letter of kind {letter.kind} from rank {letter.sender} brings "
                f"{letter.nbytes} bytes where {into.nbytes} are expected"
            )
        view = into.reshape(-1).view(np.uint8)
        request = self.transport.irecv(view, letter.sender, point_to_point(letter.tag))
        self._open.append(_Open(request, letter.sender, done, view))

    def discard(self, letter: Letter) -> None:
        """Its payload, if any, is not wanted; but its sender waits to be rid of it."""
        if letter.nbytes >= 0 and letter.sender not in self.gone:
            self.receive(letter, np.empty(letter.nbytes, np.uint8), lambda: None)

    def progress(self) -> bool:
        """Go as far as possible; has anything moved?"""
        with self.lock:
            moved = self._move()
            moved = self._look() or moved
            if moved:
                self._moved.notify_all()
            return moved

    def _move(self) -> bool:
        moved = self._hear()
        waiting: list[_Open] = []
        finished: list[_Open] = []
        for entry in self._open:
            (finished if entry.request.test() else waiting).append(entry)
        if finished:
            self._open = waiting  # before the calls, which may open more
            for entry in finished:
                if entry.done is not None:
                    entry.done()
        return moved or bool(finished)

    def _hear(self) -> bool:
        moved = False
        while self._listening is not None and self._listening.test():
            peer, fields = self._listening.peer, FORMAT.unpack(self._head.tobytes())
            self._listen()
            moved = True
            if peer in self.gone:  # that has been dealt with
                continue
            letter = Letter._make((*fields, peer))
            if letter.seq > self._seen[peer]:
                self._seen[peer] = letter.seq
                self.deliver(letter)
            else:  # it has come before: changes nothing
                self.discard(letter)
        return moved

    def _look(self) -> bool:
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY:
            return False
        self._looked = now
        fresh = self.transport.gone() - self.gone
        while fresh and self._move():  # what they sent before they went still counts
            pass
        for peer in fresh:
            self.gone.add(peer)
            for entry in [entry for entry in self._open if entry.peer == peer]:
                entry.request.cancel()
                self._open.remove(entry)
                if not entry.request.is_recv and entry.done is not None:
                    entry.done()  # nobody reads that memory any more
            self.lost(peer)
        return bool(fresh)

    # Waiting

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> bool:
        """Keep everything moving until ``ready()``, for at most ``timeout`` seconds; is it? An exception of the service
        thread is raised here."""
        start, turn = time.monotonic(), 0
        while True:
            with self.lock:
                if self.failed is not None:
                    raise self.failed
                if ready():
                    return True
                if self._thread is not None:
                    self._moved.wait(LOOK_EVERY)
            if time.monotonic() - start > timeout:
                return False
            if self._thread is None:
                turn = 0 if self.progress() else turn + 1
                if turn:
                    self.transport.pause(turn)

    def serve_in_thread(
        self, name: str, turn: Callable[[], None], fail: Callable[[BaseException], None]
    ) -> None:
        """From now on a thread moves everything, and calls ``turn`` now and then, until ``close``, or until this rank has
        ended without it. It does not keep the process alive; an exception in it goes to ``fail``, and to whoever waits."""

        def run() -> None:
            idle = LEAST_NAP
            try:
                while not self._stop and self.transport.rank not in self.gone:
                    with self.lock:
                        idle = LEAST_NAP if self.progress() else min(2 * idle, LONGEST_NAP)
                        turn()
                    time.sleep(idle)
            except BaseException as error:
                self.failed = error
                with self.lock:
                    self._moved.notify_all()
                fail(error)

        self._thread = threading.Thread(target=run, name=name, daemon=True)
        self._thread.start()

    @property
    def sending(self) -> bool:
        """Is anything that was sent still on its way?"""
        return any(not entry.request.is_recv for entry in self._open)

    def close(self) -> None:
        """No more letters: give up what is under way."""
        self._stop = True
        if self._thread is not None:
            self._thread.join()
        with self.lock:
            if self._listening is not None:
                self._listening.cancel()
                self._listening = None
            for entry in self._open:
                entry.request.cancel()
            self._open.clear()
