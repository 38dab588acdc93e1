"""What every rank must hold, by the definitions of the collectives; and what a wrong element looks like."""

import numpy as np
import pytest
from ringleader.bench import worker
from ringleader.bench.patterns import PATTERNS
from ringleader.bench.worker import PERIOD, POISON, Worker, contents, expected

DTYPE = "float32"


def by_definition(collective, rank, n, count):
    """From the inputs of all ranks, element by element."""
    blocks = n if collective in ("alltoall", "reduce_scatter", "scatter") else 1
    given = [[float((7 * j + 131 * r) % PERIOD) for j in range(blocks * count)] for r in range(n)]
    own = range(rank * count, (rank + 1) * count)
    if collective in ("allreduce", "reduce"):
        return [sum(x[j] for x in given) for j in range(count)]
    if collective == "broadcast":
        return given[0]
    if collective in ("allgather", "gather"):
        return [v for x in given for v in x]
    if collective == "reduce_scatter":
        return [sum(x[j] for x in given) for j in own]
    if collective == "alltoall":
        return [x[j] for x in given for j in own]
    if collective == "scatter":
        return [given[0][j] for j in own]
    return [sum(x[j] for x in given[: rank + 1]) for j in range(count)]


@pytest.mark.parametrize("count", [1, 2, 1500])
@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("collective", sorted(set(PATTERNS) - {"barrier"}))
def test_what_is_expected(collective, n, count):
    for rank in range(n):
        right = expected(collective, rank, n, count, DTYPE)
        if collective in ("reduce", "gather") and rank > 0:
            assert right is None
        else:
            assert right.dtype == DTYPE
            assert right.tolist() == by_definition(collective, rank, n, count)


def test_sums_are_exact_and_no_block_is_like_another():
    assert PERIOD * 1024 < 2**24
    for size in (2**k for k in range(4, 24)):
        assert not np.array_equal(contents(0, 0, 16, DTYPE), contents(0, size, 16, DTYPE))
    assert not np.array_equal(contents(0, 0, 16, DTYPE), contents(1, 0, 16, DTYPE))


class Alone:
    """A library of one rank whose calls do what they are told; ``spoil`` comes after each."""

    rank, size = 0, 1

    def __init__(self, spoil):
        self.spoil, self.buffers, self.barriers, self.calls = spoil, {"": np.empty}, 0, 0

    def barrier(self):
        self.barriers += 1

    def prepare(self, collective, x, out, algorithm):
        def call():
            self.calls += 1
            out[...] = x
            self.spoil(out)

        return call


@pytest.mark.parametrize("place", ["in", "out"])
@pytest.mark.parametrize(
    ("spoil", "wrong"),
    [
        (lambda out: None, 0),
        (lambda out: out.__setitem__(-1, out[-1] + 1), 1),
        (lambda out: out.__setitem__(slice(None), np.roll(out, 1)), 100),
        (lambda out: out.__setitem__(slice(10), POISON), 10),
        (lambda out: out.__setitem__(0, np.nan), 1),
    ],
    ids=["right", "one", "moved", "untouched", "nan"],
)
def test_wrong_elements_are_counted(place, spoil, wrong):
    library = Alone(spoil)
    rank = Worker(library)
    rank.point("allreduce", 100, DTYPE)
    assert rank.check(place, "", "auto") == {"wrong": wrong}
    assert library.calls == 1


def test_a_call_that_does_nothing_is_not_taken_for_the_last_one():
    library = Alone(lambda out: None)
    rank = Worker(library)
    rank.point("allreduce", 100, DTYPE)
    assert rank.check("out", "", "auto") == {"wrong": 0}
    library.prepare = lambda *_: lambda: None
    assert rank.check("out", "", "auto") == {"wrong": 100}


def test_a_measurement_warms_up_and_batches():
    library = Alone(lambda out: None)
    rank = Worker(library)
    rank.point("allreduce", 100, DTYPE)
    answer = rank.measure("in", "", "auto", samples=3, batch=4)
    assert len(answer["times"]) == 3
    assert library.calls == 1 + 3 * 4
    assert library.barriers == 2


def test_what_a_library_does_not_have():
    library = Alone(lambda out: None)
    library.prepare = lambda *_: (_ for _ in ()).throw(worker.NotOfferedError)
    rank = Worker(library)
    rank.point("scan", 4, DTYPE)
    assert rank.measure("in", "", "auto", 1, 1) == {"offered": False}


@pytest.mark.parametrize("collective", sorted(set(PATTERNS) - {"barrier"}))
def test_in_place_shares_memory_and_out_of_place_does_not(collective):
    library = Alone(lambda out: None)
    library.rank, library.size = 1, 3
    rank = Worker(library)
    rank.point(collective, 5, DTYPE)
    for place in PATTERNS[collective].places:
        x, out = rank._arrays(place, "")
        assert np.may_share_memory(x, out) == (place == "in")
        assert max(x.size, out.size) == 5 * (3 if PATTERNS[collective].blocks else 1)
    if collective == "allgather":
        assert x.__array_interface__["data"][0] == out[5:].__array_interface__["data"][0], "its own block"


def test_memory_of_the_last_point_is_free():
    rank = Worker(Alone(lambda out: None))
    rank.point("allreduce", 5, DTYPE)
    rank._arrays("in", "")
    rank.copy(20, 1)
    rank.point("allreduce", 6, DTYPE)
    assert rank.arrays == {}
    assert rank.copied is None
