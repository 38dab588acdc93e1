"""What "auto" means on one communicator, and the line that tells of a choice."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from ringleader.collectives import Schedule, tuning
from ringleader.collectives.topology.units import seconds_text
from ringleader.collectives.tuning import VENDOR, Choice, Found, Model, Table

Untuned = Callable[..., Choice]  # (collective, n, nbytes, ordered, equal, vendor): where nothing was tuned
# What a message, a byte moved and a byte folded cost where nothing has been tuned: this runtime starts a
# message from Python, which takes longer than the network does.
UNTUNED = Model(alpha=30e-6, beta=1 / 3e9, gamma=1 / 5e9)
REMEMBERED = 1024  # choices; the oldest is forgotten


def untuned(collective: str, n: int, nbytes: int, ordered: bool, equal: bool, vendor: bool = False) -> Choice:
    """What "auto" asks where nothing has been tuned, for messages that Python sends."""
    return tuning.choose(collective, n, nbytes, UNTUNED, ordered, equal, vendor)


class Chosen(NamedTuple):
    """``schedule`` None: the vendor's own. ``shown`` and ``reason`` are for people."""

    schedule: Schedule | None
    shown: str
    reason: str


class Chooser:
    """A pure function of what all ranks share: every rank that asks the same gets the same answer."""

    def __init__(self, table: Table | None, untuned: Untuned) -> None:
        self.table, self.untuned = table, untuned
        self.known: dict[tuple[Any, ...], Chosen] = {}

    def __call__(
        self, collective: str, n: int, nbytes: int, root: int = 0, ordered: bool = False, equal: bool = True,
        vendor: bool = False,
    ) -> Chosen:  # fmt: skip
        """``ordered``, ``equal``: see ``tuning.choose``. ``vendor``: its own collective can do this call.
        ValueError if nothing fits."""
        key = collective, n, nbytes, root, ordered, equal, vendor
        chosen = self.known.get(key)
        if chosen is None:
            if len(self.known) >= REMEMBERED:
                del self.known[next(iter(self.known))]
            chosen = self.known[key] = self._choose(*key)
        return chosen

    def _choose(
        self, collective: str, n: int, nbytes: int, root: int, ordered: bool, equal: bool, vendor: bool
    ) -> Chosen:
        found = self.table.find(collective, n, nbytes, ordered, root, equal, vendor) if self.table else None
        if found:
            choice, reason = found.chosen.choice, _measured(found, nbytes)
        else:
            choice = self.untuned(collective, n, nbytes, ordered, equal, vendor)
            reason = "which no model can price" if choice == VENDOR else "by model"
        schedule = None if choice == VENDOR else choice.build(collective, n, root)
        return Chosen(schedule, str(choice), reason)


def _measured(found: Found, nbytes: int) -> str:
    """What it took, beside the vendor's own; or the next best, if it is the vendor's."""
    chosen, of = found
    if chosen.seconds is None:
        return "by the table"
    at = "" if of.start == nbytes else f" at {of.start} bytes"
    vendors = chosen.choice == VENDOR
    other = next((t for t in of.ranking if (t.choice == VENDOR) != vendors and t.seconds is not None), None)
    beside = f" ({other.choice} {_time(other.seconds)})" if other and other.seconds is not None else ""
    return f"measured {_time(chosen.seconds)}{at}{beside}"


def _time(seconds: float) -> str:
    return seconds_text(float(f"{seconds:.2g}"))


class Log:
    """Prints each choice once."""

    def __init__(self, communicator: str) -> None:
        self.where = "" if communicator == "world" else f" of {communicator}"
        self.seen: set[str] = set()

    def __call__(self, what: str, nbytes: int | None, kind: list[str], n: int, chosen: Chosen) -> None:
        """``nbytes`` None: nothing is moved. ``kind``: dtype, op and the like."""
        size = "" if nbytes is None else f" of {nbytes} bytes ({', '.join(kind)})"
        line = f"ringleader: {what}{size} on {n} ranks{self.where}: {chosen.shown}, {chosen.reason}"
        if line not in self.seen:
            self.seen.add(line)
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
