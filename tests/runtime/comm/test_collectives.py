"""AllReduce and the other first collectives in depth: sizes, pieces, dtypes, layouts, handles, groups.

test_every_algorithm.py runs all algorithms of all collectives.
"""

import os
import numpy as np
import pytest
from helpers.coded import RANKS, SIZES, STRIDE, UNDER_MPI, coded, on_ranks, total
from ringleader.collectives import algorithms, build
from ringleader.runtime.comm import init

ALLREDUCE = ["auto", *algorithms("allreduce"), *(["vendor"] if UNDER_MPI > 1 else [])]
BROADCAST = ["auto", *algorithms("broadcast"), *(["vendor"] if UNDER_MPI > 1 else [])]


NODES = int(os.environ.get("RINGLEADER_NODES", "1"))  # that are pretended


@pytest.fixture(params=[None, 24], ids=["whole", "pieces-of-24-bytes"])
def pieces(request, monkeypatch):
    """Also with messages cut into tiny pieces, as messages over 1 GiB are."""
    if request.param:
        for transport in ("threads.ThreadsTransport", *(["mpi.MpiTransport"] if UNDER_MPI > 1 else [])):
            monkeypatch.setattr(f"ringleader.runtime.comm.{transport}.max_message", request.param)
    return request.param


@pytest.mark.parametrize("n", RANKS)
@pytest.mark.parametrize("name", ALLREDUCE)
def test_allreduce(n, name, pieces):
    def rank(world):
        for size in SIZES[:5] if pieces else SIZES:
            x = coded(size, world.rank)
            assert world.allreduce(x, algorithm=name) is x
            np.testing.assert_array_equal(x, total(size, n))

    on_ranks(n, rank)


@pytest.mark.parametrize("n", RANKS)
@pytest.mark.parametrize("name", BROADCAST)
def test_broadcast_from_every_root(n, name, pieces):
    def rank(world):
        for root in range(n):
            for size in SIZES[:4] if pieces else SIZES:
                x = coded(size, world.rank)
                assert world.broadcast(x, root, algorithm=name) is x
                np.testing.assert_array_equal(x, coded(size, root))

    on_ranks(n, rank)


@pytest.mark.parametrize("n", RANKS)
def test_broadcast_by_schedule_with_any_chunk_count(n):
    def rank(world):
        for chunks in (1, 3, 64):
            for size in (0, 1, 50, 997):
                x = coded(size, world.rank)
                world.broadcast(x, n - 1, algorithm=build("broadcast", "chain", n, n - 1, chunks=chunks))
                np.testing.assert_array_equal(x, coded(size, n - 1))

    on_ranks(n, rank)


@pytest.mark.parametrize("n", RANKS)
def test_alltoall(n, pieces):
    def rank(world):
        for size in (0, 1, 13, 101):
            x = coded(n * size, world.rank).reshape(n * size, 1)
            before = x.copy()
            got = world.alltoall(x)
            np.testing.assert_array_equal(x, before)
            mine = np.arange(world.rank * size, (world.rank + 1) * size) * STRIDE
            np.testing.assert_array_equal(got.ravel(), np.concatenate([mine + q for q in range(n)]))
            out = np.empty_like(x)
            assert world.alltoall(x, out=out) is out
            np.testing.assert_array_equal(out, got)

    on_ranks(n, rank)


@pytest.mark.parametrize("n", RANKS)
def test_exscan_leaves_rank_zero_alone(n):
    def rank(world):
        for size in (0, 1, 13, 997):
            out = np.full(size, -7)
            world.exscan(coded(size, world.rank), out=out)
            r = world.rank
            expected = np.arange(size) * STRIDE * r + r * (r - 1) // 2 if r else np.full(size, -7)
            np.testing.assert_array_equal(out, expected)
            if r == 0:
                np.testing.assert_array_equal(world.exscan(coded(size, 0)), coded(size, 0))
            else:
                world.exscan(coded(size, r))

    on_ranks(n, rank)


DTYPES = ["?", "b", "h", "i", "q", "B", "H", "I", "Q", "e", "f", "d", "g"]


@pytest.mark.parametrize("n", RANKS)
@pytest.mark.parametrize("name", ["ring", "recursive-doubling", "tree"])
@pytest.mark.parametrize("op", ["sum", "prod", "max", "min", "mean"])
def test_every_op_and_real_dtype(n, name, op):
    ufunc = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum, "mean": np.add}[op]

    def contribution(rank, dtype):
        return ((np.arange(11) + rank) % 3).astype(dtype)  # small: exact in every dtype

    def rank(world):
        for dtype in DTYPES:
            if op == "mean" and dtype not in "efdg":
                continue
            x = contribution(world.rank, dtype)
            world.allreduce(x, op, algorithm=name)
            expected = contribution(0, dtype)
            for q in range(1, n):
                expected = ufunc(expected, contribution(q, dtype))
            if op == "mean":
                expected = expected / np.dtype(dtype).type(n)
            assert x.dtype == np.dtype(dtype)
            np.testing.assert_array_equal(x, expected, err_msg=dtype)

    on_ranks(n, rank)


@pytest.mark.parametrize("n", RANKS)
def test_any_shape_and_layout(n):
    def rank(world):
        r = world.rank
        scalar = np.array(r + 1)
        assert world.allreduce(scalar) is scalar
        assert scalar == n * (n + 1) // 2
        empty = world.allreduce(np.empty((3, 0, 2)))
        assert empty.shape == (3, 0, 2)
        big = np.full((6, 8), -1)
        strided = big[::2, 1:7:3]
        strided[...] = coded(6, r).reshape(3, 2)
        world.allreduce(strided, algorithm="ring")
        np.testing.assert_array_equal(strided.ravel(), total(6, n))
        assert np.all(big[1::2] == -1)
        assert np.all(big[:, 0] == -1)
        transposed = coded(6, r).reshape(2, 3).T
        world.broadcast(transposed, n - 1)
        np.testing.assert_array_equal(transposed, coded(6, n - 1).reshape(2, 3).T)
        reversed_view = coded(7, r)[::-1]
        world.allreduce(reversed_view)
        np.testing.assert_array_equal(reversed_view, total(7, n)[::-1])
        swapped = coded(5, r, ">f8")
        np.testing.assert_array_equal(world.allreduce(swapped), total(5, n))

    on_ranks(n, rank)


@pytest.mark.parametrize("n", RANKS)
def test_out_of_place(n):
    def rank(world):
        x, out = coded(9, world.rank), np.empty(9, np.int64)
        x.flags.writeable = False
        assert world.allreduce(x, out=out) is out
        np.testing.assert_array_equal(x, coded(9, world.rank))
        np.testing.assert_array_equal(out, total(9, n))

    on_ranks(n, rank)


@pytest.mark.parametrize("n", RANKS)
def test_same_bits_on_every_rank(n):
    """Floating-point sums depend on the order; every rank must have folded in the same one."""

    def rank(world):
        x = np.random.default_rng(world.rank).standard_normal(1001).astype(np.float32)
        results = {}
        for name in algorithms("allreduce"):
            mine = world.allreduce(x.copy(), algorithm=name)
            again = world.allreduce(x.copy(), algorithm=name)
            np.testing.assert_array_equal(mine, again)
            others = world.broadcast(mine.copy(), 0)
            np.testing.assert_array_equal(mine.view(np.int32), others.view(np.int32))
            results[name] = mine
        return results

    on_ranks(n, rank)


@pytest.mark.parametrize("n", RANKS)
def test_async_handles_in_any_order(n):
    def rank(world):
        xs = [coded(50 * i, world.rank) + i for i in range(1, 8)]
        handles = [world.allreduce(x, algorithm="ring", async_op=True) for x in xs]
        order = np.random.default_rng(world.rank).permutation(len(handles))  # differs between ranks
        for i in order:
            assert handles[i].wait() is xs[i]
            assert handles[i].test()
        for i, x in enumerate(xs, start=1):
            np.testing.assert_array_equal(x, total(50 * i, n) + i * n)
        if UNDER_MPI > 1:
            v = world.allreduce(coded(9, world.rank), algorithm="vendor", async_op=True)
            assert v.test()
            np.testing.assert_array_equal(v.wait(), total(9, n))
        b = world.broadcast(coded(9, world.rank), async_op=True)
        np.testing.assert_array_equal(b.wait(), coded(9, 0))

    on_ranks(n, rank)


@pytest.mark.parametrize("n", RANKS)
def test_many_calls_in_flight_and_one_never_waited_for(n):
    def rank(world):
        handles = [world.allreduce(coded(3, world.rank), async_op=True) for _ in range(100)]
        np.testing.assert_array_equal(handles[-1].wait(), total(3, n))
        world.barrier()

    on_ranks(n, rank)


@pytest.mark.parametrize("n", RANKS)
def test_split(n):
    def rank(world):
        r = world.rank
        half = world.split(r % 2, key=-r)
        members = sorted((q for q in range(n) if q % 2 == r % 2), reverse=True)
        assert (half.size, half.rank) == (len(members), members.index(r))
        x = half.allreduce(np.array([r, 1]))
        assert x.tolist() == [sum(members), len(members)]
        nobody = world.split(None if r == 0 else 5)
        assert (nobody is None) == (r == 0)
        if nobody is not None:
            assert nobody.allreduce(np.array([1]))[0] == n - 1
        quarter = half.split(half.rank // 2)
        assert quarter.broadcast(np.array([r]))[0] == members[half.rank // 2 * 2]
        h1 = world.allreduce(coded(100, r), async_op=True)  # in flight while a sub-communicator works
        half.barrier()
        np.testing.assert_array_equal(h1.wait(), total(100, n))

    on_ranks(n, rank)


@pytest.mark.parametrize("n", RANKS)
def test_send_and_recv(n, pieces):
    def rank(world):
        r, right, left = world.rank, (world.rank + 1) % n, (world.rank - 1) % n
        if n == 1:
            return
        x = coded(60, r, np.int32).reshape(3, 4, 5)
        if r % 2 == 0:
            world.send(x, right, tag=7)
        got = world.recv(source=left, tag=7)
        if r % 2 == 1:
            world.send(x, right, tag=7)
        np.testing.assert_array_equal(got, coded(60, left, np.int32).reshape(3, 4, 5))
        if r == 0:
            seen = sorted(int(world.recv()[0]) for _ in range(n - 1))  # any source, any tag
            assert seen == list(range(1, n))
        else:
            world.send(np.array([r]), 0, tag=r)
        world.barrier()
        if r == 0:
            world.send(np.array(2.5), 1, tag=2)
            world.send(np.empty((0, 3), np.float32), 1, tag=1)
        if r == 1:
            assert world.recv(source=0, tag=2) == 2.5
            out = np.empty((0, 3), np.float32)
            assert world.recv(out, 0, tag=1) is out

    if n % 2 == 0 or n == 1:  # the exchange above pairs even with odd ranks
        on_ranks(n, rank)
    else:
        on_ranks(n, lambda world: _star(world, n))


def _star(world, n):
    if world.rank == 0:
        assert sorted(int(world.recv(source=q)[0]) for q in range(1, n)) == list(range(1, n))
    else:
        world.send(np.array([world.rank]), 0)


@pytest.mark.parametrize("n", RANKS)
def test_who_is_where(n):
    def rank(world):
        nodes = [r * NODES // n for r in range(n)]
        here = [r for r in range(n) if nodes[r] == nodes[world.rank]]
        expected = (here.index(world.rank), len(here), sorted(set(nodes)).index(nodes[world.rank]))
        assert (world.local_rank, world.local_size, world.node_rank) == expected
        assert init() is world
        return world.rank

    ranks = on_ranks(n, rank)
    if not UNDER_MPI:
        assert ranks == list(range(n))


@pytest.mark.parametrize("n", RANKS)
def test_a_schedule_of_ones_own(n):
    def rank(world):
        mine = build("allreduce", "tree", n)
        np.testing.assert_array_equal(world.allreduce(coded(5, world.rank), algorithm=mine), total(5, n))

    on_ranks(n, rank)
