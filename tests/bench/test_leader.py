"""The parameter server's benchmark: that its numbers are what they are called, and that the page says what they say."""

import time
from math import inf
from types import SimpleNamespace

import numpy as np
import pytest
from ringleader.bench.leader import crossover, fit, page, stragglers, throughput, training, worker
from ringleader.bench.leader.crossover import LEADER, RING, SERVER, Point
from ringleader.bench.leader.fit import Machine
from ringleader.bench.leader.stragglers import Method, Trained
from ringleader.bench.leader.throughput import Roles, Row
from ringleader.bench.leader.training import IN_TURN, STEADY, naps
from ringleader.bench.results import machine
from ringleader.bench.worker import handing

ABOUT = {"command": "measure", "date": "2026-11-29", "machine": machine()}
MiB = 1 << 20
DEDICATED, COLOCATED = Roles(2, 1, False), Roles(2, 2, True)


def row(roles, nbytes, seconds, memory, repeats=5, handed=None):
    return Row(
        roles, nbytes, [seconds] * repeats, {"ring": [2 * seconds] * repeats, "auto": [seconds / 4] * repeats},
        [memory] * repeats, [handed or 4 * memory] * repeats, 0,
    )  # fmt: skip


# Throughput


def test_layouts():
    assert throughput.every((1, 2), (1, 2)) == [
        Roles(1, 1, False), Roles(2, 1, False), Roles(2, 2, False), Roles(1, 1, True), Roles(2, 1, True), Roles(2, 2, True),
    ]  # fmt: skip
    assert (DEDICATED.ranks, COLOCATED.ranks) == (3, 2)


def test_repeats_are_joined():
    other = row(COLOCATED, 1000, 3.0, 9.0, repeats=1)
    made = throughput.joined(
        [row(DEDICATED, 1000, 1.0, 5.0, repeats=1), other, row(DEDICATED, 1000, 2.0, 7.0, repeats=1)]
    )
    assert made[1:] == [other]
    assert (made[0].seconds, made[0].memory, made[0].handed) == ([1.0, 2.0], [5.0, 7.0], [20.0, 28.0])
    assert made[0].allreduce == {"ring": [2.0, 4.0], "auto": [0.25, 0.5]}


def test_a_rate_counts_what_is_pushed_and_what_is_pulled():
    made = Row(
        DEDICATED,
        1000,
        [1.0, 2.0, 4.0],
        {"ring": [1.0, 1.0, 8.0], "auto": [3.0, 1.0, 1.0]},
        [8000.0, 1000.0, 500.0],
        [5000.0, inf, 500.0],
        0,
    )
    assert made.rates == [4000, 2000, 1000]
    assert made.of_memory == [0.5, 2.0, 2.0], "each of what memory gave in the same repeat"
    assert made.of_limit == [0.8, 2.0, 2.0], "each of the lesser of both in the same repeat"
    assert made.apart == 1, "where both are as fast, or handing over is not known, memory is the limit"
    assert (made.ratio("ring"), made.ratio("auto")) == (1.0, 0.5)


def test_the_least_share_of_large_tensors_decides():
    rows = [
        row(DEDICATED, MiB // 2, 1.0, 1e12),
        row(DEDICATED, MiB, 4.0, MiB), row(DEDICATED, 4 * MiB, 4.0, 5 * MiB),
        row(COLOCATED, MiB, 4.0, 2 * MiB),
    ]  # fmt: skip
    found = throughput.verdicts(rows, of_memory)
    assert [(v.roles, v.share, v.nbytes, v.word) for v in found] == [
        (DEDICATED, 0.8, 4 * MiB, "met"), (COLOCATED, 0.5, MiB, "NOT MET"),
    ]  # fmt: skip
    few = throughput.verdicts([row(DEDICATED, MiB, 1.0, 1.0, repeats=4)], of_memory)
    assert few[0].word.startswith("undecided")
    assert throughput.verdicts([row(DEDICATED, MiB - 4, 1.0, 1.0)], of_memory) == []


def of_memory(row):
    return row.of_memory


def test_the_page_says_whether_the_goal_is_met():
    met = row(DEDICATED, MiB, 4.0, MiB)
    apart, missed = row(Roles(2, 2, False), MiB, 4.0, 2 * MiB, handed=MiB), row(COLOCATED, MiB, 4.0, 2 * MiB)
    small = row(COLOCATED, MiB // 2, 4.0, 2 * MiB, handed=1.0)
    text = page.throughput_section([met, apart, missed, small], ABOUT)
    assert (
        "The goal is a share of 60% from 1 MiB on. Of the limit: NOT MET, reached in 2 of 3 layouts. "
        "Of memory: NOT MET, reached in 1 of 3 layouts."
    ) in text
    assert "| 2 | 1 dedicated | 100% | 1 MiB | met | 100% | 1 MiB | met | 0 of 5 |" in text
    assert "| 2 | 2 dedicated | 100% | 1 MiB | met | 50% | 1 MiB | NOT MET | 5 of 5 |" in text
    assert "| 2 | 2 colocated | 50% | 1 MiB | NOT MET | 50% | 1 MiB | NOT MET | 0 of 5 |" in text
    assert "| 2 | 2 colocated | 4000.0 ms (2.00, 0.25) |" in text
    assert "Wrong elements in all of these measurements: 0." in text
    assert " Of the limit: met, reached in 1 of 1 layouts." in page.throughput_section([met], ABOUT)
    undecided = page.throughput_section([row(DEDICATED, MiB, 4.0, MiB, repeats=2)], ABOUT)
    assert "Of the limit: too few repeats to decide." in undecided and ", reached" not in undecided
    assert text.startswith("## Parameter server: push and pull\n\nMade by `measure` on 2026-11-29: ")


def test_one_worker_is_not_held_to_an_allreduce():
    assert "| 1 | 1 dedicated | 1000.0 ms |" in page.throughput_section(
        [row(Roles(1, 1, False), MiB, 1.0, 1e9)], ABOUT
    )


# The fitted machine


def test_a_line_is_found_again():
    sizes = (4, 1000, 1 << 20)
    assert fit.line(sizes, [3e-5 + 2e-10 * s for s in sizes]) == pytest.approx((3e-5, 2e-10))
    assert fit.line((1000, 2000, 4000), [1.0, 3.0, 7.0])[0] == 0, "nothing is below 0"


@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_machine_is_found_again(n):
    start, overhead, copy, together, fold = 30e-6, 30e-6 if n == 2 else 4e-6, 1e-10, 2.5e-10, 5e-11
    sizes = fit.SIZES
    rounds = {
        "allgather": [start + together * s for s in sizes],
        "reduce_scatter": [start + (together + fold) * s for s in sizes],
    }
    gather = start + (n - 2) * overhead
    found = fit.fitted(n, rounds, [1e-6 + copy * s for s in sizes], gather)
    told = (found.start, found.overhead, found.copy, found.all_copy, found.fold)
    assert told == pytest.approx((start, overhead, copy, together, fold))


@pytest.mark.parametrize("n", [2, 3, 5])
def test_what_is_predicted_is_the_sum_of_its_rounds(n):
    """In closed form: a ring has 2 (n - 1) rounds of one message a rank; one leader takes in n - 1, and sends n - 1."""
    start, overhead, copy, together, fold = 30e-6, 4e-6, 1e-10, 2.5e-10, 5e-11
    known = Machine(n, start, overhead, copy, together, fold)
    size = 60 * MiB
    block = size / n
    ring = 2 * (n - 1) * (start + block * max(copy, together)) + (n - 1) * block * fold
    assert known.predict("ring", size) == pytest.approx(ring)
    starts, others = start + (n - 2) * overhead, (n - 1) * size
    leader = (
        2 * starts
        + others * max(copy, together / n)
        + others * fold
        + max(size * copy, others * together / n)
    )
    assert known.predict("leader", size, servers=1) == pytest.approx(leader)


def test_letters_cost_the_cpu_all_of_their_start():
    native = Machine(4, 1e-6, 5e-7, 1e-10, 4e-10, 3e-10)
    made = fit.lettered(native, [2e-5 + 5e-10 * s for s in fit.SIZES], [1e-7 + 2e-11 * s for s in fit.SIZES])
    told = (made.start, made.overhead, made.copy, made.all_copy, made.fold)
    assert told == pytest.approx((2e-5, 2e-5, 5e-10, 5e-10, 2e-11))


# Crossover


def test_crossings():
    sizes = (1000, 10_000, 100_000)
    assert crossover.crossings(sizes, (2.0, 0.5, 0.25)) == pytest.approx([10_000 / 10**0.5])
    assert crossover.crossings(sizes, (0.5, 2.0, 0.5)) == pytest.approx([10**3.5, 10**4.5])
    assert crossover.crossings(sizes, (2.0, 3.0, 4.0)) == []


@pytest.mark.parametrize(("ratios", "words"), [
    ((2, 3, 4), "everywhere"), ((0.1, 0.2, 0.3), "nowhere"),
    ((2, 0.5, 0.5), "up to 2 KiB"), ((0.5, 2, 2), "from 2 KiB"),
    ((0.5, 2, 0.5), "2 KiB ... 8 KiB"), ((2, 0.5, 2), "up to 2 KiB, from 8 KiB"), ((1, 1 - 1e-15, 1 + 1e-15), "as fast"),
])  # fmt: skip
def test_where_it_is_faster_in_words(ratios, words):
    assert page.where((1024, 4096, 16384), ratios) == words


POINTS = [
    Point(2, RING, 0, 1024, 2e-5, 4e-5), Point(2, RING, 0, 4096, 4e-5, 4e-5),
    Point(2, LEADER, 1, 1024, 1e-5, 1e-5), Point(2, LEADER, 1, 4096, 8e-5, 2e-5),
    Point(2, SERVER, 1, 1024, 1e-5, 1e-3), Point(2, SERVER, 1, 4096, 1e-5, 1e-3),
]  # fmt: skip


def test_curves_are_ratios_to_the_ring_of_the_same_size():
    leader, server = crossover.curves(POINTS)
    assert (leader.what, leader.servers, leader.predicted, leader.measured) == (
        LEADER,
        1,
        (2.0, 0.5),
        (4.0, 2.0),
    )
    assert (leader.agree, server.agree) == (1, 0)
    assert crossover.apart(POINTS[:2]) == pytest.approx((2**0.5, 2))
    assert crossover.apart(POINTS[2:4]) == pytest.approx((2, 4)), (
        "too slow and too fast do not make up for each other"
    )


def test_the_page_of_the_crossover():
    known = Machine(2, 1e-5, 1e-5, 1e-10, 4e-10, 0.0)
    text = page.crossover_section([(known, known, POINTS)], ABOUT, "cross.png")
    assert "| 2 | leader | 1 | up to 2 KiB | everywhere | 1 of 2 |" in text
    assert "| 2 | parameter server | 1 | everywhere | nowhere | 0 of 2 |" in text
    assert "ring 1.4x, 2.0x; leader 2.0x, 4.0x; parameter server 100.0x, 100.0x." in text
    assert "| 2 | native | 10.0 us | 10.0 us | 10.0 GB/s | 5.0 GB/s | free |" in text
    assert "| 2 | ring | - | 20.0 us / 40.0 us | 40.0 us / 40.0 us |" in text
    assert "](cross.png)" in text and "](" not in page.crossover_section(
        [(known, known, POINTS)], ABOUT, None
    )


# Stragglers


def test_who_sleeps():
    assert [[w for w in range(3) if naps(STEADY, step, w, 3)] for step in range(4)] == [[2]] * 4
    assert [[w for w in range(3) if naps(IN_TURN, step, w, 3)] for step in range(4)] == [[0], [1], [2], [0]]


def test_who_sleeps_has_the_weights_first(monkeypatch):
    done = []
    clock = SimpleNamespace(perf_counter=time.perf_counter, sleep=lambda s: done.append(f"sleep {s}"))
    monkeypatch.setattr(training, "time", clock)  # of this module alone: servers of other tests sleep as well
    one = training.Worker(0, 2, seed=1)
    record = training.Recorder(one.model, 0.0, lambda: done.append("settle"))
    one.run(lambda: done.append("step"), record, IN_TURN, 0.5, lambda now: len(record.ends) == 2)
    assert done == ["settle", "sleep 0.5", "step", "step"]


RUN = Trained([[1.0, 2.0, 3.0, 4.0], [2.5, 5.0]], [0.0, 2.0, 4.0], [2.0, 1.0, 0.5])


def test_a_run():
    assert [RUN.gradients(at) for at in (0.5, 1.0, 2.5, 9.0)] == [0, 1, 3, 6]
    assert RUN.largest_gap == 3, "at 4 s the first has ended 4 steps, the second 1"
    assert Trained([[1.0, 2.0], [0.5, 3.0, 4.0, 5.0, 6.0]], [0.0], [1.0]).largest_gap == 1, (
        "what comes after the first has stopped is no race"
    )
    assert (RUN.reached(1.5), RUN.reached(0.1)) == (2.0, None)


def test_times_count_from_the_first_start():
    first = {"start": 10.5, "ends": [11.0], "at": [0.0, 1.0], "losses": [2.0, 1.0]}
    answers = [first, {"start": 10.0, "ends": [12.0], "at": [], "losses": []}]
    assert stragglers.trained(answers) == Trained([[1.0], [2.0]], [0.5, 1.5], [2.0, 1.0])


def test_a_row_is_medians():
    faster = Trained([[0.5, 1.0, 1.5, 2.0], [1.0, 2.0, 3.0, 4.0]], [0.0, 4.0], [2.0, 0.1])
    made = stragglers.Row(STEADY, Method("asp"), [RUN, faster, faster], 4.0)
    assert (made.gradients, made.steps(0), made.steps(-1)) == (2.0, 1.0, 1.0)
    assert (made.reached(1.5), made.reached(0.01)) == (4.0, None)
    times, losses = made.curve(3)
    assert times == [0, 2, 4] and losses == pytest.approx([2.0, 1.05, 0.1])


def test_the_page_of_a_slow_worker():
    rows = [
        stragglers.Row(STEADY, Method("ring"), [RUN], 4.0),
        stragglers.Row(STEADY, Method("ssp", 3), [Trained([[1.0, 2.0, 3.0], [3.0]] * 2, [0.0, 4.0], [2.0, 0.1])], 4.0),
    ]  # fmt: skip
    text = page.stragglers_section(rows, stragglers.Plan(workers=2), ABOUT, "slow.png")
    assert "| ring | 1 | 1.00x | 1.0 | 0.2 | 3 | - | 0.500 |" in text
    assert "| SSP, s = 3 | 2 | 1.60x | 0.8 | 0.2 | 3 | 4.0 | 0.100 |" in text
    assert "the last of 2 workers sleeps 50 ms in every step" in text
    assert [str(method) for method in stragglers.METHODS] == [
        "ring", "BSP", "SSP, s = 0", "SSP, s = 1", "SSP, s = 3", "SSP, s = 10", "ASP",
    ]  # fmt: skip


# A rank


class Alone:
    """A parameter server of one worker that adds ``error`` to one element of what it gives."""

    is_worker, rank, workers, error = True, 0, (0,), 0

    def __init__(self, world, servers, reduction, colocated):
        assert (servers, reduction, colocated) == (1, "sum", True)

    def init(self, tensors):
        self.w = tensors

    def push_pull(self, name, gradient, out):
        out[...] = gradient
        out[-1] += self.error
        return self

    def wait(self):
        pass

    clock = barrier = close = wait


@pytest.mark.parametrize("error", [0, 1])
def test_wrong_elements_are_counted(monkeypatch, error):
    monkeypatch.setenv("RINGLEADER_SINGLE", "1")
    monkeypatch.setattr(worker, "ParameterServer", Alone)
    monkeypatch.setattr(Alone, "error", error)
    answer = worker.Rank().push_pull(ranks=1, servers=1, colocated=True, nbytes=12, iterations=3)
    assert answer["wrong"] == error and 0 < answer["span"][1] - answer["span"][0] < inf


def test_what_is_handed_over_is_the_next_ranks():
    shared = np.zeros((2, 3), np.float32)
    seen = []
    handing(shared, 1, lambda: seen.append(shared.tolist()))()
    assert seen == [[[0, 0, 0], [1, 1, 1]]] * 2, "written before the first barrier, read before the second"
    shared[0] = 5  # what rank 1 has read is what it writes next
    again = handing(shared, 1, lambda: None)
    again()
    again()
    assert shared.tolist() == [[5, 5, 5]] * 2


def test_ranks_hand_over_in_memory_of_the_first(monkeypatch):
    monkeypatch.setenv("RINGLEADER_SINGLE", "1")
    rank = worker.Rank()
    if path := rank.share(16)["path"]:
        span = rank.hand(path, 16, iterations=3)["span"]
        assert span[0] < span[1]
        assert np.fromfile(path, np.float32).tolist() == [1] * 4


def test_a_measurement_grows_until_it_lasts():
    asked = []

    class Job:
        def ask(self, iterations, do):
            asked.append(iterations)
            spans = [5, 5 + iterations * 1_000_000], [5 + iterations * 500_000, 5 + iterations * 2_000_000]
            return [{"span": spans[0], "wrong": 1}, {"span": None}, {"span": spans[1]}]

    entry = fit.series(Job(), do="something")
    entry.turn(0.1)
    entry.turn(0.05)
    assert asked == [1, 50, 25] and entry.seconds == [0.002, 0.002], "of all ranks together"
    assert entry.wrong == 3
    assert np.isclose(entry.pace, 0.002)
