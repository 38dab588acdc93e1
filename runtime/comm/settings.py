"""What rank 0 tells all ranks when their communicator is made: tuning tables, and what to log."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from ringleader.collectives.tuning import Table
from ringleader.runtime.comm import cache

TUNING_VARIABLE = "RINGLEADER_TUNING"  # a tuning table that "auto" asks, not the cache; or OFF: neither
OFF = "off"
LOG_VARIABLE = "RINGLEADER_LOG"
CHOICE = "choice"
WORDS = (CHOICE, "kernels")  # that RINGLEADER_LOG knows; the second is for csrc/cuda/versions.py


@dataclass(frozen=True)
class Settings:
    """``tables``: tuning tables as text, each for the communicators that ``cache.where`` tells, or for ANYWHERE.
    ``log``: what to log. ``error``: what is wrong with the environment or a file; every rank raises it."""

    tables: Mapping[str, str] = field(default_factory=dict)
    log: tuple[str, ...] = ()
    error: str = ""

    def require(self) -> Settings:
        """ValueError if something was wrong."""
        if self.error:
            raise ValueError(self.error)
        return self

    def table(self, transport: str, nodes: Sequence[int]) -> Table | None:
        """What "auto" asks on such a communicator; None: nothing was tuned for it."""
        text = self.tables.get(ANYWHERE) or self.tables.get(cache.where(transport, cache.layout(nodes)))
        return _parsed(text) if text else None


ANYWHERE = ""
NOTHING = Settings()
_parsed = lru_cache(maxsize=16)(Table.loads)


def read(transport: str, nodes: Sequence[int], environment: Mapping[str, str] = os.environ) -> Settings:
    """Rank 0's settings, for the others to be told."""
    words = tuple(filter(None, (word.strip() for word in environment.get(LOG_VARIABLE, "").split(","))))
    unknown = [word for word in words if word not in WORDS]
    if unknown:
        return Settings(
            error=f"{LOG_VARIABLE}={environment[LOG_VARIABLE]!r}: unknown word {unknown[0]!r}; known: {', '.join(WORDS)}"
        )
    given = environment.get(TUNING_VARIABLE, "")
    if given == OFF:
        return Settings(log=words)
    if given:
        text, error = read_table(given)
        return Settings({ANYWHERE: text}, words, error)
    tables, notes = cache.load(transport, nodes)
    if CHOICE in words:
        for note in notes:
            print(f"ringleader: {note}", file=sys.stderr, flush=True)
    return Settings(tables, words)


def read_table(path: str | Path | None) -> tuple[str, str]:
    """The table in that file as text, and what is wrong with it."""
    try:
        return ("" if path is None else Table.load(path).dumps()), ""
    except (ValueError, OSError) as problem:
        return "", str(problem)
