"""Running the programs of all ranks in one thread, over the threads transport, with seeded delays.

Every message starts late by a seeded number of passes and says late that it is complete; ranks take turns in
seeded order, and sometimes miss theirs. A send completes when it is received (rendezvous) or at once
(eager). A whole run of passes in which nothing moves although nothing is delayed any more is a deadlock: no
clock is asked.
"""

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from ringleader.collectives import Program
from ringleader.runtime.comm.threads import Hub, ThreadsTransport
from ringleader.runtime.comm.transport import Bytes, Channel, Request
from ringleader.runtime.comm.work import Span, Step, Work, place

LONGEST = 3  # passes that a message may be late
CHANNEL = Channel(0, 0)


class Hold(NamedTuple):
    """Keep back instruction ``number`` of ``rank`` as long as the program allows. A message: until nothing
    else moves, its start or its completion. A copy or a reduction: until an instruction needs it, as if it
    ran on a stream of its own."""

    rank: int
    number: int
    start: bool = False


class Outcome(NamedTuple):
    """``end``: done, deadlock, left over (a message that nobody received) or error (``why``). ``raced``: an
    instruction started that touches cells of one still under way."""

    end: str
    why: str = ""
    raced: bool = False


class Late(Request):
    """A message that starts when the network lets it, and is not known to be complete before ``says``."""

    def __init__(self, network: "Network", post: Callable[[], Request], peer: int, is_recv: bool) -> None:
        self.network, self.post, self.peer, self.is_recv = network, post, peer, is_recv
        self.inner: Request | None = None
        self.starts = network.when()
        self.says = network.when()
        self.tag = 0

    def test(self) -> bool:
        arrived = self.inner is not None and self.inner.test()
        buffered = self.network.eager and not self.is_recv
        return (arrived or buffered) and self.network.time >= self.says

    def cancel(self) -> None:
        if self.inner is not None:
            self.inner.cancel()


class Network:
    """Time, in passes, and the messages that have not started yet, in order for each pair of ranks."""

    def __init__(self, n: int, rng: random.Random, eager: bool, hold: Hold | None) -> None:
        self.hub = Hub(n)
        self.rng, self.eager, self.hold = rng, eager, hold
        self.time = 0
        self.waiting: dict[tuple[bool, int, int], deque[Late]] = {}
        self.held: Late | None = None

    def when(self) -> int:
        """Now, half of the time."""
        return self.time + max(0, self.rng.randrange(-LONGEST, LONGEST + 1))

    def add(self, rank: int, number: int, late: Late) -> Late:
        """Message ``late`` is instruction ``number`` of ``rank``."""
        if self.hold is not None and (rank, number) == self.hold[:2]:
            self.held = late
            if self.hold.start:
                late.starts = NEVER
            else:
                late.says = NEVER
        ends = (late.is_recv, late.peer, rank) if late.is_recv else (late.is_recv, rank, late.peer)
        self.waiting.setdefault(ends, deque()).append(late)
        return late

    def tick(self) -> None:
        self.time += 1
        for queue in self.waiting.values():
            while queue and queue[0].starts <= self.time:
                late = queue.popleft()
                late.inner = late.post()

    def release(self) -> bool:
        """Nothing else moves: let go of what is held. False if there is nothing."""
        late, self.held = self.held, None
        if late is not None:
            late.starts = min(late.starts, self.time)
            late.says = min(late.says, self.time)
        return late is not None

    def left_over(self) -> bool:
        return any(self.hub.sends.values()) or any(self.waiting.values())


NEVER = 1 << 60


class LateTransport(ThreadsTransport):
    """The threads transport, each of whose messages the network delays."""

    def __init__(self, network: Network, rank: int) -> None:
        super().__init__(network.hub, None, list(range(network.hub.size)), rank)
        self.network = network
        self.number = 0  # of the instruction that is being started

    def _isend(self, view: Bytes, peer: int, channel: Channel) -> Request:
        sent = view.copy() if self.network.eager else view
        return self._late(super()._isend, sent, peer, channel, is_recv=False)

    def _irecv(self, view: Bytes, peer: int, channel: Channel) -> Request:
        return self._late(super()._irecv, view, peer, channel, is_recv=True)

    def _late(
        self, post: Callable[..., Request], view: Bytes, peer: int, channel: Channel, is_recv: bool
    ) -> Request:
        if not 0 <= peer < self.size:
            raise IndexError(f"there is no rank {peer}")
        late = Late(self.network, lambda: post(view, peer, channel), peer, is_recv)
        return self.network.add(self.rank, self.number, late)


class Watched(Work):
    """A Work that notices when it touches cells of what is still under way, and can keep back one copy or
    reduction (``held``, an instruction's number)."""

    def __init__(self, network: Network, program: Program, size: int, given: dict[str, np.ndarray],
                 ufunc: Callable[..., Any]) -> None:  # fmt: skip
        self.late_transport = LateTransport(network, program.rank)
        super().__init__(self.late_transport, place(program, size, literally=True), given, ufunc, CHANNEL)
        hold = network.hold
        self.held = hold.number if hold is not None and hold.rank == program.rank else None
        self.needing = _waiting_for(program, self.held)
        self.kept: Step | None = None
        self.raced = False

    def advance(self) -> Request | None:
        blocked = super().advance()
        if self.next == len(self.placed.steps):
            self._catch_up()
        return blocked

    def _start(self, step: Step) -> None:
        if self.next in self.needing:
            self._catch_up()
        used = [self.placed.steps[number] for number in self.open if self._under_way(number)]
        for other in [*used, *([self.kept] if self.kept else [])]:
            if _touch(step.dst, other.src + other.dst) or _touch(step.src, other.dst):
                self.raced = True
        if self.next == self.held and step.kind in ("copy", "reduce"):
            self.kept = step
            return
        self.late_transport.number = self.next
        super()._start(step)

    def _view(self, span: Span) -> np.ndarray:
        """No reaching outside a buffer, where numpy would count from its end."""
        name, start, stop = span
        if not 0 <= start <= stop <= len(self.buffers[name]):
            raise IndexError(f"elements {start} to {stop} leave {name} of {len(self.buffers[name])}")
        return super()._view(span)

    def _catch_up(self) -> None:
        step, self.kept = self.kept, None
        if step is not None:
            super()._start(step)

    def _under_way(self, number: int) -> bool:
        """Does the message still read or write its cells? One in several parts is unpacked last of all."""
        request, packed = self.open[number]
        return packed is not None or not request.test()


def _waiting_for(program: Program, held: int | None) -> set[int]:
    """The instructions that start only after ``held`` is complete."""
    needing: set[int] = set()
    for number, i in enumerate(program.instructions):
        if held in i.after or needing.intersection(i.after):
            needing.add(number)
    return needing


def _touch(written: tuple[Span, ...], used: tuple[Span, ...]) -> bool:
    return any(a == b and i < m and k < j for a, i, j in written for b, k, m in used)


def run(
    programs: Sequence[Program], buffers: Sequence[dict[str, np.ndarray]], ufunc: Callable[..., Any],
    size: int, rng: random.Random, eager: bool, hold: Hold | None = None,
) -> Outcome:  # fmt: skip
    """All ranks' programs on their buffers, whose blocks have ``size`` elements. Scratch and stage start as
    random words."""
    network = Network(len(programs), rng, eager, hold)
    works: list[Watched] = []
    try:
        for program, given in zip(programs, buffers):
            work = Watched(network, program, size, given, ufunc)
            for room in ("scratch", "stage"):
                work.buffers[room].view(np.uint8)[:] = bytearray(rng.randbytes(work.buffers[room].nbytes))
            works.append(work)
        end = _drive(network, works)
    except (RuntimeError, ValueError, IndexError) as error:
        return Outcome("error", str(error))
    return Outcome(end, raced=any(work.raced for work in works))


def _position(works: list[Watched]) -> tuple[int, int]:
    return sum(w.next for w in works), sum(len(w.open) for w in works)


def _drive(network: Network, works: list[Watched]) -> str:
    unfinished = list(works)
    still = 0  # passes without a movement
    while unfinished:
        before = _position(works)
        network.rng.shuffle(unfinished)
        for work in list(unfinished):
            misses = still == 0 and network.rng.random() < 0.2
            if not misses and work.advance() is None:
                unfinished.remove(work)
        network.tick()
        still = 0 if before != _position(works) else still + 1
        if still > LONGEST + 2:
            if not network.release():
                return "deadlock"
            still = 0
    for _ in range(LONGEST + 1):
        network.tick()
    return "left over" if network.left_over() else "done"
