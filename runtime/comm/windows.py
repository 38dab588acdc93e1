"""AllReduce of larger arrays through MPI's shared windows, with numpy: for ranks of one node without the engine.

It is the two-shot schedule, in its fold order, so with its bits, run on memory instead of messages: every rank
copies its array into its part of the window, folds its share of all parts in rank order, and copies the whole
result out. Arrays travel in pieces. In each *step* a rank copies piece i in, folds piece i - 1 and copies piece
i - 2 out, each in a buffer of its own, and then waits until all ranks have made that step: one wait a piece.

Ranks tell each other their steps in the window, not by MPI's barrier: so a waiting rank knows whom it waits for,
can give up, and sees a rank that calls something else. All else goes through MPI's messages (mpi.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray
from ringleader.collectives import build
from ringleader.collectives.tuning import Choice
from ringleader.runtime.comm.call import Call, ufunc_of
from ringleader.runtime.comm.mpi import Membership, MpiTransport
from ringleader.runtime.comm.transport import ANY, Channel, Request
from ringleader.runtime.comm.work import InFlight

# Bytes of an array for which the window beats messages (measured: docs/how-it-works.md).
LEAST, MOST = 16 << 10, 1 << 20
PIECE = 256 << 10  # bytes of a piece at most
BUFFERS = 3  # of a piece each: filled, folded, emptied
# A rank's line, in words of 8 bytes: steps made; the calls of its last even and its last odd step.
LINE, STEP, CALL = 64, 0, 1


class Window:
    """Memory of all ranks of ``comm``, which must share a node: a line and three buffers of each rank.

    It is made with the communicator: making it blocks in MPI, and later the ranks could be amid different calls.
    It goes when MPI ends: freeing waits for all ranks, which after an error may not come.
    """

    def __init__(self, comm: MPI.Intracomm) -> None:
        """Collective. MPI.Exception: there is no such memory."""
        self.memory = MPI.Win.Allocate_shared(LINE + BUFFERS * PIECE, 1, comm=comm)
        self.memory.Lock_all(MPI.MODE_NOCHECK)  # MPI_Win_sync wants an epoch
        memories: list[Any] = [self.memory.Shared_query(r)[0] for r in range(comm.size)]
        parts = [np.frombuffer(memory, np.uint8) for memory in memories]
        parts[comm.rank].fill(0)  # touched now, so that the next window sees what memory is left
        self.lines = [part[:LINE].data.cast("Q") for part in parts]
        self.buffers = [part[LINE:].reshape(BUFFERS, PIECE) for part in parts]
        self.steps = self.pieces = 0  # of all calls so far


class WindowWork(InFlight, Request):
    """An AllReduce under way, and the request that it waits for: all ranks' next step.

    ``array``: 1-d, contiguous, at least one element; changed in place.
    """

    is_recv = True
    tag = 0
    missing: list[int]

    def __init__(
        self, transport: WindowsTransport, window: Window, array: NDArray[Any], ufunc: Callable[..., Any],
        channel: Channel,
    ) -> None:  # fmt: skip
        self.transport, self.window, self.channel = transport, window, channel
        self.array, self.ufunc = array, ufunc
        self.count = -(-array.nbytes // (PIECE - PIECE % array.itemsize))  # pieces
        self.first, self.step, self.end = window.pieces, window.steps, window.steps + self.count + 1
        window.pieces, window.steps = window.pieces + self.count, self.end
        self.next = 0
        self.peer, self.missing = ANY, []

    def advance(self) -> Request | None:
        """Calls of a communicator go one after the other, since they use the same memory."""
        queue = self.transport.queue
        while self in queue and queue[0] is not self:
            if (blocked := queue[0].advance()) is not None:
                return blocked
        if self not in queue:
            return None
        while self.test():
            self._work(self.next)
            if self.step == self.end:
                queue.popleft()
                return None
            self.next, self.step = self.next + 1, self.step + 1
            self._announce()
        return self

    def _work(self, step: int) -> None:
        n, rank = self.transport.size, self.transport.rank
        if step < self.count:
            ours, value = self._piece(rank, step)
            share = _share(value.size, rank, n)
            ours[: share.start] = value[: share.start]
            ours[share.stop :] = value[share.stop :]
        if 0 < step <= self.count:
            ours, value = self._piece(rank, step - 1)
            share = _share(value.size, rank, n)
            self._fold([value if r == rank else self._piece(r, step - 1)[0] for r in range(n)], ours, share)
        if step > 1:
            for r in range(n):
                result, value = self._piece(r, step - 2)
                share = _share(value.size, r, n)
                value[share] = result[share]

    def _fold(self, operands: list[NDArray[Any]], result: NDArray[Any], share: slice) -> None:
        """In rank order."""
        value = operands[0][share]
        for operand in operands[1:]:
            value = self.ufunc(value, operand[share], out=result[share])

    def _piece(self, rank: int, i: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Piece i in the window, and in the array."""
        value = self.array[self.array.size * i // self.count : self.array.size * (i + 1) // self.count]
        place = self.window.buffers[rank][(self.first + i) % BUFFERS]
        return place[: value.nbytes].view(value.dtype), value

    # Steps

    def _announce(self) -> None:
        line = self.window.lines[self.transport.rank]
        line[CALL + self.step % 2] = _word(self.channel)
        self.window.memory.Sync()  # what was written is seen before the step is
        line[STEP] = self.step
        self.missing = [r for r in range(self.transport.size) if r != self.transport.rank]
        self.peer = self.missing[0]

    def test(self) -> bool:
        """Have all ranks made this step, in this call? One that has not cannot have overwritten its word, as it
        would have had to see our next step first."""
        lines, word, at = self.window.lines, _word(self.channel), CALL + self.step % 2
        came = [r for r in self.missing if lines[r][STEP] >= self.step]
        if came:
            self.window.memory.Sync()  # what was written before the step is seen from here on
            self.missing = [r for r in self.missing if r not in came or lines[r][at] != word]
            self.peer = self.missing[0] if self.missing else ANY
        return not self.missing

    def conflict(self) -> bool:
        return self.transport.conflict(self.channel, ANY)

    def cancel(self) -> None:
        """Nothing goes on when nobody advances it."""
        if self in self.transport.queue:
            self.transport.queue.remove(self)


def _share(size: int, rank: int, n: int) -> slice:
    return slice(size * rank // n, size * (rank + 1) // n)


def _word(channel: Channel) -> int:
    """A call in a word: its number, from 1 on, above; the digest of its signature below; 32 bits each."""
    return (channel.number + 1 & 0xFFFFFFFF) << 32 | channel.digest


class WindowsTransport(MpiTransport):
    """``window``: None where the ranks do not share memory; then all is as over MPI."""

    name = "windows"

    def __init__(self, comm: MPI.Intracomm, membership: Membership | None = None) -> None:
        super().__init__(comm, membership)
        self.window = self._window()
        self.queue: deque[WindowWork] = deque()
        if self.window is None:
            self.name = MpiTransport.name

    def _window(self) -> Window | None:
        if self.size == 1 or len(set(self.nodes)) > 1:
            return None
        try:
            window = Window(self.comm)
        except MPI.Exception:
            window = None
        return window if all(self.comm.allgather(window is not None)) else None

    def work_for(self, call: Call, number: int) -> InFlight | None:
        array = call.buffers["output"]
        if self.window is None or call.collective != "allreduce" or not LEAST <= array.nbytes <= MOST:
            return None
        if call.schedule is None or call.schedule.digest != _two_shot(self.size):
            return None
        work = WindowWork(self, self.window, array, ufunc_of(call.op), Channel(number, call.digest))
        self.queue.append(work)
        return work

    def untuned(
        self, collective: str, n: int, nbytes: int, ordered: bool, equal: bool, vendor: bool
    ) -> Choice:  # fmt: skip
        if self.window is not None and collective == "allreduce" and LEAST <= nbytes <= MOST:
            return Choice("two-shot")
        return super().untuned(collective, n, nbytes, ordered, equal, vendor)

    def conflict(self, channel: Channel, peer: int) -> bool:
        """Somebody may also have shown this call in the window, but another signature of it."""
        if super().conflict(channel, peer):
            return True
        if self.window is None or channel.number < 0:
            return False
        mine = _word(channel)
        shown = [word for line in self.window.lines for word in line[CALL : CALL + 2].tolist()]
        return any(word >> 32 == mine >> 32 and word != mine for word in shown)

    def over(self, comm: MPI.Intracomm) -> MpiTransport:
        return WindowsTransport(comm, self.membership)


@lru_cache(maxsize=16)
def _two_shot(n: int) -> str:
    return build("allreduce", "two-shot", n).digest
