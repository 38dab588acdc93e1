"""Send and receive of a process group: plain MPI messages, moved along by a thread of their own.

Apart from the collectives, because PyTorch lets any number of them be under way in any order: a receive must
not hold up the collective, or the send, that its message depends on.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ringleader.runtime.comm import ANY, CollectiveError, CollectiveTimeout, RankLost
from ringleader.runtime.comm.layout import bring_home, flat
from ringleader.torch.arrays import array_of
from ringleader.torch.work import Work

LARGEST = 2**31 - 1  # bytes of a message: MPI counts with 32 bits
SPIN, NAP = 2000, 5e-5  # looks at the open messages before sleeping between two; seconds of sleep
LOOK = 64  # ... before looking whether time is up or the peer has left


class Message(NamedTuple):
    """One message under way. ``peer``: group rank, or ANY; ``deadline``: on the monotonic clock; ``home``: what
    brings a received message into the user's tensor."""

    request: Any
    work: Work
    view: NDArray[np.uint8]
    peer: int
    deadline: float
    home: Callable[[], object] | None


class Mail:
    """Messages between the ranks of ``comm``, an mpi4py Intracomm.

    ``gone``: group ranks that have left. ``timeout``: seconds that a message may take.
    """

    def __init__(self, comm: Any, gone: Callable[[], set[int]], timeout: float) -> None:
        self._comm, self._gone, self._timeout = comm, gone, timeout
        self._open: list[Message] = []
        self._abandoned: list[Message] = []  # sends given up: MPI may still read their memory
        self._turn = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def send(self, tensor: torch.Tensor, dest: int, tag: int) -> Work:
        """Start sending; complete once the tensor may be changed again."""
        what = f"send to rank {dest} (tag {tag}) on rank {self._comm.rank}"
        view = self._bytes(flat(array_of(tensor)), what)
        return self._add(self._comm.Isend, Work(what, [tensor]), view, dest, tag, None)

    def recv(self, tensor: torch.Tensor, source: int, tag: int) -> Work:
        """Start receiving into ``tensor`` a message of exactly its size, from ``source`` or ANY."""
        who = "any rank" if source == ANY else f"rank {source}"
        what = f"recv from {who} (tag {tag}) on rank {self._comm.rank}"
        array = array_of(tensor)
        contents = flat(array)
        view = self._bytes(contents, what)
        return self._add(
            self._comm.Irecv, Work(what, [tensor]), view, source, tag, lambda: bring_home(array, contents)
        )

    def _bytes(self, contents: NDArray[Any], what: str) -> NDArray[np.uint8]:
        if contents.nbytes > LARGEST:
            raise ValueError(f"{what}: {contents.nbytes} bytes are too many for one message, send parts")
        return contents.view(np.uint8)

    def _add(
        self, start: Any, work: Work, view: NDArray[np.uint8], peer: int, tag: int, home: Any
    ) -> Work:  # fmt: skip
        from mpi4py import MPI

        with self._turn:
            if self._closed:
                raise RuntimeError(f"{work.what}: this process group has been destroyed")
            request = start([view, MPI.BYTE], MPI.ANY_SOURCE if peer == ANY else peer, tag)
            self._open.append(Message(request, work, view, peer, time.monotonic() + self._timeout, home))
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="messages", daemon=True)
                self._thread.start()
            self._turn.notify()
        return work

    def _serve(self) -> None:
        turn = 0
        while True:
            with self._turn:
                if not self._open:
                    turn = 0
                self._turn.wait_for(lambda: self._open or self._closed)
                if not self._open:
                    return
                messages = list(self._open)
            turn += 1
            finished = [m for m in messages if self._complete(m) or (turn % LOOK == 0 and self._hopeless(m))]
            if finished:
                turn = 0
                with self._turn:
                    self._open = [m for m in self._open if m not in finished]
            elif turn < SPIN:
                os.sched_yield()
            else:
                time.sleep(NAP)

    def _complete(self, message: Message) -> bool:
        from mpi4py import MPI

        status = MPI.Status()
        try:
            if not message.request.Test(status):
                return False
            if message.home is not None:
                self._check_size(message, status.Get_count(MPI.BYTE))
                message.work.source = status.source
                message.home()
        except MPI.Exception as error:
            longer = error.Get_error_class() == MPI.ERR_TRUNCATE
            text = (
                f"the message is longer than the tensor, {message.view.size} bytes" if longer else str(error)
            )
            message.work.finish(CollectiveError(f"{message.work.what}: {text}"))
        except Exception as error:
            message.work.finish(error)
        else:
            message.work.finish()
        return True

    def _check_size(self, message: Message, count: int) -> None:
        if count != message.view.size:
            raise CollectiveError(
                f"{message.work.what}: the message has {count} bytes, but the tensor {message.view.size}; "
                "pass the same shape and dtype on both ranks"
            )

    def _hopeless(self, message: Message) -> bool:
        """Give up a message that is late, or whose peer has left without it."""
        gone = self._gone()
        left = message.peer in gone or (message.peer == ANY and len(gone) >= self._comm.size - 1)
        late = time.monotonic() > message.deadline
        if not (left or late) or self._complete(message):  # which may have come just before
            return False
        if message.home is None:
            self._abandoned.append(message)
        else:
            message.request.Cancel()
            message.request.Wait()
        kind = RankLost if left else CollectiveTimeout
        text = "that rank has finished or failed" if left else f"no answer within {self._timeout:g} s"
        message.work.finish(kind(f"{message.work.what}: {text}"))
        return True

    def close(self) -> None:
        """Complete what has been started, then end."""
        with self._turn:
            self._closed = True
            self._turn.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
