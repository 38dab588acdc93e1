"""Every algorithm of every collective on coded exact integers, equal and unequal blocks, every root."""

import numpy as np
import pytest
from helpers.coded import RANKS, STRIDE, UNDER_MPI, coded, on_ranks, total
from ringleader.collectives import COLLECTIVES, algorithms, build, find
from ringleader.runtime.comm import Op

ROWS = [0, 1, 5, 64]  # of a block; each row has two elements
VENDOR = ["vendor"] if UNDER_MPI > 1 else []


def names(*collectives):
    return [(c, a) for c in collectives if algorithms(c) for a in ["auto", *algorithms(c), *VENDOR]]


def matrix(rows, rank):
    return coded(rows * 2, rank).reshape(rows, 2)


def all_equal(a, b):
    np.testing.assert_array_equal(a, b)
    assert a.shape == b.shape


@pytest.mark.parametrize("n", RANKS)
@pytest.mark.parametrize(("collective", "name"), names("reduce"))
def test_reduce_leaves_all_but_the_root_alone(n, collective, name):
    def rank(world):
        for root in range(n):
            for size in ROWS:
                x, out = coded(size, world.rank), np.full(size, -7)
                assert world.reduce(x, root=root, algorithm=name) is x
                all_equal(x, total(size, n) if world.rank == root else coded(size, world.rank))
                y = coded(size, world.rank)
                y.flags.writeable = False
                got = world.reduce(y, "max", root, out=out, algorithm=name)
                assert got is (out if world.rank == root else y)
                all_equal(out, coded(size, n - 1) if world.rank == root else np.full(size, -7))
        z = np.full(3, world.rank + 1.0)
        z.flags.writeable = world.rank == n - 1
        world.reduce(z, "mean", n - 1, algorithm=name)
        all_equal(z * 2, np.full(3, n + 1.0 if world.rank == n - 1 else 2 * world.rank + 2.0))

    on_ranks(n, rank)


@pytest.mark.parametrize("n", RANKS)
@pytest.mark.parametrize(("collective", "name"), names("allgather", "gather"))
def test_gathering(n, collective, name):
    def rank(world):
        for root in range(n) if collective == "gather" else [None]:
            at = {} if root is None else {"root": root}
            for rows in ROWS:
                x = matrix(rows, world.rank)
                expected = np.concatenate([matrix(rows, q) for q in range(n)])
                got = getattr(world, collective)(x, algorithm=name, **at)
                if root in (None, world.rank):
                    all_equal(got, expected)
                    out = np.empty_like(expected)
                    assert getattr(world, collective)(x, out=out, algorithm=name, **at) is out
                    all_equal(out, expected)
                else:
                    assert got is None
                    assert getattr(world, collective)(x, algorithm=name, **at) is None
                all_equal(x, matrix(rows, world.rank))

    on_ranks(n, rank)


def counts_for(n):
    return [[(3 * r + 1) % 5 for r in range(n)], [0] * n, [0] * (n - 1) + [7]]


def keeps_blocks(collective, name, n):
    return name in ("auto", "vendor") or build(collective, name, n).keeps_blocks


@pytest.mark.parametrize("n", RANKS)
@pytest.mark.parametrize(("collective", "name"), names("allgather", "gather"))
def test_gathering_unequal_blocks(n, collective, name):
    assert keeps_blocks(collective, name, n)

    def rank(world):
        for counts in counts_for(n):
            x = matrix(counts[world.rank], world.rank)
            expected = np.concatenate([matrix(c, q) for q, c in enumerate(counts)])
            for given in (counts, np.array(counts), True):
                at = {"root": n - 1} if collective == "gather" else {}
                got = getattr(world, collective)(x, counts=given, algorithm=name, **at)
                if collective == "allgather" or world.rank == n - 1:
                    all_equal(got, expected)
                else:
                    assert got is None

    on_ranks(n, rank)


@pytest.mark.parametrize("n", RANKS)
@pytest.mark.parametrize(("collective", "name"), names("reduce_scatter"))
def test_reduce_scatter(n, collective, name):
    def rank(world):
        r = world.rank
        for counts in [*([rows] * n for rows in ROWS), *counts_for(n)]:
            x = matrix(sum(counts), r)
            x.flags.writeable = False
            first = sum(counts[:r])
            whole = total(2 * sum(counts), n).reshape(-1, 2)
            for given in [counts] if len(set(counts)) > 1 else [counts, None]:
                got = world.reduce_scatter(x, counts=given, algorithm=name)
                all_equal(got, whole[first : first + counts[r]])
                out = np.empty_like(got)
                assert world.reduce_scatter(x, "sum", out=out, counts=given, algorithm=name) is out
                all_equal(out, got)
            all_equal(x, matrix(sum(counts), r))
        mean = world.reduce_scatter(np.full(n, r + 1.0), "mean", algorithm=name)
        all_equal(mean * 2, np.array([n + 1.0]))

    on_ranks(n, rank)


@pytest.mark.parametrize("n", RANKS)
@pytest.mark.parametrize(("collective", "name"), names("scatter"))
def test_scatter(n, collective, name):
    def rank(world):
        r = world.rank
        for root in range(n):
            for counts in [*([rows] * n for rows in ROWS), *counts_for(n)]:
                x = matrix(sum(counts), r)
                x.flags.writeable = False
                first = sum(counts[:r])
                expected = matrix(sum(counts), root)[first : first + counts[r]]
                given = counts if len(set(counts)) > 1 else None
                all_equal(world.scatter(x, root, counts=given, algorithm=name), expected)
                out = np.empty_like(expected)
                source = x if r == root else None
                assert world.scatter(source, root, out=out, counts=given, algorithm=name) is out
                all_equal(out, expected)

    on_ranks(n, rank)


@pytest.mark.parametrize("n", RANKS)
@pytest.mark.parametrize(("collective", "name"), names("alltoall"))
def test_alltoall(n, collective, name):
    def rank(world):
        for rows in ROWS:
            x = matrix(n * rows, world.rank)
            x.flags.writeable = False
            mine = slice(world.rank * rows, (world.rank + 1) * rows)
            expected = np.concatenate([matrix(n * rows, q)[mine] for q in range(n)])
            all_equal(world.alltoall(x, algorithm=name), expected)

    on_ranks(n, rank)


@pytest.mark.parametrize("n", RANKS)
@pytest.mark.parametrize(("collective", "name"), names("alltoall"))
def test_alltoall_of_unequal_blocks(n, collective, name):
    """Rank r sends (r + 2d) % 4 rows to rank d."""
    if not keeps_blocks(collective, name, n):
        pytest.skip("relays blocks, so they must be equal")

    def rank(world):
        counts = np.array([[(q + 2 * d) % 4 for d in range(n)] for q in range(n)])
        x = matrix(counts[world.rank].sum(), world.rank)
        starts = [counts[q, : world.rank].sum() for q in range(n)]
        expected = np.concatenate(
            [matrix(counts[q].sum(), q)[s : s + counts[q, world.rank]] for q, s in enumerate(starts)]
        )
        got = world.alltoall(x, counts=counts[world.rank], algorithm=name)
        all_equal(got, expected)
        out = np.empty_like(got)
        assert world.alltoall(x, out=out, counts=counts[world.rank].tolist(), algorithm=name) is out
        all_equal(out, expected)

    on_ranks(n, rank)


@pytest.mark.parametrize("n", RANKS)
@pytest.mark.parametrize(("collective", "name"), names("scan", "exscan"))
def test_scans(n, collective, name):
    def rank(world):
        r, past = world.rank, world.rank + (collective == "scan")
        for size in ROWS:
            x, out = coded(size, r), np.full(size, -7)
            x.flags.writeable = False
            assert getattr(world, collective)(x, out=out, algorithm=name) is out
            all_equal(out, np.arange(size) * STRIDE * past + past * (past - 1) // 2 if past else out * 0 - 7)

    on_ranks(n, rank)


@pytest.mark.parametrize("n", RANKS)
@pytest.mark.parametrize(("collective", "name"), names("barrier"))
def test_nobody_leaves_a_barrier_before_all_have_come(n, collective, name):
    arrived = []

    def rank(world):
        arrived.append(world.rank)
        world.barrier(algorithm=name)
        assert UNDER_MPI or len(arrived) == n

    on_ranks(n, rank)


def strided(values):
    """The same values, neither contiguous nor in C order."""
    room = np.full((2 * values.shape[1], 2 * values.shape[0]), -9, values.dtype).T
    room[::2, ::2] = values
    return room[::2, ::2]


@pytest.mark.parametrize("n", RANKS)
def test_arrays_that_are_not_contiguous(n):
    """As input and as out=; what lies between stays."""

    def rank(world):
        r = world.rank
        mine, every = matrix(3, r), [matrix(3 * n, q) for q in range(n)]
        folded = sum(every)
        own = slice(3 * r, 3 * r + 3)
        for got, expected in (
            (
                lambda out: world.allgather(strided(mine), out=out),
                np.concatenate([matrix(3, q) for q in range(n)]),
            ),
            (lambda out: world.reduce_scatter(strided(every[r]), out=out), folded[own]),
            (lambda out: world.alltoall(strided(every[r]), out=out), np.concatenate([x[own] for x in every])),
            (lambda out: world.scatter(strided(every[r]), n - 1, out=out), every[n - 1][own]),
            (lambda out: world.scan(strided(mine), out=out), sum(matrix(3, q) for q in range(r + 1))),
            (lambda out: world.allreduce(strided(mine), out=out), sum(matrix(3, q) for q in range(n))),
        ):
            out = strided(np.zeros_like(expected))
            all_equal(got(out), expected)
            all_equal(out, expected)
            assert np.count_nonzero(out.base == -9) == 3 * out.size
        x = strided(mine)
        world.reduce(x, root=n - 1)
        all_equal(x, sum(matrix(3, q) for q in range(n)) if r == n - 1 else mine)
        gathered = world.gather(strided(mine), root=0)
        if r == 0:
            all_equal(gathered, np.concatenate([matrix(3, q) for q in range(n)]))

    on_ranks(n, rank)


def affine(x, y, out=None):
    """x then y, as maps v -> a v + b modulo 2^32, packed in 64 bits: associative, but does not commute."""
    mask = np.uint64(0xFFFFFFFF)
    a, b, c, d = x >> np.uint64(32), x & mask, y >> np.uint64(32), y & mask
    result = (a * c & mask) << np.uint64(32) | (b * c + d & mask)
    if out is None:
        return result
    out[...] = result
    return out


AFFINE = Op("affine", affine, commutes=False)
FOLDING = ("allreduce", "reduce", "reduce_scatter", "scan", "exscan")


@pytest.mark.parametrize("n", RANKS)
@pytest.mark.parametrize(("collective", "name"), [(c, a) for c in FOLDING for a in ["auto", *algorithms(c)]])
def test_an_operation_that_does_not_commute(n, collective, name):
    """Rank order is kept where it is promised; elsewhere the operation is refused by name."""

    def word(r):
        return np.random.default_rng(r).integers(0, 2**63, 3 * n, dtype=np.uint64) | np.uint64(1 << 32)

    def folded(ranks):
        whole = word(ranks[0])
        for q in ranks[1:]:
            whole = affine(whole, word(q))
        return whole

    def rank(world):
        r = world.rank
        method = getattr(world, collective)
        if name != "auto" and not find(collective, name).ordered:
            with pytest.raises(
                ValueError, match=r"'affine' does not commute.* does not keep rank order; these do: "
            ):
                method(word(r), AFFINE, algorithm=name)
            return
        for root in range(n) if COLLECTIVES[collective].rooted else [0]:
            at = {"root": root} if COLLECTIVES[collective].rooted else {}
            got = method(word(r), AFFINE, algorithm=name, **at)
            if collective == "reduce_scatter":
                all_equal(got, folded(range(n))[3 * r : 3 * r + 3])
            elif collective in ("scan", "exscan"):
                ranks = range(r + (collective == "scan"))
                all_equal(got, folded(ranks) if ranks else word(0))
            else:
                all_equal(got, folded(range(n)) if collective == "allreduce" or r == root else word(r))

    on_ranks(n, rank)
