"""Counting a schedule on its compact form: rounds, and what the busiest rank sends and reduces."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ringleader.collectives.schedule import COPY, Round, Schedule, Transfers


class Count(NamedTuple):
    """``rounds``; and of one block's size, what the busiest rank ``sent`` to others and ``reduced``,
    in slots of which a block has ``slots``."""

    rounds: int
    sent: int
    reduced: int
    slots: int


def count(schedule: Schedule) -> Count:
    """Count without unrolling a round whose repetitions all send the same amount.

    Rounds in which nothing crosses ranks (local copies) do not count as rounds.
    """
    sent = np.zeros(schedule.n, np.int64)
    reduced = np.zeros(schedule.n, np.int64)
    rounds = 0
    for r in schedule.rounds:
        if _uniform(r):
            crossing = any(np.any(g.src != g.dst) for g in r.groups)
            rounds += r.times * crossing
            for g in r.groups:
                _add(g, r.times, sent, reduced)
        else:
            for t in range(r.times):
                groups = r.at(t)
                rounds += any(np.any(g.src != g.dst) for g in groups)
                for g in groups:
                    _add(g, 1, sent, reduced)
    return Count(rounds, int(sent.max()), int(reduced.max()), schedule.slots)


def _uniform(r: Round) -> bool:
    return r.times == 1 or all(g.wrap or g.shift == 0 for g in r.groups)


def _add(g: Transfers, times: int, sent: np.ndarray, reduced: np.ndarray) -> None:
    np.add.at(sent, g.src[g.src != g.dst], g.width * times)
    np.add.at(reduced, g.dst[g.order != COPY], g.width * times)
