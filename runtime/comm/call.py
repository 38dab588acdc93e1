"""One collective call, from the arguments to a handle: checked, agreed on, run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ringleader.collectives import Program, Schedule, algorithms, build, lower, verify

SMALL = 32 << 10  # bytes up to which latency decides; measured nowhere yet, so only a rule of thumb
CHUNK = 256 << 10  # bytes of a chunk in a pipelined broadcast
VENDOR, AUTO = "vendor", "auto"


@dataclass(frozen=True)
class Call:
    """What a rank asks for, checked on that rank. ``schedule`` None: the vendor's own collective.

    ``count``: elements in a block. ``buffers``: contiguous, views of the user's arrays or copies.
    """

    collective: str
    schedule: Schedule | None
    signature: str
    op: str
    root: int
    count: int
    buffers: dict[str, NDArray[Any]]
    ufunc: np.ufunc | None
    finish: Callable[[], Any]  # brings the result home and returns it


def choose(collective: str, algorithm: str | Schedule, n: int, root: int, nbytes: int) -> Schedule | None:
    """The schedule to run. ValueError: unknown name, wrong rank count or root, or not proved."""
    if isinstance(algorithm, Schedule):
        return _fitting(algorithm, collective, n, root)
    if algorithm == VENDOR:
        return None
    if algorithm == AUTO:
        return _automatic(collective, n, root, nbytes)
    if algorithm not in algorithms(collective):
        known = [AUTO, *algorithms(collective), VENDOR]
        raise ValueError(f"unknown {collective} algorithm {algorithm!r}; known: {', '.join(known)}")
    schedule = build(collective, algorithm, n, root)
    _require_proof(schedule)
    return schedule


def _fitting(schedule: Schedule, collective: str, n: int, root: int) -> Schedule:
    if schedule.collective is None or schedule.collective.name != collective:
        what = schedule.collective.name if schedule.collective else "a fragment"
        raise ValueError(f"schedule {schedule.name!r} is {what}, not {collective}")
    if schedule.n != n:
        raise ValueError(f"schedule {schedule.name!r} is for {schedule.n} ranks, this communicator has {n}")
    if schedule.collective.rooted and schedule.root != root:
        raise ValueError(f"schedule {schedule.name!r} is for root {schedule.root}, the call says {root}")
    _require_proof(schedule)
    return schedule


def _automatic(collective: str, n: int, root: int, nbytes: int) -> Schedule:
    """By size alone: few rounds for small messages, few bytes for large ones."""
    if collective == "allreduce":
        return build(collective, "recursive-doubling" if nbytes <= SMALL or n == 1 else "ring", n)
    if collective == "broadcast":
        if nbytes <= SMALL:
            return build(collective, "binomial", n, root)
        return build(collective, "chain", n, root, chunks=min(max(2, nbytes // CHUNK), 64))
    return build(collective, algorithms(collective)[0], n, root)


@lru_cache(maxsize=64)
def _require_proof(schedule: Schedule) -> None:
    """Schedules are identified by identity, so each object is proved once."""
    verify(schedule).require()


@lru_cache(maxsize=64)
def program(schedule: Schedule, rank: int) -> Program:
    """This rank's program, lowered once per schedule object."""
    return lower(schedule, rank)


def usable(x: Any, name: str = "x") -> NDArray[Any]:
    """``x`` if it is an array that can be written. TypeError or ValueError says what to pass instead."""
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name} must be a numpy array (it is changed in place), not {type(x).__name__}")
    if not x.flags.writeable:
        raise ValueError(f"{name} is read-only; pass a writable array, or x.copy()")
    if x.dtype.hasobject:
        raise TypeError(f"{name} has dtype {x.dtype}: Python objects cannot be sent as memory")
    return x


def flat(x: NDArray[Any]) -> NDArray[Any]:
    """All elements of ``x`` in C order as a 1-d contiguous array: a view where possible, else a copy."""
    return np.ascontiguousarray(x).reshape(-1)


def bring_home(x: NDArray[Any], contents: NDArray[Any]) -> None:
    """Write flat ``contents`` back into ``x`` unless they are a view of it."""
    if not np.may_share_memory(x, contents):
        x[...] = contents.reshape(x.shape)
