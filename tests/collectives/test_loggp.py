"""The LogGOPS simulator: closed forms of small cases, and a plain event-by-event evaluation of lowered programs."""

import itertools
from collections import defaultdict

import numpy as np
import pytest
from helpers.library import VARIANTS
from ringleader.collectives import build, copy, fold, fragment, lower
from ringleader.collectives.simulate import LogGP, simulate
from ringleader.collectives.simulate.simulator import slot_bytes
from ringleader.collectives.topology import place, topology

B = 1e5
GAMMA = 1e-11
P = LogGP(L=2e-6, o=1.5e-6, g=3e-6, G=1e-10, O=2e-11)
WIRE = P.L + 2e-6  # two links of 1 us on a switch
HANDLE = P.o + P.O * B  # CPU for a message of B bytes
BODY = P.G * B


def close(x):
    return pytest.approx(x, rel=1e-12)


def total(schedule, nbytes=B, params=P, **options):
    t = topology("switch", ranks=schedule.n)
    return simulate(schedule, nbytes, t, model="loggp", loggp=params, gamma=GAMMA, **options).total


def with_threshold(S, **other):
    return LogGP(**{**{f: getattr(P, f) for f in "LogGO"}, **other, "S": S})


def test_one_message():
    assert total(fragment(2, 1, [copy(0, 1)])) == close(HANDLE + WIRE + BODY + HANDLE)


def test_exchange_sends_and_receives_at_the_same_time():
    assert total(build("allreduce", "recursive-doubling", 2)) == close(2 * HANDLE + WIRE + BODY + GAMMA * B)


@pytest.mark.parametrize(("params", "apart"), [(P, P.g + BODY), (LogGP(L=2e-6, o=5e-6, G=0.0), 5e-6)])
def test_two_messages_leave_a_card_one_after_the_other(params, apart):
    """The second begins when the card has finished the first, or when the CPU comes to it."""
    one, both = (fragment(3, 1, [copy(0, to)]) for to in (1, [1, 2]))
    assert total(both, params=params) - total(one, params=params) == close(apart)


def test_incast_takes_the_card_and_then_the_cpu():
    """Both arrive at once: the second is in g + G s later, and handled when it is (the first is handled by then)."""
    assert P.g + BODY > HANDLE
    s = fragment(3, 1, [fold([1, 2], 0, order=[1, 2])])
    assert total(s) == close(HANDLE + WIRE + BODY + (P.g + BODY) + HANDLE + 2 * GAMMA * B)


@pytest.mark.parametrize("n", [2, 3, 5, 9])
def test_chain_of_one_chunk(n):
    assert total(build("broadcast", "chain", n, chunks=1)) == close((n - 1) * (2 * HANDLE + WIRE + BODY))


@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_binomial_broadcast_to_three(n):
    """Rank 0 sends to the far one first; the last to hear is one message deep in two levels, or second in line."""
    hop, again = 2 * HANDLE + WIRE + BODY, max(HANDLE, P.g + BODY)
    deepest = {
        2: hop,
        3: max(hop, again + hop),
        4: max(2 * hop, again + hop),
        6: max(2 * hop + again, 2 * again + hop),
    }
    assert total(build("broadcast", "binomial", n)) == close(deepest[n])


def test_default_card_is_as_fast_as_the_slowest_link():
    t = topology("islands:gpus=2", ranks=4)
    for to, bandwidth, links in ((1, 450e9, 2), (2, 50e9, 4)):
        s = simulate(fragment(4, 1, [copy(0, to)]), B, t, model="loggp", overhead=1e-6)
        assert s.total == close(2e-6 + links * 1e-6 + B / bandwidth)
        assert s.bound <= s.total


def test_rendezvous_pays_a_round_trip():
    s = fragment(2, 1, [copy(0, 1)])
    assert total(s, params=with_threshold(B)) == close(HANDLE + 3 * WIRE + BODY + HANDLE)
    assert total(s, params=with_threshold(B + 1)) == total(s)


def test_rendezvous_waits_for_a_receiver_that_posts_late():
    """Rank 1 can post its second receive only after it has folded and passed on the first."""
    first = [fold(2, 1), copy(1, 2), copy(0, 1)]
    s = fragment(3, 1, first)
    eager, slow = (total(s, params=with_threshold(S), slow={1: 50.0}) for S in (np.inf, B))
    in_1 = (
        HANDLE + 3 * WIRE + BODY + 50 * HANDLE + 50 * GAMMA * B
    )  # rank 2's message is in rank 1, and folded
    out_1 = in_1 + 50 * HANDLE + 2 * WIRE + BODY  # and back out of its memory: only then is the cell free
    assert slow == close(out_1 + WIRE + WIRE + BODY + 50 * HANDLE)
    assert eager < slow


def test_eager_sender_runs_ahead():
    """Rank 0 needs nothing from rank 1, whose CPU is the slow one."""
    n = 10
    s = fragment(2, n, [copy(0, 1, slot=i) for i in range(n)])
    t = topology("switch:2")
    params = LogGP(o=1e-6, G=0.0)
    run = simulate(s, B, t, model="loggp", loggp=params, slow={1: 4.0})
    assert run.total == close(1e-6 + 2e-6 + n * 4e-6)
    assert run.idle == pytest.approx([1 - 10 / 43, 1 - 40 / 43])


def test_stragglers_slow_their_cpu_only():
    s = fragment(2, 1, [fold(0, 1)])
    assert total(s, slow={0: 3.0}) == close(3 * HANDLE + WIRE + BODY + HANDLE + GAMMA * B)
    assert total(s, slow={1: 3.0}) == close(HANDLE + WIRE + BODY + 3 * HANDLE + 3 * GAMMA * B)


def test_rounds_are_no_barriers():
    """Two pairs that have nothing to do with each other."""
    rounds = [copy(0, 1), copy(2, 3), copy(1, 0), copy(3, 2)]
    assert total(fragment(4, 1, rounds)) == close(2 * (2 * HANDLE + WIRE + BODY))


@pytest.mark.parametrize(
    "wrong",
    [
        *({key: value} for key in "LogO" for value in (-1, float("inf"), float("nan"), 1e7, None, "1us", True)),
        {"G": -1}, {"G": float("inf")}, {"S": float("nan")}, {"S": -1}, {"S": None},
    ],
)  # fmt: skip
def test_wrong_parameters_are_refused(wrong):
    ((key, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"LogGP: {key} must be a number from 0 to .*, got {value!r}"):
        LogGP(**wrong)


def test_what_has_no_end_or_default_is_allowed():
    assert LogGP(G=None, S=float("inf")) == LogGP()


def test_a_card_keeps_the_order_of_rounds():
    """Rank 2's message is early, but of the second round: rank 0 takes it in after rank 1's, which is late."""
    late = [copy(1, 0, slot=0), copy(2, 0, slot=1)]
    params = LogGP(o=1e-6, G=1e-9)
    delayed = total(fragment(3, 2, late), nbytes=2 * B, params=params, slow={1: 1000.0})
    alone = total(fragment(3, 2, late[:1]), nbytes=2 * B, params=params, slow={1: 1000.0})
    assert delayed - alone == close(1e-9 * B)


def test_more_messages_than_patience_are_refused_before_any_is_sent():
    with pytest.raises(ValueError, match="transfers are too many for model loggp or jitter; at most"):
        total(build("allreduce", "ring", 20_000))


# The same, event by event, from the programs that ranks really run.


class Plain:
    """Instructions of lowered programs one at a time, with the rules of the docstring of loggp."""

    def __init__(self, schedule, nbytes, t, p, slow):
        self.schedule, self.p, self.slow = schedule, p, slow
        self.slot, self.topology = slot_bytes(schedule, nbytes), t
        self.hosts = place(t, schedule.n, "random:3")
        self.clock = [0.0] * schedule.n
        self.out, self.into = [0.0] * schedule.n, [0.0] * schedule.n
        self.arrival, self.size, self.taken, self.free = {}, {}, set(), {}

    def wait(self, rank, program, i):
        """Take in the messages that instruction i needs, then wait for rendezvous that read what it writes."""
        for a in program[i].after:
            if program[a].kind == "recv":
                self.take(rank, a)
        for a in program[i].after:
            if program[a].kind == "send":
                self.clock[rank] = max(self.clock[rank], self.free.get((rank, a), 0.0))

    def take(self, rank, a):
        if (rank, a) not in self.taken:
            self.taken.add((rank, a))
            self.clock[rank] = max(self.clock[rank], self.arrival[rank, a]) + self.handling(
                rank, self.size[rank, a]
            )

    def handling(self, rank, size):
        return self.slow[rank] * (self.p.o + self.p.O * size)

    def total(self):
        programs = [lower(self.schedule, r).instructions for r in range(self.schedule.n)]
        for number in range(len(self.schedule)):
            self.round([[(i, x) for i, x in enumerate(p) if x.round == number] for p in programs], programs)
        for rank, program in enumerate(programs):
            for i, x in enumerate(program):
                if x.kind == "recv":
                    self.take(rank, i)
            self.clock[rank] = max([self.clock[rank], *(v for (r, _), v in self.free.items() if r == rank)])
        return max(self.clock)

    def round(self, now, programs):
        posted, sent = defaultdict(list), defaultdict(list)
        for rank, instructions in enumerate(now):
            for i, x in instructions:
                if x.kind == "recv":
                    self.wait(rank, programs[rank], i)
                    posted[x.peer, rank].append((i, self.clock[rank]))
        for rank, instructions in enumerate(now):
            for i, x in instructions:
                if x.kind == "send":
                    self.wait(rank, programs[rank], i)
                    size = sum(c.width for c in x.src) * self.slot
                    self.clock[rank] += self.handling(rank, size)
                    sent[rank, x.peer].append((i, self.clock[rank], size))
        self.deliver(posted, sent)
        for rank, instructions in enumerate(now):
            for i, x in instructions:
                if x.kind in ("copy", "reduce"):
                    self.wait(rank, programs[rank], i)
                if x.kind == "reduce":
                    size = (len(x.src) - 1) * x.dst[0].width * self.slot
                    self.clock[rank] += GAMMA * self.slow[rank] * size

    def deliver(self, posted, sent):
        assert {k: len(v) for k, v in posted.items()} == {k: len(v) for k, v in sent.items()}
        out = defaultdict(list)
        for (a, b), messages in sent.items():
            path = self.topology.route([self.hosts[a]], [self.hosts[b]])[0]
            path = path[path >= 0]
            wire = self.p.L + self.topology.links.latency[path].sum()
            each = 1 / self.topology.links.bandwidth[path].min() if self.p.G is None else self.p.G
            for (i, done, size), (j, ready) in zip(messages, posted[a, b], strict=True):
                large = size >= self.p.S
                start = max(done + wire, ready) + wire if large else done
                out[a].append((start, i, b, j, size, wire, each * size, large))
        into = defaultdict(list)
        for a, messages in out.items():
            for start, i, b, j, size, wire, body, large in sorted(messages):
                begin = max(self.out[a], start)
                self.out[a] = begin + self.p.g + body
                if large:
                    self.free[a, i] = begin + body
                into[b].append((begin + wire, j, size, body))
        for b, messages in into.items():
            for head, j, size, body in sorted(messages):
                begin = max(self.into[b], head)
                self.into[b] = begin + self.p.g + body
                self.arrival[b, j], self.size[b, j] = begin + body, size


def overlaps(schedule):
    """Does a round write to ranges that overlap without being equal? lower cuts those into single slots."""
    for groups in schedule.expand():
        ranges = {
            (int(d), g.target, int(s), g.width)
            for g in groups
            for d, s in zip(g.dst, g.dst_slot)
            if g.width > 0
        }
        cells = [(d, b, s + i) for d, b, s, w in ranges for i in range(w)]
        if len(cells) != len(set(cells)):
            return True
    return False


PARAMETERS = [
    LogGP(L=1.3e-6, o=1.7e-6, g=2.9e-6, G=1.1e-10, O=1.9e-11),
    LogGP(L=0.7e-6, o=0.9e-6, g=0.1e-6, O=3.1e-11, S=0.0),
    LogGP(o=2.3e-6, g=0.3e-6, G=2.3e-9, S=B / 9),
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("collective", "name", "parameters"), VARIANTS)
def test_equals_running_the_programs_event_by_event(collective, name, parameters):
    for n, p in itertools.product((2, 3, 5, 8, 13), PARAMETERS):
        t = topology("torus:3x3x2")
        schedule = build(collective, name, n, n // 2, **parameters)
        assert not overlaps(schedule)
        slow = {r: 1 + 0.37 * (r % 3) for r in range(n)}
        s = simulate(
            schedule, B, t, model="loggp", loggp=p, gamma=GAMMA, slow=slow, placement="random:3"
        )  # fmt: skip
        assert s.total == pytest.approx(Plain(schedule, B, t, p, slow).total(), rel=1e-10), (n, p)
        assert s.per_round().sum() == close(s.total)


def random_schedule(seed):
    """Rounds of copies and folds without conflicts, of no use but to be simulated."""
    rng = np.random.default_rng(seed)
    n, slots = int(rng.integers(2, 7)), 6
    rounds = []
    for _ in range(int(rng.integers(1, 8))):
        src, dst = rng.integers(0, n, (2, 8))
        slot, to = rng.integers(0, slots // 2, (2, 8)) * 2
        keep = np.unique(dst * slots + to, return_index=True)[1]
        make = copy if rng.random() < 0.5 else fold
        rounds.append(make(src[keep], dst[keep], slot[keep], to[keep], width=int(rng.integers(1, 3))))
    return fragment(n, slots, rounds)


@pytest.mark.parametrize("seed", range(60))
def test_equals_running_random_programs_event_by_event(seed):
    schedule = random_schedule(seed)
    slow = {r: 1 + 0.61 * (r % 2) for r in range(schedule.n)}
    t = topology("torus:3x3x2")
    for p in PARAMETERS:
        s = simulate(schedule, B, t, model="loggp", loggp=p, gamma=GAMMA, slow=slow, placement="random:3")
        assert s.total == pytest.approx(Plain(schedule, B, t, p, slow).total(), rel=1e-10)
