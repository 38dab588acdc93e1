"""One server, a few workers, and letters, payloads and answers in any order that a transport may bring them in.

Push k of worker i adds 1 to element (i, k) of the only tensor: values tell which pushes are in them, and how often.
"""

from collections import deque
from math import inf
from typing import NamedTuple

import numpy as np
import pytest
from helpers.leader import server_at_desk, settings
from hypothesis import HealthCheck
from hypothesis import settings as effort
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from ringleader.runtime.comm.leader import server as server_module
from ringleader.runtime.comm.leader.kinds import Kind
from ringleader.runtime.comm.leader.post import Letter

PUSHES = 40  # of a worker, at most
WORKERS = 4


class Pull(NamedTuple):
    worker: int
    clock: int  # its iteration; the next one, if it has pushed in this
    own: int  # pushes of the worker before it


class AnyOrder(RuleBasedStateMachine):
    """``mode``, ``staleness``: fixed by the subclasses."""

    mode = "bsp"
    staleness = None
    credit = server_module.CREDIT

    @initialize(workers=st.integers(1, WORKERS))
    def start(self, workers):
        self.workers = range(workers)
        self.living = set(self.workers)
        self.bulk = self.mode == "bsp" or self.staleness == 0
        self.s = {"bsp": 0, "ssp": self.staleness, "asp": inf}[self.mode]
        w = np.zeros((workers, PUSHES), np.int64)
        server_module.CREDIT = w.nbytes * 3 // 2  # answers wait for each other
        self.server, self.desk = server_at_desk(settings(workers, self.mode, self.staleness), {"w": w})
        self.desk.there = self.gradient
        self.way = {i: deque() for i in self.workers}  # letters that have not come yet
        self.iteration = dict.fromkeys(self.workers, 0)
        self.pushes = {i: [] for i in self.workers}  # iteration of each
        self.pulls, self.pushed, self.token = {}, {}, 0  # not yet answered, by token
        self.numbers = {}  # of all pushes: worker, and how many it made before
        self.leaving = []  # answers, with what they must be when they have gone

    def teardown(self):
        """All go on until nothing is missing."""
        server_module.CREDIT = self.credit
        if not hasattr(self, "server"):
            return
        end = max(self.iteration.values()) + 1
        for worker in self.living:
            while self.iteration[worker] < end:
                self.clock(worker)
        while any(self.way[i] for i in self.living) or self.desk.wanted or self.leaving or self.server._early:
            for worker in self.living:
                self.deliver(worker)
            self.nothing_comes()
            if self.desk.wanted:
                self.arrive(0)
            self.answers_are_right()
            if self.leaving:
                self.leave(0)
                self.answers_are_right()
        assert not self.pulls, "a pull was never answered"
        assert not self.pushed, "a push was never acknowledged"
        (stored,) = self.server.stored.values()
        for worker in self.workers:
            count = len(self.pushes[worker])
            assert np.all(stored.slot.w[worker, count:] == 0)
            if worker in self.living:
                assert np.all(stored.slot.w[worker, :count] == 1), "each push is applied exactly once"
        assert not stored._readers or self.living != set(self.workers), "values are lent for ever"

    def _write(self, worker, kind, clock, nbytes=-1, free=False):
        self.token += 1
        letter = Letter(
            kind, 0, clock, self.token, value=float("nan"), free=free, nbytes=nbytes, sender=worker
        )
        self.way[worker].append(letter)
        return letter

    # What workers do

    def _any_living(self, number):
        return sorted(self.living)[number % len(self.living)]

    @rule(
        worker=st.integers(0, WORKERS - 1),
        kind=st.sampled_from((Kind.PUSH, Kind.PUSH_PULL)),
        free=st.booleans(),
    )
    def push(self, worker, kind, free):
        worker = self._any_living(worker)
        iteration, mine = self.iteration[worker], self.pushes[worker]
        if len(mine) == PUSHES or (self.bulk and mine and mine[-1] == iteration):
            return
        free = free and kind == Kind.PUSH_PULL
        letter = self._write(worker, kind, iteration, 8 * PUSHES * len(self.workers), free)
        if not free:
            self.pushed[letter.token] = worker, len(mine)
        self.numbers[letter.token] = worker, len(mine)
        mine.append(iteration)
        if kind == Kind.PUSH_PULL:
            self.pulls[letter.token] = Pull(worker, iteration + 1, len(mine))

    def gradient(self, letter):
        worker, k = self.numbers[letter.token]
        unit = np.zeros((len(self.workers), PUSHES), np.int64)
        unit[worker, k] = 1
        return unit

    @rule(worker=st.integers(0, WORKERS - 1))
    def pull(self, worker):
        worker = self._any_living(worker)
        mine = self.pushes[worker]
        clock = max(self.iteration[worker], mine[-1] + 1 if mine else 0)
        letter = self._write(worker, Kind.PULL, clock)
        self.pulls[letter.token] = Pull(worker, clock, len(mine))

    @rule(worker=st.integers(0, WORKERS - 1))
    def next_iteration(self, worker):
        self.clock(self._any_living(worker))

    def clock(self, worker):
        self.iteration[worker] += 1
        self._write(worker, Kind.CLOCK, self.iteration[worker])

    @precondition(lambda self: len(self.living) > 1)
    @rule(worker=st.integers(0, 20 * WORKERS))
    def die(self, worker):
        if worker not in self.living:
            return
        self.living.remove(worker)
        self.desk.wanted = [wanted for wanted in self.desk.wanted if wanted.letter.sender != worker]
        self.leaving = [entry for entry in self.leaving if entry[0].peer != worker]
        self.pulls = {token: pull for token, pull in self.pulls.items() if pull.worker != worker}
        self.pushed = {token: push for token, push in self.pushed.items() if push[0] != worker}
        self.server.drop(worker)

    # What the network does

    @rule(worker=st.integers(0, WORKERS - 1), there=st.booleans())
    def deliver(self, worker, there=False):
        """Letters of one worker stay in order; those of the dead come late. ``there``: payloads lie where the server can
        read them."""
        if self.way.get(worker):
            letter = self.way[worker].popleft()._replace(readable=there)
            before = len(self.desk.discarded)
            self.server.handle(letter)
            assert (len(self.desk.discarded) > before) == (worker not in self.living)

    @rule(there=st.lists(st.booleans(), min_size=WORKERS, max_size=WORKERS))
    def all_come(self, there):
        """At once."""
        for worker in self.workers:
            while self.way[worker]:
                self.deliver(worker, there[worker])

    @rule(kind=st.sampled_from((Kind.PUSH, Kind.PUSH_PULL)), free=st.booleans())
    def all_push(self, kind, free):
        for number in range(len(self.living)):
            self.push(number, kind, free)
        for worker in self.living:
            self.clock(worker)

    @rule()
    def nothing_comes(self):
        self.desk.idle()

    @precondition(lambda self: self.desk.wanted)
    @rule(number=st.integers(0, 50))
    def arrive(self, number):
        """A payload is here."""
        wanted = self.desk.wanted[number % len(self.desk.wanted)]
        self.desk.comes(wanted, self.gradient(wanted.letter))

    @precondition(lambda self: self.leaving)
    @rule(number=st.integers(0, 50))
    def leave(self, number):
        """An answer has gone: until now its values must have stayed as they were."""
        sent, values = self.leaving.pop(number % len(self.leaving))
        assert np.array_equal(sent.payload, values), "updated on its way"
        sent.done()

    # What must hold

    @invariant()
    def answers_are_right(self):
        for sent in self.desk.take_sent() if hasattr(self, "desk") else ():
            if sent.peer not in self.living:
                continue
            token = sent.letter.token
            if sent.payload is None:
                del self.pushed[token]
                assert (sent.letter.kind == Kind.TAKEN) == (token in self.pulls), (
                    "of a PUSH_PULL, the values follow"
                )
                continue
            self.pushed.pop(token, None)  # the values say it
            self.leaving.append((sent, sent.payload.copy()))
            self._check(self.pulls.pop(token), sent.payload)

    def _check(self, pull, values):
        assert values.max(initial=0) <= 1, "a push is in it twice"
        assert np.all(values[pull.worker, : pull.own] == 1), "it does not see its own writes"
        for worker in self.living:
            iterations = np.array(self.pushes[worker])
            assert np.all(values[worker, : iterations.size][iterations < pull.clock - self.s] == 1), (
                "too stale"
            )
            if self.bulk:
                assert values[worker].sum() == (iterations < pull.clock).sum(), "of a later iteration"
            elif worker != pull.worker:
                assert pull.clock - self.iteration[worker] <= self.s, "too far ahead"


@pytest.mark.parametrize(("mode", "staleness"), [
    ("bsp", None), ("ssp", 0), ("ssp", 1), ("ssp", 3), ("ssp", 10), ("asp", None),
])  # fmt: skip
def test_in_any_order(mode, staleness):
    case = type("Case", (AnyOrder,), {"mode": mode, "staleness": staleness}).TestCase
    case.settings = effort(
        max_examples=60, stateful_step_count=100, deadline=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    case().runTest()
