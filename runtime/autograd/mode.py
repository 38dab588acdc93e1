"""Whether operations are recorded, for each thread by itself: ranks may be threads."""

from __future__ import annotations

import threading
from contextlib import ContextDecorator


class _Mode(threading.local):
    recording = True


mode = _Mode()  # apply reads it at every call: a function would cost as much again


def is_grad_enabled() -> bool:
    return mode.recording


class _Switch(ContextDecorator):
    recording: bool

    def __init__(self) -> None:
        self.before: list[bool] = []  # a stack: a decorator's one instance may be entered again inside

    def __enter__(self) -> None:
        self.before.append(mode.recording)
        mode.recording = self.recording

    def __exit__(self, *_: object) -> None:
        mode.recording = self.before.pop()


class no_grad(_Switch):
    """``with no_grad():`` or ``@no_grad()``: this thread records nothing, results need no gradient."""

    recording = False


class enable_grad(_Switch):
    """``with enable_grad():`` or ``@enable_grad()``: recorded again, inside a no_grad."""

    recording = True
