"""Collectives under way: those of one communicator in the order of their calls, all of them kept moving.

Some collectives take two of the runtime's calls, sizes first. The runtime numbers its calls in the order in
which they start, which must be the same on all ranks. So a collective may start only when the one before it, on
the same communicator, has started its last call.

MPI promises that a non-blocking collective moves while its process is inside any MPI call. Ours move only when
asked to; so, while any is under way, calls that would block inside MPI poll instead (see ``until``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from mpi4py import MPI

from ringleader.runtime.comm import Communicator, Handle

SPIN, NAP = 2000, 5e-5  # turns before a waiting loop sleeps; seconds of sleep
WATCH = 64  # turns between two looks at what other ranks report


class Call(NamedTuple):
    """A collective ready to start: ``steps`` yields its ``calls`` runtime calls, functions that take ``async_op``,
    each when the one before is complete, and returns what the caller gets."""

    calls: int
    steps: Generator[Callable[..., Any], None, Any]


class Task:
    """A call under way. ``request``: what MPI knows of it, for a non-blocking one. ``error``: why it failed."""

    def __init__(self, call: Call, request: MPI.Grequest | None = None) -> None:
        self.steps, self.to_start, self.request = call.steps, call.calls, request
        self.handle: Handle | None = None
        self.done = False
        self.result: Any = None
        self.error: Exception | None = None

    def advance(self) -> None:
        """Go as far as possible without waiting."""
        while not self.done and (self.handle is None or self.handle.test()):
            try:
                self.handle = next(self.steps)(async_op=True)
                self.to_start -= 1
            except StopIteration as end:
                self.result = end.value
                self.complete()

    def complete(self, error: Exception | None = None) -> None:
        self.done, self.to_start, self.error = True, 0, error
        if self.request is not None:
            self.request.Complete()

    def require(self) -> Any:
        """The result, or raise what went wrong."""
        if self.error is not None:
            raise self.error
        return self.result


_busy: list[Queue] = []  # of this process, those with tasks


def under_way() -> bool:
    return bool(_busy)


class Queue:
    """The collectives of one communicator. ``world``: what they run on."""

    def __init__(self, world: Communicator) -> None:
        self.world = world
        self.tasks: list[Task] = []

    def run(self, call: Call) -> Any:
        """Start it and wait; returns its result."""
        if _busy:
            task = self._add(Task(call))
            until(lambda: task.done, self)
            return task.require()
        try:
            while True:
                next(call.steps)(async_op=False)
        except StopIteration as end:
            return end.value

    def start(self, call: Call) -> Task:
        """Start it, with a request of MPI's that completes when it does."""
        return self._add(Task(call, MPI.Grequest.Start()))

    def finish(self) -> None:
        """Wait for all that was started."""
        until(lambda: not self.tasks, self)

    def _add(self, task: Task) -> Task:
        self.tasks.append(task)
        if self not in _busy:
            _busy.append(self)
        self.advance()
        return task

    def advance(self) -> None:
        """Go as far as possible without waiting. If a task fails, so do those after it."""
        try:
            for task in self.tasks:
                task.advance()
                if task.to_start:
                    break
        except Exception as error:
            self._fail(error)
        self.tasks = [task for task in self.tasks if not task.done]
        if not self.tasks and self in _busy:
            _busy.remove(self)

    def watch(self, waited: float) -> None:
        """Fail if other ranks report something about the first task, or ``waited`` seconds are too long."""
        try:
            if self.tasks and self.tasks[0].handle is not None:
                self.tasks[0].handle.watch(waited)
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        for task in self.tasks:
            if not task.done:
                task.complete(error)


def advance() -> None:
    """Keep all collectives of this process moving."""
    for queue in list(_busy):
        queue.advance()


def until(ready: Callable[[], Any], awaited: Queue | None = None) -> None:
    """Return when ``ready()`` is true, keeping all collectives moving.

    ``awaited``: the queue that is waited for, so that its time limit counts; None: a wait inside MPI, which may
    take as long as it likes.
    """
    turn, start = 0, time.monotonic()
    while True:
        advance()
        if ready():
            return
        turn += 1
        if turn % WATCH == 0:
            for queue in list(_busy):
                queue.watch(time.monotonic() - start if queue is awaited else 0.0)
        if turn < SPIN:
            os.sched_yield()
        else:
            time.sleep(NAP)
