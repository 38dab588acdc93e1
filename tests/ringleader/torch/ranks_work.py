"""Work objects and futures, and what goes wrong with them; run by test_collectives.py on two ranks or more.

Order is forced by keys in PyTorch's store, not by the clock: a rank that must come late waits for a key that
another sets once it has seen that the call is under way.
"""

from datetime import timedelta

import pytest
import torch
from helpers.coded_tensors import exactly

NUMBERS = iter(range(1_000_000))  # equal on all ranks, since all run the same tests


@pytest.fixture
def group(world):
    """A fresh one, since an error in flight ends a group."""
    group = world.new_group(timeout=timedelta(seconds=20))
    yield group
    world.barrier()


@pytest.fixture
def gate(world):
    """A key that nobody has set yet: (set, wait for it)."""
    store, key = world.distributed_c10d._get_default_store(), f"gate/{next(NUMBERS)}"
    return (lambda: store.set(key, "open")), (lambda: store.wait([key], timedelta(seconds=30)))


def test_a_call_is_under_way_until_all_have_come(world, rank, n, gate):
    opened, wait_for_it = gate
    x = torch.full((1000,), float(rank))
    if rank == 0:
        work = world.all_reduce(x, async_op=True)
        assert not work.is_completed()
        assert not work.is_success()
        opened()
    else:
        wait_for_it()
        work = world.all_reduce(x, async_op=True)
    assert work.wait() is True
    assert work.is_completed()
    assert work.is_success()
    exactly(x, torch.full((1000,), float(sum(range(n)))))
    assert work.result()[0] is x


def test_a_future_runs_its_callback_when_it_is_complete(world, rank, n, gate):
    opened, wait_for_it = gate
    events = []
    if rank != 0:
        wait_for_it()
    future = world.all_reduce(torch.ones(10), async_op=True).get_future()
    chained = future.then(lambda f: (events.append("callback"), f.value()[0] * 2)[1])
    if rank == 0:
        events.append("under way")
        opened()
    exactly(chained.wait(), torch.full((10,), 2.0 * n))
    assert events == (["under way", "callback"] if rank == 0 else ["callback"])
    exactly(future.value()[0], torch.full((10,), float(n)))


def test_a_future_of_a_call_that_is_complete(world, n):
    work = world.all_reduce(x := torch.ones(10), async_op=True)
    work.wait()
    assert work.get_future().wait() == [x]


def test_a_callback_may_wait_for_other_calls(world, rank, n, gate):
    """Gradient compression (PowerSGD) does. On rank 0 it surely runs on the thread that completed the call; on the
    others the call may be complete before it has a callback, which then runs at once."""
    opened, wait_for_it = gate
    if rank != 0:
        wait_for_it()
    first = world.all_reduce(torch.ones(10), async_op=True)
    second = world.all_reduce(x := torch.ones(10), async_op=True)

    def callback(future):
        second.wait()
        return world.all_reduce(future.value()[0], async_op=True).get_future().wait()[0]

    chained = first.get_future().then(callback)
    if rank == 0:
        opened()
    exactly(chained.wait(), torch.full((10,), float(n * n)))
    exactly(x, torch.full((10,), float(n)))


def test_many_calls_complete_in_any_order_of_waiting(world, rank, n):
    tensors = [torch.full((100,), float(i + rank)) for i in range(100)]
    works = [world.all_reduce(x, async_op=True) for x in tensors]
    for work in reversed(works):
        work.wait()
    for i, x in enumerate(tensors):
        exactly(x, torch.full((100,), float(n * i + sum(range(n)))))


def test_wait_with_a_limit(world, rank, gate):
    opened, wait_for_it = gate
    if rank != 0:
        wait_for_it()
    work = world.all_reduce(torch.ones(10), async_op=True)
    if rank == 0:
        with pytest.raises(RuntimeError, match=r"allreduce on rank 0 .*still under way after 0\.01 s"):
            work.wait(timedelta(seconds=0.01))
        opened()
    work.wait()


@pytest.mark.parametrize("how", ["wait", "future", "synchronous"])
def test_ranks_that_disagree_get_the_same_error(world, rank, group, how):
    x = torch.ones(3 if rank == 0 else 4)
    with pytest.raises(RuntimeError) as caught:
        if how == "synchronous":
            world.all_reduce(x, group=group)
        else:
            work = world.all_reduce(x, group=group, async_op=True)
            _ = work.get_future().wait() if how == "future" else work.wait()
    for part in ("the ranks disagree", "rank 0: allreduce(float32[3], sum", "allreduce(float32[4], sum"):
        assert part in str(caught.value)
    with pytest.raises(RuntimeError, match="cannot be used any more"):  # nor does it hang
        world.all_reduce(torch.ones(3), group=group)


def test_the_exception_can_be_asked_for(world, rank, group):
    work = world.all_reduce(torch.ones(3 + rank), group=group, async_op=True)
    with pytest.raises(RuntimeError):
        work.wait()
    assert work.is_completed()
    assert not work.is_success()
    assert "the ranks disagree" in str(work.exception())


def test_a_message_that_never_comes(world, rank):
    group = world.new_group(timeout=timedelta(seconds=1))
    if rank == 0:
        with pytest.raises(RuntimeError, match=r"recv from rank 1 \(tag 7\) on rank 0: no answer within 1 s"):
            world.recv(torch.ones(3), 1, tag=7, group=group)
        work = world.isend(torch.ones(1 << 20), 1, tag=7, group=group)
        with pytest.raises(RuntimeError, match=r"send to rank 1 \(tag 7\) on rank 0: no answer within 1 s"):
            work.wait()
    world.barrier()


def test_what_cannot_be_done_is_said_at_once(world, rank, n):
    x, ints = torch.ones(3), torch.ones(3, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"ReduceOp\.BAND is for integers and bool, not torch\.float32"):
        world.all_reduce(x, world.ReduceOp.BAND)
    with pytest.raises(ValueError, match=r"ReduceOp\.AVG of torch\.int64 would lose the fraction"):
        world.all_reduce(ints, world.ReduceOp.AVG)
    with pytest.raises(ValueError, match=r"no ReduceOp\.PREMUL_SUM; it has SUM, AVG"):
        world.all_reduce(x, world._make_nccl_premul_sum(2.0))
    with pytest.raises(TypeError, match=r"dense CPU tensors, not torch\.strided on meta"):
        world.all_reduce(torch.ones(3, device="meta"))
    with pytest.raises(TypeError, match=r"cannot take this torch\.float8_e5m2 tensor"):
        world.broadcast(torch.ones(3).to(torch.float8_e5m2), 0)
    with pytest.raises(ValueError, match=f"all_gather_single: \\[5\\] must hold {n} blocks of \\[3\\]"):
        world.all_gather_into_tensor(torch.ones(5), x)
    with pytest.raises(ValueError, match=f"1 tensors for {n} ranks"):
        world.all_gather([torch.ones(3)], x)
    # PyTorch's own words, up to 2.13 and from 2.14 on
    refused = r"only implemented for GLOO|requires a group with a CPU-capable backend \(e\.g\. GLOO\)"
    with pytest.raises(ValueError, match=refused):
        world.monitored_barrier()


def test_a_destroyed_group_refuses_calls(world, n):
    group = world.new_group()
    work = world.all_reduce(x := torch.ones(10), group=group, async_op=True)
    world.destroy_process_group(group)  # completes what is under way
    assert work.is_completed()
    exactly(x, torch.full((10,), float(n)))
    with pytest.raises(RuntimeError, match="this process group has been destroyed"):
        group.allreduce([x])
