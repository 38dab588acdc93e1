"""Which schedule a collective call runs, and this rank's program of it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ringleader.collectives import Program, Schedule, algorithms, build, find, lower, tuning, verify
from ringleader.collectives.tuning import Choice, Model, Table
from ringleader.runtime.comm.ops import Op
from ringleader.runtime.comm.transport import Sizes

# What a message, a byte moved and a byte folded cost where nothing has been tuned: this runtime starts a
# message from Python, which takes longer than the network does.
UNTUNED = Model(alpha=30e-6, beta=1 / 3e9, gamma=1 / 5e9)
Chooser = Callable[..., Choice]  # (collective, n, nbytes, ordered=..., equal=...)
VENDOR, AUTO = "vendor", "auto"


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
    quick: tuple[Any, ...] | None = None


def choose(
    collective: str, algorithm: str | Schedule, n: int, root: int, nbytes: int, op: Op | None = None,
    equal: bool = True, chooser: Chooser | None = None,
) -> Schedule | None:  # fmt: skip
    """The schedule to run; None: the vendor's own.

    ``equal``: all blocks are equally large. ``chooser``: what "auto" asks. ValueError: unknown name, wrong rank
    count or root, not proved, or not fit for an operation that does not commute or for unequal blocks.
    """
    ordered = op is not None and not op.commutes
    if isinstance(algorithm, Schedule):
        schedule = _fitting(algorithm, collective, n, root)
    elif algorithm == VENDOR:
        return None
    elif algorithm == AUTO:
        schedule = (chooser or untuned)(collective, n, nbytes, ordered=ordered, equal=equal).build(
            collective, n, root
        )
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


def untuned(collective: str, n: int, nbytes: int, ordered: bool, equal: bool) -> Choice:
    """What "auto" asks where nothing has been tuned, for messages that Python sends."""
    return tuning.choose(collective, n, nbytes, UNTUNED, ordered, equal)


def read_tuning(path: str | Path | None) -> tuple[str, str]:
    """What rank 0 tells the others: the table in that file as text, and what is wrong with it."""
    try:
        return ("" if path is None else Table.load(path).dumps()), ""
    except (ValueError, OSError) as problem:
        return "", str(problem)


def to_table(text: str, error: str) -> Table | None:
    """What ``read_tuning`` told, as every rank understands it. ValueError if something was wrong."""
    if error:
        raise ValueError(error)
    return Table.loads(text) if text else None


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
