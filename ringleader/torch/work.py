"""Calls under way: what ``async_op=True`` returns, and the thread that carries them out."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from ringleader.runtime.comm import CollectiveTimeout

NO_LIMIT = timedelta(0)  # what PyTorch's C++ side passes for "as long as it takes"


class Work(dist.Work):
    """One call of a process group. ``what`` names it in messages; ``result``: the tensors that it fills."""

    def __init__(self, what: str, result: list[torch.Tensor]) -> None:
        super().__init__()
        self.what, self._result = what, result
        self.source = -1  # group rank that sent what a receive got
        self._done = threading.Event()
        self._error: BaseException | None = None
        self._trigger: Any = None  # torch futures, made when asked for
        self._future: Any = None
        self._lock = threading.Lock()

    def finish(self, error: BaseException | None = None) -> None:
        """It is complete, or has failed: wakes who waits, completes the future."""
        self._error = error
        with self._lock:
            self._done.set()
            trigger = self._trigger
        if trigger is not None:
            trigger.set_result(None)  # runs the callbacks, which may wait for other calls

    def wait(self, timeout: timedelta | None = NO_LIMIT) -> bool:
        """Block until it is complete; True. Raises what the call raised, or CollectiveTimeout (a RuntimeError)
        if it is still under way after ``timeout``; the group's own time limit holds in any case."""
        seconds = timeout.total_seconds() if timeout else None
        if not self._done.wait(seconds):
            raise CollectiveTimeout(f"{self.what}: still under way after {seconds:g} s")
        if self._error is not None:
            raise self._error
        return True

    def is_completed(self) -> bool:
        return self._done.is_set()

    def is_success(self) -> bool:
        return self._done.is_set() and self._error is None

    def exception(self) -> BaseException | None:
        return self._error

    def result(self) -> list[torch.Tensor]:
        return self._result

    def synchronize(self) -> None:
        self.wait()

    def source_rank(self) -> int:
        return self.source

    def _source_rank(self) -> int:  # what dist.recv calls
        return self.source

    def get_future(self) -> Any:
        """A torch.futures.Future of the list of tensors."""
        with self._lock:
            if self._trigger is None:
                # The exception of Future.set_exception is seen by Python alone, that of a callback by the C++ side
                # (DDP's reducer) too. So one future triggers, and the one behind its callback is handed out.
                self._trigger = torch.futures.Future()
                self._future = self._trigger.then(self._outcome)
                if self._done.is_set():
                    self._trigger.set_result(None)
            return self._future

    def _outcome(self, _: Any) -> list[torch.Tensor]:
        if self._error is not None:
            raise RuntimeError(str(self._error))
        return self._result


class Lane:
    """Carries out a group's collectives one after the other, in the order of the calls.

    A Communicator belongs to one thread at a time and its calls must come in the same order on all ranks; so a
    call either runs in the caller's own thread (when it is to be waited for anyway and nothing else is under
    way), or on a thread of the lane. One lane thread at least is always idle, for the callback of a future runs
    on the thread that completed it, and may itself wait for a call of this group.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: deque[tuple[Work, Callable[[], object]]] = deque()
        self._turn = threading.Condition()
        self._busy = self._closed = False
        self._threads: list[threading.Thread] = []
        self._idle = 0

    def submit(self, work: Work, job: Callable[[], object], here: bool) -> None:
        """Run ``job`` after all earlier ones. ``here``: the caller waits anyway, so rather in its own thread.

        RuntimeError: the group has been destroyed.
        """
        with self._turn:
            if self._closed:
                raise RuntimeError(f"{work.what}: this process group has been destroyed")
            here = here and not self._busy and not self._jobs
            if here:
                self._busy = True
            else:
                self._jobs.append((work, job))
                self._keep_one_idle()
                self._turn.notify()
        if here:
            self._carry_out(work, job)

    def _keep_one_idle(self) -> None:
        if self._idle == 0:
            self._idle = 1  # counted from now on, so that nobody starts another meanwhile
            thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: not self._busy and (self._jobs or self._closed))
                self._idle -= 1
                if not self._jobs:
                    return
                work, job = self._jobs.popleft()
                self._busy = True
                self._keep_one_idle()
            self._carry_out(work, job)
            del work, job  # tensors must not live on until the next call
            with self._turn:
                self._idle += 1

    def _carry_out(self, work: Work, job: Callable[[], object]) -> None:
        error: BaseException | None = None
        try:
            job()
        except Exception as raised:
            error = raised
        except BaseException as interrupt:  # Ctrl-C, in the caller's thread
            error = interrupt
            raise
        finally:
            with self._turn:
                self._busy = False
                self._turn.notify_all() if self._closed else self._turn.notify()
            work.finish(error)

    def close(self) -> None:
        """Complete what has been started, then end. The communicator's time limit bounds the wait."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
