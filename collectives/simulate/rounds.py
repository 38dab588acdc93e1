"""The round-synchronous model: alpha, beta, gamma, and contention on links.

A round begins when the last rank has finished the one before. In it

- all transfers of one group between the same two ranks are one message; it takes start-up + the latencies of the
  links on its way + the longest time that any of these links needs for all bytes that this round sends over it
  (bytes / bandwidth);
- start-up is ``overhead`` for every ``ports`` messages that its sender starts, or its receiver takes in, whoever
  has more: with one port they come one after the other, as in the alpha-beta-gamma model;
- a rank finishes when its last message is in, plus ``gamma`` seconds for each byte that it folds; copies on
  one rank are free;
- the round lasts until the last rank has finished. A rank is idle when it has finished, its own
  messages are delivered, and the round goes on.

A straggler's factor multiplies the start-up of all messages it sends or receives (the slower end decides) and its
folding. Jitter multiplies each message's time by 1 + jitter * E, with E exponential of mean 1.

Equal repetitions of a round are simulated once, so time depends on distinct steps, not on rounds. With jitter
every repetition is drawn anew: that costs rounds x messages. Memory grows with the messages of one round and
the hops of their routes (4 bytes each), never with slots.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ringleader.collectives.schedule import Schedule
from ringleader.collectives.simulate.network import Network
from ringleader.collectives.simulate.result import NOBODY, Recorder, RoundTime
from ringleader.collectives.simulate.steps import Messages, Moves, messages, steps
from ringleader.collectives.topology.base import Floats, Ints

Outcome = tuple[list[RoundTime], Floats]


class _Step(NamedTuple):
    """``seconds`` each message takes before jitter, and ``link`` it waits for; ``folder`` ranks fold for ``folding``
    seconds, which the messages wait for ``after`` they are in."""

    messages: Messages
    seconds: Floats
    link: Ints
    folder: Ints
    folding: Floats
    folded: Floats
    after: Floats


class Synchronous:
    """Rounds one after the other. Work arrays over links and ranks are wiped where a step has used them, so
    that a step costs only what it touches."""

    def __init__(
        self, network: Network, slow: Floats, *, overhead: float, ports: float, gamma: float, jitter: float,
        seed: int, recorder: Recorder,
    ) -> None:  # fmt: skip
        self.network, self.slow, self.recorder = network, slow, recorder
        self.overhead, self.ports, self.gamma, self.jitter = overhead, ports, gamma, jitter
        self.random = np.random.default_rng(seed)
        self.load = np.zeros_like(network.carried)
        self.folding, self.done, self.busy, self.count = (np.zeros(len(slow)) for _ in range(4))
        self.now, self.round = 0.0, 0

    def run(self, schedule: Schedule, slot_bytes: float) -> Outcome:
        """The rounds' times, and for how many seconds each rank was busy."""
        found: list[RoundTime] = []
        for r in schedule.rounds:
            for times, moves in steps(r):
                step = self._step(moves, slot_bytes, times)
                each = 1 if self.jitter or self.recorder.wanted else times
                for _ in range(times // each):
                    found.append(self._play(step, each))
        return found, self.busy

    def _step(self, moves: Moves, slot_bytes: float, times: int) -> _Step:
        m = messages(moves, len(self.slow), slot_bytes)
        parts = self.network.routes(m.src, m.dst)
        self.network.carry(parts, m.nbytes, self.load)
        self.network.carry(parts, m.nbytes * times, self.network.carried)
        self.load[-1] = 0.0
        worst, link = np.zeros(len(m.src)), np.full(len(m.src), NOBODY)
        for where, path in parts:
            if path.shape[1]:
                share = self.load[path] / self.network.bandwidth[path]
                slowest = share.argmax(axis=1)[:, None]
                worst[where] = np.take_along_axis(share, slowest, axis=1)[:, 0]
                link[where] = np.take_along_axis(path, slowest, axis=1)[:, 0]
        for _, path in parts:
            self.load[path] = 0.0
        start = self.overhead * self._turns(m) * np.maximum(self.slow[m.src], self.slow[m.dst])
        seconds = start + self.network.latencies(parts) + worst
        return _Step(m, seconds, link, *self._folds(moves, slot_bytes, m.dst))

    def _turns(self, m: Messages) -> Floats:
        """How many start-ups each message waits for, its own included."""
        most = np.zeros(len(m.src))
        for end in (m.src, m.dst):
            np.add.at(self.count, end, 1.0)
            most = np.maximum(most, self.count[end])
            self.count[end] = 0.0
        turns: Floats = np.maximum(np.ceil(most / self.ports), 1.0)
        return turns

    def _folds(self, moves: Moves, slot_bytes: float, receiver: Ints) -> tuple[Ints, Floats, Floats, Floats]:
        """Ranks that fold, for how long and how many bytes, and how long each message's receiver does."""
        folds = moves.folds > 0
        ranks, which = np.unique(moves.dst[folds], return_inverse=True)
        nbytes = np.bincount(which, moves.slots[folds], len(ranks)) * slot_bytes
        seconds = nbytes * self.gamma * self.slow[ranks]
        self.folding[ranks] = seconds
        after = self.folding[receiver]
        self.folding[ranks] = 0.0
        return ranks, seconds, nbytes, after

    def _play(self, step: _Step, times: int) -> RoundTime:
        """``times`` equal rounds (or one, with jitter of its own)."""
        m, taken = step.messages, step.seconds
        if self.jitter:
            taken = taken * (1 + self.jitter * self.random.exponential(size=len(taken)))
        end = taken + step.after
        self.done[step.folder] = step.folding
        np.maximum.at(self.done, m.dst, end)
        busy = np.concatenate([step.folder, m.src, m.dst])
        if self.recorder.wanted:
            self._record(step, taken)
        np.maximum.at(self.done, m.src, taken)
        seconds = float(self.done[busy].max(initial=0.0))
        if self.recorder.wanted:
            self.recorder.add(
                "wait", np.arange(len(self.done)), self.now + self.done, self.now + np.full(len(self.done), seconds),
                NOBODY, 0.0, self.round,
            )  # fmt: skip
        self.busy[busy] = (
            self.busy[busy] + times * self.done[busy]
        )  # a rank that stands there twice gets one sum
        self.done[busy] = 0.0
        self.now += times * seconds
        self.round += times
        last = int(end.argmax()) if len(end) else NOBODY
        return RoundTime(
            times, seconds, int(step.link[last]) if last >= 0 and end[last] == seconds else NOBODY
        )

    def _record(self, step: _Step, taken: Floats) -> None:
        """Messages and folds of this round; ``done`` holds when each rank has folded."""
        m, now = step.messages, self.now
        start = np.full(len(m.src), now)
        self.recorder.add("send", m.src, start, now + taken, m.dst, m.nbytes, self.round)
        self.recorder.add("recv", m.dst, start, now + taken, m.src, m.nbytes, self.round)
        end = now + self.done[step.folder]
        self.recorder.add("reduce", step.folder, end - step.folding, end, NOBODY, step.folded, self.round)
