"""AllReduce through MPI's shared windows: what runs where the engine is not built. Each case is an MPI job."""

import inspect
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.coded import coded, total
from ringleader.runtime.comm import ArgumentError, CollectiveTimeout, Op, RankLost, init, spawn

HEAD = """
import importlib.util, sys
sys.path.insert(0, {helpers!r})
spec = importlib.util.spec_from_file_location("cases", {module!r})
cases = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cases)
cases.{name}()
print("right")
"""
ODD = 1  # the rank that does something else


@pytest.fixture
def on_windows(mpi_job):
    """on_windows(n, case): runs that function of this module on n ranks; it must succeed on all."""

    def run(n, case, right=True, seconds=100):
        helpers = str(Path(__file__).parents[2])
        script = HEAD.format(helpers=helpers, module=__file__, name=case.__name__)
        done = mpi_job(n, "-c", script, RINGLEADER_TRANSPORT="windows", seconds=seconds)
        if right:
            assert done.returncode == 0, done.stdout[-4000:]
            assert done.stdout.count("right") == n, done.stdout[-4000:]
        return done

    return run


def small_pieces():
    """A world in which even a few elements go through the window, in pieces of 240 bytes."""
    from ringleader.runtime.comm import windows

    windows.LEAST, windows.PIECE = 8, 240
    return init(timeout=30)


def windowed(world):
    """The calls of this world that went through the window, as they start."""
    started = []
    original = world._transport.work_for

    def work_for(call, number):
        work = original(call, number)
        started.append(work is not None)
        return work

    world._transport.work_for = work_for
    return started


def every_size():
    world = small_pieces()
    started = windowed(world)
    n = world.size
    for size in [0, 1, 2, 3, 29, 30, 31, 59, 60, 61, 89, 90, 91, 997, 20_000]:  # 30 int64 are a piece
        x = coded(size, world.rank)
        assert world.allreduce(x, algorithm="two-shot") is x
        np.testing.assert_array_equal(x, total(size, n))
        out = np.empty(2 * size, np.int64)[::2]  # not contiguous
        before = coded(size, world.rank)
        assert world.allreduce(before, out=out, algorithm="two-shot") is out
        np.testing.assert_array_equal(out, total(size, n))
        np.testing.assert_array_equal(before, coded(size, world.rank))
    assert sum(started) == (28 if n > 1 else 0)
    assert world.transport == ("windows" if n > 1 else "threads")


def real_sizes():
    """With the pieces and the choice that users get."""
    from ringleader.runtime.comm import windows

    world = init(timeout=30)
    started = windowed(world)
    for nbytes in [
        windows.LEAST - 8,
        windows.LEAST,
        windows.PIECE,
        windows.PIECE + 8,
        windows.MOST,
        windows.MOST + 8,
    ]:
        x = coded(nbytes // 8, world.rank)
        world.allreduce(x)
        np.testing.assert_array_equal(x, total(x.size, world.size))
    assert started == [False, True, True, True, True, False]


def every_op_and_dtype():
    world = small_pieces()
    started = windowed(world)
    for op in ("sum", "prod", "max", "min", "mean", "and", "or", "xor"):
        for dtype in "?bhiqBHIQefdgFD":
            if (op == "mean" and dtype not in "efdgFD") or (op in ("and", "or", "xor") and dtype in "efdgFD"):
                continue
            x = ((np.arange(77) + world.rank) % 3).astype(dtype)  # small: exact in every dtype
            expected = spawn(world.size, everyones, x.dtype, op)[0]
            world.allreduce(x, op, algorithm="two-shot")
            assert x.dtype == expected.dtype
            np.testing.assert_array_equal(x, expected, err_msg=f"{op} {dtype}")
    assert set(started) == {world.size > 1}


def everyones(threads, dtype, op):
    return threads.allreduce(((np.arange(77) + threads.rank) % 3).astype(dtype), op, algorithm="ring")


def same_bits_as_threads():
    world = small_pieces()

    def own(rank, size):
        return np.random.default_rng(rank).standard_normal(size, np.float32)

    for size in (7, 61, 10_007):
        expected = spawn(
            world.size, lambda w, size=size: w.allreduce(own(w.rank, size), "mean", algorithm="two-shot")
        )[0]
        x = world.allreduce(own(world.rank, size), "mean", algorithm="two-shot")
        np.testing.assert_array_equal(x.view(np.uint32), expected.view(np.uint32))


def rank_order():
    """An operation that does not commute: keep the first operand's leading digits, append the second's."""
    world = small_pieces()
    append = Op("append", lambda a, b, out=None: np.add(a * 10, b, out=out), commutes=False)
    x = world.allreduce(np.full(100, world.rank + 1), append, algorithm="two-shot")
    assert set(x.tolist()) == {int("12345678"[: world.size])}


def many_in_flight():
    """Windows, messages and two communicators at once; waited for in any order, or only tested."""
    world = small_pieces()
    half = world.split(world.rank % 2, world.rank)
    arrays = [coded(50 + i, world.rank) for i in range(40)]
    halves = [coded(50 + i, half.rank) for i in range(40)]
    small = [np.array([world.rank]) for _ in arrays]
    handles = []
    for a, h, s in zip(arrays, halves, small):
        handles += [
            world.allreduce(a, algorithm="two-shot", async_op=True),
            half.allreduce(h, algorithm="two-shot", async_op=True),
            world.broadcast(s, world.size - 1, async_op=True),
        ]
    for handle in handles[::-2]:
        handle.wait()
    deadline = time.monotonic() + 60
    while not handles[0].test():  # only this one is asked
        assert time.monotonic() < deadline
    for handle in handles:
        handle.wait()
    for a, h, s in zip(arrays, halves, small):
        np.testing.assert_array_equal(a, total(a.size, world.size))
        np.testing.assert_array_equal(h, total(h.size, half.size))
        assert s[0] == world.size - 1
    assert half.transport == ("windows" if half.size > 1 else "mpi")


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("case", [every_size, every_op_and_dtype], ids=lambda c: c.__name__)
def test_exact(n, case, on_windows):
    on_windows(n, case)


@pytest.mark.parametrize(
    "case", [real_sizes, same_bits_as_threads, rank_order, many_in_flight], ids=lambda c: c.__name__
)
def test_on_three_ranks(case, on_windows):
    on_windows(3, case)


def test_every_collective_runs_beside_the_windows(mpi_job):
    module = Path(__file__).parent / "test_collectives.py"
    options = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--color=no", "-k", "not pieces-of"]
    done = mpi_job(
        2, *options, module, RINGLEADER_TEST_RANKS="2", RINGLEADER_TRANSPORT="windows", seconds=110
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert done.stdout.count(" passed") == 2, done.stdout[-4000:]


# What goes wrong


def sizes_in_the_window(world):
    world.allreduce(np.zeros(5001 if world.rank == ODD else 5000))


def one_by_messages(world):
    world.allreduce(np.zeros(10 if world.rank == ODD else 5000))


def two_by_messages(world):
    world.allreduce(np.zeros(5000 if world.rank == ODD else 10))


def other_op(world):
    world.allreduce(np.zeros(5000), "max" if world.rank == ODD else "sum")


def a_barrier(world):
    world.barrier() if world.rank == ODD else world.allreduce(np.zeros(5000))


def one_only_receives(world):
    world.broadcast(np.zeros(3)) if world.rank == ODD else world.allreduce(np.zeros(5000))


def two_only_receive(world):
    world.allreduce(np.zeros(5000)) if world.rank == ODD else world.broadcast(np.zeros(3), ODD)


def other_order(world):
    """Rank 1 has left call 1 when it comes to what the others call there."""
    world.allreduce(np.zeros(5000))
    if world.rank == ODD:
        world.reduce(np.zeros(3))
    world.allreduce(np.zeros(5000))
    if world.rank != ODD:
        world.reduce(np.zeros(3))


FAULTS = {
    sizes_in_the_window: ("ranks 0, 2: allreduce(float64[5000]", "rank 1: allreduce(float64[5001]"),
    one_by_messages: ("ranks 0, 2: allreduce(float64[5000]", "rank 1: allreduce(float64[10]"),
    two_by_messages: ("ranks 0, 2: allreduce(float64[10]", "rank 1: allreduce(float64[5000]"),
    other_op: ("ranks 0, 2: allreduce(float64[5000], sum", "rank 1: allreduce(float64[5000], max"),
    a_barrier: ("ranks 0, 2: allreduce(float64[5000]", "rank 1: barrier"),
    one_only_receives: ("ranks 0, 2: allreduce(float64[5000]", "rank 1: broadcast(float64[3]"),
    two_only_receive: ("ranks 0, 2: broadcast(float64[3]", "rank 1: allreduce(float64[5000]"),
    other_order: ("ranks 0, 2: allreduce(float64[5000]", "rank 1: reduce(float64[3]"),
}


def every_fault():
    """Each on a fresh communicator, since an error in flight ends one."""
    from mpi4py import MPI
    from ringleader.runtime.comm.communicator import Communicator
    from ringleader.runtime.comm.windows import WindowsTransport

    init(timeout=60)
    for case, parts in FAULTS.items():
        world = Communicator(WindowsTransport(MPI.COMM_WORLD), timeout=60)
        start = time.monotonic()
        with pytest.raises(ArgumentError) as caught:
            case(world)
        assert time.monotonic() - start < 30, "noticed by its time-out only"
        texts = MPI.COMM_WORLD.allgather(str(caught.value))
        assert len(set(texts)) == 1, (case.__name__, texts)
        assert all(part in texts[0] for part in parts), (case.__name__, texts[0])


def never_calls():
    world = init(timeout=1.0)
    if world.rank == ODD:
        time.sleep(4)
        return
    x = np.zeros(5000)
    with pytest.raises(CollectiveTimeout, match="rank 1 did not call within 1 s"):
        world.allreduce(x)


def has_finished():
    world = init(timeout=60)
    world.allreduce(np.zeros(5000))
    if world.rank != ODD:
        with pytest.raises(RankLost, match="rank 1: has finished"):
            world.allreduce(np.zeros(5000))


def is_killed():
    import os
    import signal

    world = init(timeout=60)
    world.allreduce(np.zeros(5000))
    if world.rank == ODD:
        os.kill(os.getpid(), signal.SIGKILL)
    world.allreduce(np.zeros(5000))


def test_disagreements_are_the_same_error_on_every_rank(on_windows):
    on_windows(3, every_fault)


def test_a_rank_that_never_calls_is_named(on_windows):
    done = on_windows(3, never_calls, right=False, seconds=60)
    assert done.stdout.count("right") == 3, done.stdout[-4000:]


def test_a_rank_that_has_left_is_named(on_windows):
    start = time.monotonic()
    done = on_windows(3, has_finished, right=False, seconds=60)
    assert done.stdout.count("right") == 3, done.stdout[-4000:]
    assert time.monotonic() - start < 40, "noticed by its time-out only"


def test_a_killed_rank_ends_the_job(on_windows):
    done = on_windows(3, is_killed, right=False, seconds=60)
    assert done.returncode != 0
    assert "right" not in done.stdout


def test_an_unknown_transport_is_refused(mpi_job):
    done = mpi_job(2, "-c", inspect.getsource(init_only) + "\ninit_only()", RINGLEADER_TRANSPORT="pigeons")
    assert done.returncode != 0
    assert "RINGLEADER_TRANSPORT='pigeons': use one of shm, windows, mpi" in done.stdout


def init_only():
    import ringleader as rl

    rl.init()
