"""Which schedule a collective call runs, and this rank's program of it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ringleader.collectives import Program, Schedule, algorithms, build, find, lower, verify
from ringleader.runtime.comm.chooser import Chooser, Chosen, untuned
from ringleader.runtime.comm.ops import Op
from ringleader.runtime.comm.transport import Sizes

VENDOR, AUTO = "vendor", "auto"
EMPTY = np.empty(0, np.uint8)  # what a call without an array passes on
ASKED = "asked for"


@dataclass(frozen=True)
class Call:
    """What a rank asks for, checked on that rank. ``schedule`` None: the vendor's own collective.

    ``signature``: what must be equal on all ranks; ``digest``: of it. ``buffers``: contiguous, views of the
    user's arrays or copies; ``finish(divided)`` brings the result home, divides it if it is a mean and has not
    been ``divided`` yet, and returns it. ``quick``: array, op and algorithm as given, if the next such call may
    be recognised by them.
    """

    collective: str
    schedule: Schedule | None
    signature: str
    digest: int
    op: Op | None
    root: int
    sizes: Sizes
    buffers: dict[str, NDArray[Any]]
    finish: Callable[[bool], Any]
    quick: tuple[Any, Any, Any] | None = None


def choose(
    collective: str, algorithm: str | Schedule, n: int, root: int, nbytes: int, op: Op | None = None,
    equal: bool = True, vendor: bool = False, chooser: Chooser | None = None,
) -> Chosen:  # fmt: skip
    """What to run, and why.

    ``equal``: all blocks are equally large. ``chooser``: what "auto" asks; ``vendor``: whether the vendor's own
    will do for it. ValueError: unknown name, wrong rank
    count or root, not proved, or not fit for an operation that does not commute or for unequal blocks.
    """
    ordered = op is not None and not op.commutes
    if isinstance(algorithm, Schedule):
        schedule = _fitting(algorithm, collective, n, root)
    elif algorithm == VENDOR:
        return Chosen(None, VENDOR, ASKED)
    elif algorithm == AUTO:
        return (chooser or Chooser(None, untuned))(collective, n, nbytes, root, ordered, equal, vendor)
    elif algorithm in algorithms(collective):
        schedule = build(collective, algorithm, n, root)
        if not find(collective, algorithm).built_in:
            _require_proof(schedule)
    else:
        known = [AUTO, *algorithms(collective), VENDOR]
        raise ValueError(f"unknown {collective} algorithm {algorithm!r}; known: {', '.join(known)}")
    if op is not None and ordered and not schedule.ordered:
        names = [name for name in algorithms(collective) if find(collective, name).ordered]
        raise ValueError(
            f"op {op.name!r} does not commute, and {schedule.name!r} does not keep rank order; "
            f"these do: {', '.join(names) or 'none'}"
        )
    if not equal and not schedule.keeps_blocks:
        names = [a for a in algorithms(collective) if build(collective, a, n, root).keeps_blocks]
        raise ValueError(f"{schedule.name!r} needs equal blocks; with counts= use one of: {', '.join(names)}")
    return Chosen(schedule, schedule.name, ASKED)


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


@lru_cache(maxsize=64)
def _require_proof(schedule: Schedule) -> None:
    """Schedules are identified by identity, so each object is proved once."""
    verify(schedule).require()


@lru_cache(maxsize=64)
def program(schedule: Schedule, rank: int) -> Program:
    """This rank's program, lowered once per schedule object."""
    return lower(schedule, rank)


@lru_cache(maxsize=1024)
def signature(
    what: str, agreed: str, op: str, root: int | None, schedule: Schedule | None
) -> tuple[str, int]:  # fmt: skip
    """What must be equal on all ranks, as the error message shows it, and its digest."""
    parts = [agreed, op, "" if root is None else f"root {root}"]
    parts.append("vendor" if schedule is None else f"{schedule.name}#{schedule.digest[:6]}")
    text = f"{what}({', '.join(p for p in parts if p)})"
    return text, zlib.crc32(text.encode())


def ufunc_of(op: Op | None) -> Callable[..., Any]:
    """What folds; sums where the collective only has to hear of everyone (a barrier)."""
    return np.add if op is None else op.ufunc
