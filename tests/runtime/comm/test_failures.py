"""Whatever goes wrong on one rank: the same clear error on every rank, in bounded time."""

import threading
import time

import numpy as np
import pytest
from ringleader.collectives import build, copy
from ringleader.collectives.collective import COLLECTIVES
from ringleader.collectives.schedule import Schedule
from ringleader.runtime.comm import (
    ArgumentError,
    CollectiveError,
    CollectiveTimeout,
    RankLost,
    spawn,
)

N = 3
ODD = 1  # the rank that does something else


def wrong_shape(world):
    world.allreduce(np.zeros(11 if world.rank == ODD else 10))


def wrong_shape_vendor(world):
    world.allreduce(np.zeros(11 if world.rank == ODD else 10), algorithm="vendor")


def same_count_other_shape(world):
    world.allreduce(np.zeros((2, 3) if world.rank == ODD else (3, 2)))


def wrong_dtype(world):
    world.allreduce(np.zeros(10, np.float32 if world.rank == ODD else np.float64))


def wrong_op(world):
    world.allreduce(np.zeros(10), "max" if world.rank == ODD else "sum")


def wrong_algorithm(world):
    world.allreduce(np.zeros(100_000), algorithm="tree" if world.rank == ODD else "ring")


def unknown_algorithm(world):
    world.allreduce(np.zeros(10), algorithm="rign")


def unknown_algorithm_on_one(world):
    world.allreduce(np.zeros(10), algorithm="rign" if world.rank == ODD else "ring")


def root_out_of_range(world):
    world.broadcast(np.zeros(10), root=N)


def read_only(world):
    x = np.zeros(10)
    x.flags.writeable = world.rank != ODD
    world.allreduce(x)


def not_an_array(world):
    world.allreduce([1, 2] if world.rank == ODD else np.zeros(2))


def wrong_out(world):
    world.allreduce(np.zeros(3), out=np.zeros(4 if world.rank == ODD else 3))


def integer_mean(world):
    world.allreduce(np.zeros(3, int), "mean")


def unknown_op(world):
    world.allreduce(np.zeros(3), "summ")


def not_divisible(world):
    world.alltoall(np.zeros(N + 1))


def wrong_collective(world):
    world.barrier() if world.rank == ODD else world.allreduce(np.zeros(3))


def split_against_barrier(world):
    world.split(0) if world.rank == ODD else world.barrier()


def unproved_schedule(world):
    half = Schedule(N, 1, (copy(0, 1),), COLLECTIVES["broadcast"], name="half")
    world.broadcast(np.zeros(3), algorithm=half)


def schedule_for_others(world):
    world.allreduce(np.zeros(3), algorithm=build("allreduce", "ring", N + 1))


CASES = {
    wrong_shape: ("ranks 0, 2: allreduce(float64[10]", "rank 1: allreduce(float64[11]"),
    wrong_shape_vendor: ("float64[10]", "rank 1: allreduce(float64[11], sum, vendor)"),
    same_count_other_shape: ("float64[3, 2]", "rank 1: allreduce(float64[2, 3]"),
    wrong_dtype: ("float64[10]", "rank 1: allreduce(float32[10]"),
    wrong_op: ("sum", "rank 1: allreduce(float64[10], max"),
    wrong_algorithm: ("ring", "rank 1: allreduce(float64[100000], sum, tree"),
    unknown_algorithm: ("ranks 0, 1, 2", "unknown allreduce algorithm 'rign'; known: auto, bid"),
    unknown_algorithm_on_one: ("ranks 0, 2: allreduce(", "rank 1: allreduce: ValueError: unknown"),
    root_out_of_range: ("ranks 0, 1, 2: broadcast", "root 3 is out of range for 3 ranks (0 ... 2)"),
    read_only: ("ranks 0, 2", "rank 1: allreduce: ValueError: x is read-only"),
    not_an_array: ("rank 1: allreduce: TypeError: x must be a numpy array", "list"),
    wrong_out: ("rank 1", "out is float64[4], but must be float64[3]"),
    integer_mean: ("mean", "int64 would lose the fraction"),
    unknown_op: ("unknown op 'summ'; known: sum, prod, max, min, mean",),
    not_divisible: ("axis 0 of shape (4,) does not divide into 3 blocks",),
    wrong_collective: ("ranks 0, 2: allreduce", "rank 1: barrier"),
    split_against_barrier: ("ranks 0, 2: barrier", "rank 1: split"),
    unproved_schedule: ("VerificationError", "broadcast 'half'", "rank 2, slot 0"),
    schedule_for_others: ("schedule 'ring' is for 4 ranks, this communicator has 3",),
}


def errors_on_every_rank(case, timeout=20.0):
    def rank(world):
        try:
            case(world)
        except CollectiveError as error:
            return error
        return None

    return spawn(N, rank, timeout=timeout)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", [c for c in CASES if c is not wrong_shape_vendor], ids=lambda c: c.__name__)
def test_the_same_error_on_every_rank(case):
    start = time.monotonic()
    errors = errors_on_every_rank(case)
    assert time.monotonic() - start < 15, "noticed by its time-out only"
    for error in errors:
        assert isinstance(error, ArgumentError)
        assert isinstance(error, ValueError)
        assert str(error) == str(errors[0])
        assert "communicator 'world'" in str(error)
        for part in CASES[case]:
            assert part in str(error)


def test_the_same_errors_over_mpi(mpi_job, tmp_path):
    """All cases in one job: each on a fresh communicator, since an error in flight ends one."""
    script = tmp_path / "cases.py"
    script.write_text(f"""
import importlib.util, sys
from mpi4py import MPI
from ringleader.runtime.comm import ArgumentError, init
from ringleader.runtime.comm.communicator import Communicator
from ringleader.runtime.comm.mpi import MpiTransport
spec = importlib.util.spec_from_file_location("cases", {__file__!r})
cases = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cases)
init(timeout=20)
for case, parts in cases.CASES.items():
    world = Communicator(MpiTransport(MPI.COMM_WORLD), timeout=20)
    try:
        case(world)
        text = "no error"
    except ArgumentError as error:
        text = str(error)
    texts = MPI.COMM_WORLD.allgather(text)
    assert len(set(texts)) == 1, (case.__name__, texts)
    assert all(part in text for part in parts), (case.__name__, text)
    if MPI.COMM_WORLD.rank == 0:
        print("same", case.__name__)
""")
    done = mpi_job(N, script, seconds=100)
    assert done.returncode == 0, done.stdout[-4000:]
    assert done.stdout.count("same ") == len(CASES)


@pytest.mark.timeout(60)
def test_broadcast_told_late_still_raises_on_every_rank():
    """A rank that already had its data when another found the fault raises at its next call."""

    def case(world):
        world.broadcast(np.zeros(11 if world.rank == N - 1 else 10))
        world.barrier()

    errors = errors_on_every_rank(case)
    assert len({str(e) for e in errors}) == 1
    assert "rank 2: broadcast(float64[11]" in str(errors[0])


@pytest.mark.timeout(60)
def test_broadcast_from_two_roots():
    def case(world):
        world.broadcast(np.zeros(10), root=1 if world.rank == ODD else 0)
        world.barrier()

    for error in errors_on_every_rank(case):
        assert "rank 1: broadcast(float64[10], root 1" in str(error)


@pytest.mark.timeout(60)
def test_a_rank_that_never_calls_is_named():
    def case(world):
        if world.rank == ODD:
            time.sleep(4)
        else:
            world.allreduce(np.zeros(3))

    errors = errors_on_every_rank(case, timeout=1.0)
    for r in (0, 2):
        assert isinstance(errors[r], CollectiveTimeout)
        assert isinstance(errors[r], TimeoutError)
        assert "rank 1 did not call within 1 s" in str(errors[r])


@pytest.mark.timeout(60)
@pytest.mark.parametrize("how", ["finished", "failed with KeyError: 'boom'"])
def test_a_rank_that_has_left_is_named_at_once(how):
    start = time.monotonic()
    caught = []

    def rank(world):
        if world.rank == ODD:
            if "failed" in how:
                raise KeyError("boom")
            return
        try:
            world.allreduce(np.zeros(3))
        except RankLost as error:
            caught.append(str(error))
            raise

    with pytest.raises(KeyError if "failed" in how else RankLost):
        spawn(N, rank, timeout=30)
    assert time.monotonic() - start < 15
    assert len(caught) == 2
    assert all(f"rank 1: has {how}" in text for text in caught)


@pytest.mark.timeout(60)
def test_point_to_point_errors():
    def rank(world):
        with pytest.raises(ValueError, match=r"dest 3 is out of range for 3 ranks \(0 ... 2\)"):
            world.send(np.zeros(1), 3)
        with pytest.raises(ValueError, match="tag must be at least 0"):
            world.send(np.zeros(1), 0, tag=-5)
        if world.rank == 0:
            world.send(np.zeros(3, np.float32), 1)
        if world.rank == 1:
            with pytest.raises(ValueError, match=r"out is float64\[2\], but rank 0 sent float32\[3\]"):
                world.recv(np.zeros(2), 0)
        if world.rank == 2:
            with pytest.raises(RankLost, match=r"recv from rank 0 \(tag 9\) on rank 2"):
                world.recv(source=0, tag=9)

    spawn(N, rank, timeout=20)


@pytest.mark.timeout(60)
def test_usable_after_an_error_that_all_ranks_made_before_sending():
    def rank(world):
        for _ in range(3):
            with pytest.raises(ArgumentError):
                world.allreduce(np.zeros(3), algorithm="nope")
        return world.allreduce(np.ones(1))[0]

    assert spawn(N, rank, timeout=20) == [N] * N


@pytest.mark.timeout(60)
def test_not_usable_after_an_error_in_flight_and_nothing_is_written_later():
    def rank(world):
        x = np.full(10 + (world.rank == ODD), float(world.rank))
        with pytest.raises(ArgumentError):
            world.allreduce(x)
        with pytest.raises(CollectiveError, match="cannot be used any more"):
            world.barrier()

    spawn(N, rank, timeout=20)


def test_one_rank_raises_plainly():
    def rank(world):
        with pytest.raises(ValueError, match="unknown allreduce algorithm"):
            world.allreduce(np.zeros(1), algorithm="nope")
        with pytest.raises(TypeError, match="numpy array"):
            world.allreduce(3.0)
        world.barrier()

    spawn(1, rank)


def test_spawn_refuses_no_ranks():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        spawn(0, print)


def test_what_is_under_way_is_given_up_where_a_later_call_hears_of_the_fault():
    """Or the rank would wait for it at its end, and raise something else."""
    started = threading.Barrier(N)

    def main(world):
        if world.rank == ODD:
            started.wait(20)
            with pytest.raises(ArgumentError, match="rank 1: allreduce: ValueError: no"):
                world.refuse("allreduce", "no")
            return
        world.allreduce(np.zeros(5), async_op=True)
        started.wait(20)
        while not world._agreement.reports:
            world._agreement.listen()
            time.sleep(0.001)
        with pytest.raises(ArgumentError, match="rank 1: allreduce: ValueError: no"):
            world.allreduce(np.zeros(5), async_op=True)

    spawn(N, main, timeout=20)
