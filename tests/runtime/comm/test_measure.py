"""Measuring: every candidate gets its turn, noise does not decide, time is bounded, ranks agree."""

import pytest
from ringleader.collectives import COLLECTIVES
from ringleader.collectives.tuning import VENDOR, Choice, Key, Range, Table, Timed, candidates
from ringleader.runtime.comm import measure as module
from ringleader.runtime.comm import spawn
from ringleader.runtime.comm.measure import Comparison, measure, to_table

N = 3


@pytest.mark.parametrize("seconds", [0, 0.5])
def test_every_collective_is_measured_and_all_ranks_agree(seconds):
    def rank(world):
        found = measure(world, sizes=[0, 1, 1000], seconds=seconds)
        return found, to_table(world, found)

    (found, table), *others = spawn(N, rank, timeout=60)
    assert all(other == (found, table) for other in others)
    assert {(c.collective, c.nbytes) for c in found} == {
        (name, size) for name in COLLECTIVES for size in ((0, 1, 1000) if name != "barrier" else (0,))
    }
    for comparison in found:
        every = candidates(comparison.collective, N, comparison.nbytes)
        choices = [t.choice for t in comparison.timings]
        assert choices  # even if there was no time at all
        assert len(set(choices)) == len(choices)
        assert set(choices) <= set(every)  # threads have no vendor
        assert all(t.seconds > 0 for t in comparison.timings)
    assert Table.loads(table.dumps()) == table
    assert table.machine["transport"] == "threads"
    for key, ranges in table.ranges.items():
        assert not key.ordered or all(r.choice.build(key.collective, N).ordered for r in ranges)


def test_without_time_only_the_usual_is_called():
    (found,), _ = spawn(2, lambda world: measure(world, ["allgather"], [64], 0), timeout=30)
    assert len(found.timings) == 1


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"sizes": []}, "sizes of 0 bytes or more"), ({"sizes": [-1]}, "got \\[-1\\]"), ({"seconds": -1.0}, "from 0 on"),
        ({"seconds": float("nan")}, "from 0 on"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured(given, text):
    with pytest.raises(ValueError, match=text):
        spawn(2, lambda world: measure(world, **given), timeout=20)


def test_one_rank_has_no_choice():
    with pytest.raises(ValueError, match="nothing to choose"):
        spawn(1, measure)


class Machine:
    """Stands in for the clock: candidates take what is said, rounds may be disturbed, and time passes."""

    def __init__(self, monkeypatch, seconds, usual=1.0, noise=lambda turn: 1.0):
        self.called, self.seconds, self.noise = [], seconds, noise
        self.turn = 0

        def times(contest, choice, calls):
            self.called.append(choice)
            self.turn += 1
            contest.spent += 0.001
            took = usual if choice == contest.usual else self.seconds(choice)
            return [took * self.noise(self.turn)] * calls

        monkeypatch.setattr(module._Contest, "_times", times)


class World:
    """What a contest asks of a communicator, without ranks."""

    size, rank = 4, 0

    def __init__(self, vendor):
        self._transport = self
        self._chooser = self
        self.vendor = vendor

    def vendor_suits(self, collective, dtype, op, equal):
        return self.vendor

    def untuned(self, collective, n, nbytes, ordered, equal, vendor):
        return Choice("ring")

    def allgather(self):
        raise AssertionError("not called")


def contest(monkeypatch, seconds, time=10.0, vendor=True, **machine):
    clock = Machine(monkeypatch, seconds, **machine)
    return module._Contest(World(vendor), "allgather", 1000, time).run(), clock


def test_the_fastest_is_first_and_every_candidate_was_tried(monkeypatch):
    found, clock = contest(
        monkeypatch, lambda choice: {"swing": 0.5, "vendor": 0.7}.get(choice.algorithm, 2.0)
    )
    assert [str(t.choice) for t in found.timings[:3]] == ["swing", "vendor", "ring"]
    assert found.vendor == 0.7
    different = {
        (c.build("allgather", 4).digest, c.build("allgather", 4).keeps_blocks)
        for c in candidates("allgather", 4, 1000)
    }
    assert len(found.timings) == len(different) + 1
    assert clock.called.count(Choice("swing")) > clock.called.count(Choice("bruck"))  # which was out soon


def test_what_is_slow_by_chance_now_and_then_is_still_the_fastest(monkeypatch):
    """Two of three measurements hit a disturbance of ten times."""
    found, _ = contest(
        monkeypatch, lambda choice: 0.5 if choice.algorithm == "swing" else 0.6,
        noise=lambda turn: 1.0 if turn * 7919 % 13 < 5 else 10.0,
    )  # fmt: skip
    assert found.timings[0] == Timed(Choice("swing"), 0.5)


@pytest.mark.parametrize(("other", "wins"), [(0.97, "ring"), (0.9, "swing")])
def test_the_usual_choice_is_given_up_only_for_what_is_clearly_faster(monkeypatch, other, wins):
    found, _ = contest(monkeypatch, lambda choice: other if choice.algorithm == "swing" else 2.0)
    assert found.timings[0].choice.algorithm == wins


def test_time_is_bounded(monkeypatch):
    """A call takes a millisecond of this clock."""
    found, clock = contest(monkeypatch, lambda choice: 1.0, time=0.010)
    assert len(clock.called) <= 11
    assert {VENDOR, Choice("ring")} <= {t.choice for t in found.timings}
    found, clock = contest(monkeypatch, lambda choice: 1.0, time=0, vendor=False)
    assert clock.called == [Choice("ring")] * 2
    assert len(found.timings) == 1


def test_a_table_keeps_who_stands_in_for_the_best():
    def timed(*pairs):
        return tuple(Timed(Choice(name), seconds) for name, seconds in pairs)

    alltoall = timed(
        ("vendor", 1.0), ("bruck", 2.0), ("hierarchical", 2.5), ("linear", 3.0), ("pairwise", 4.0)
    )
    reduce = timed(("ring", 1.0), ("vendor", 3.0), ("recursive-doubling", 4.0))
    measured = [Comparison("alltoall", N, 64, alltoall), Comparison("allreduce", N, 64, reduce)]
    table = spawn(N, lambda world: to_table(world, measured), timeout=20)[0]
    assert table.ranges == {
        Key("alltoall", N, False): (Range(64, VENDOR, 1.0, (alltoall[1], alltoall[3])),),
        Key("allreduce", N, False): (Range(64, Choice("ring"), 1.0, (reduce[1],)),),
        Key("allreduce", N, True): (Range(64, Choice("recursive-doubling"), 4.0),),
    }
    assert table.choose("alltoall", N, 64, vendor=False, equal=False) == Choice("linear")
