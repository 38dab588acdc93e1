"""Tables that were measured on this machine: where they are kept, and which of them hold here."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path

import numpy as np
from ringleader.collectives.tuning import Key, Range, Table

# What a measurement depends on; the first two say for which communicators it is.
NAMES = ("transport", "layout", "host", "cpu", "ringleader", "numpy", "mpi")
Ranges = Mapping[Key, tuple[Range, ...]]
MOST_FILES = 256  # of one host that are looked at
MOST_NAME = 128  # characters


def folder() -> Path | None:
    """$XDG_CACHE_HOME/ringleader/tuning, ~/.cache/ringleader/tuning without; None: this user has no home."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        above = given if given.is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        return None
    return above / "ringleader" / "tuning"


def layout(nodes: Sequence[int]) -> str:
    """How many ranks run on which node, in rank order: "4@0", "2@0 2@1"."""
    return " ".join(f"{len(list(same))}@{node}" for node, same in groupby(nodes))


def machine(transport: str, nodes: Sequence[int]) -> dict[str, str]:
    """What a measurement made here, now, over that transport holds for."""
    try:
        ours = version("ringleader")
    except PackageNotFoundError:  # a checkout that was never installed
        ours = "unknown"
    values = (
        transport, layout(nodes), platform.node() or "unknown", _cpu(), ours, np.__version__, _mpi(transport)
    )  # fmt: skip
    return {name: " ".join(value.split())[:MOST_NAME] for name, value in zip(NAMES, values)}


def _cpu() -> str:
    """Not the cores that this process may use: launchers bind ranks in their own ways."""
    model = platform.processor() or platform.machine()
    with suppress(OSError):
        told = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        model = told[1] if told else model
    return f"{os.cpu_count()} x {model}"


def _mpi(transport: str) -> str:
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is None or transport == "threads":
        return "none"
    return str(mpi.Get_library_version()).split(",")[0].splitlines()[0]


def path(where: Path, of: Mapping[str, str]) -> Path:
    digest = hashlib.sha256(json.dumps([of[name] for name in NAMES]).encode()).hexdigest()[:16]
    return where / f"{_host(of)}-{digest}.json"


def _host(of: Mapping[str, str]) -> str:
    return re.sub("[^A-Za-z0-9.]", "_", of["host"])[:64]


def save(table: Table) -> Path:
    """Keep a measured table; of one that is there for the same communicators, what it has more is kept.

    Whole or not at all, whoever else writes. OSError: there is no place, or it cannot be written.
    """
    where = folder()
    if where is None:
        raise OSError("this user has no home folder; set XDG_CACHE_HOME, or save to a file with -o")
    where.mkdir(parents=True, exist_ok=True)
    target = path(where, table.machine)
    with suppress(OSError, ValueError):
        before = Table.load(target)
        if before.machine == table.machine:
            table = replace(table, ranges=_joined(before.ranges, table.ranges))
    handle, name = tempfile.mkstemp(dir=where, prefix=target.stem, suffix=".part")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(table.dumps())
        os.replace(name, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    return target


def _joined(before: Ranges, after: Ranges) -> dict[Key, tuple[Range, ...]]:
    """By key and size; ``after`` counts where both have one."""
    found = dict(before)
    for key, ranges in after.items():
        sizes = {r.start: r for r in (*before.get(key, ()), *ranges)}
        found[key] = tuple(sizes[start] for start in sorted(sizes))
    return found


def load(transport: str, nodes: Sequence[int]) -> tuple[dict[str, str], list[str]]:
    """For a world over ``transport`` and every communicator split from it: texts of tables by ``where``; and
    which files of this host are not used, and why. Never an error."""
    found: dict[str, str] = {}
    notes: list[str] = []
    if len(nodes) == 1:  # there is nothing to choose
        return found, notes
    here, place = machine(transport, nodes), folder()
    try:
        files = sorted(place.glob(f"{_host(here)}-*.json"))[:MOST_FILES] if place else []
    except OSError as problem:
        return {}, [f"{place} is not used: {problem}"]
    for file in files:
        try:
            table = Table.load(file)
            reason = _unfit(table, here, len(nodes))
        except (OSError, ValueError) as problem:
            notes.append(f"{file} is not used: {str(problem).removeprefix(f'{file}: ')}")
            continue
        if reason:
            notes.append(f"{file} is not used: {reason}")
        elif reason is None:
            found[where(table.machine["transport"], table.machine["layout"])] = table.dumps()
    return found, notes


def where(transport: str, of: str) -> str:
    """The communicators that a table is for."""
    return f"{transport} {of}"


def _unfit(table: Table, here: Mapping[str, str], most: int) -> str | None:
    """Why it does not hold here; "": it does, but for other communicators; None: it does."""
    told = table.machine
    if set(told) != set(NAMES):
        return "it does not say where it was measured"
    # ranks of one node of a world over shm+mpi share memory
    within = {here["transport"], "shm"} if here["transport"] == "shm+mpi" else {here["transport"]}
    if told["transport"] not in within or max((key.n for key in table.ranges), default=0) > most:
        return ""
    for name in NAMES[2:]:
        if told[name] != here[name]:
            return f"measured with {name} {told[name]}, here it is {here[name]}"
    return None
