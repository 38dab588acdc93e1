"""Counting a schedule on its compact form: rounds, and what the busiest rank sends and reduces."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ringleader.collectives.schedule import COPY, Ints, Schedule, Transfers


class Count(NamedTuple):
    """What a schedule costs, in slots of which a block has ``slots``.

    ``rounds``: in which something crosses ranks. ``sent``, ``reduced``: what the busiest rank sends to
    others and folds, in all rounds together. ``path_sent``, ``path_reduced``: the sum over rounds of the
    most that any rank sends or receives, and folds, in that round: the beta and gamma terms of Thakur,
    Rabenseifner and Gropp (2005), where a rank may send and receive at the same time. ``more_starts``: the
    sum over rounds of the most messages that any rank sends or receives, less one a round; 0 if no rank ever
    has several.
    """

    rounds: int
    sent: int
    reduced: int
    slots: int
    path_sent: int
    path_reduced: int
    more_starts: int = 0

    @property
    def starts(self) -> int:
        """Messages that must be started one after the other: the alpha term."""
        return self.rounds + self.more_starts


def count(schedule: Schedule) -> Count:
    """Count without unrolling a round whose repetitions all send the same amount.

    Local copies cost nothing here, and rounds of nothing else do not count as rounds.
    """
    n = schedule.n
    sent, reduced = np.zeros(n, np.int64), np.zeros(n, np.int64)
    rounds = path_sent = path_reduced = starts = 0
    for r in schedule.rounds:
        steady = all(g.wrap or g.shift == 0 for g in r.groups)
        for t in range(1 if steady else r.times):
            times = r.times if steady else 1
            out, into, folded, messages = _traffic(r.at(t), n)
            sent += out * times
            reduced += folded * times
            busiest = int(max(out.max(), into.max()))
            rounds += times * (busiest > 0)
            path_sent += times * busiest
            path_reduced += times * int(folded.max())
            starts += times * messages
    most = int(sent.max()), int(reduced.max())
    return Count(rounds, *most, schedule.slots, path_sent, path_reduced, starts - rounds)


def _traffic(groups: tuple[Transfers, ...], n: int) -> tuple[Ints, Ints, Ints, int]:
    """Slots that each rank sends, receives and folds in a round; and the most messages one sends, or receives."""
    out, into, folded, sends, receives = (np.zeros(n, np.int64) for _ in range(5))
    for g in groups:
        crossing = g.src != g.dst
        src, dst = g.src[crossing], g.dst[crossing]
        out += g.width * np.bincount(src, minlength=n)
        into += g.width * np.bincount(dst, minlength=n)
        folded += g.width * np.bincount(g.dst[g.order != COPY], minlength=n)
        ends = np.unique(src * n + dst)  # a message each
        sends += np.bincount(ends // n, minlength=n)
        receives += np.bincount(ends % n, minlength=n)
    return out, into, folded, int(max(sends.max(), receives.max()))
