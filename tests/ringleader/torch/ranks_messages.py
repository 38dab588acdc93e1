"""Point to point, on two ranks or more: any number of messages under way, in any order; run by test_collectives.py."""

import pytest
import torch
from helpers.coded_tensors import DTYPES, coded, exactly, laid_out

LARGE = 1 << 20  # elements: more than any MPI sends before the receiver has come


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_around_a_ring(world, rank, n, dtype):
    for shape in [(), (0,), (13,), (3, 4)]:
        for x, out in zip(laid_out(coded(shape, rank, dtype)), laid_out(torch.zeros(shape, dtype=dtype))):
            sending = world.isend(x, (rank + 1) % n, tag=5)
            assert world.recv(out, (rank - 1) % n, tag=5) == (rank - 1) % n
            sending.wait()
            exactly(out, coded(shape, (rank - 1) % n, dtype))


def test_receives_before_sends_of_large_messages(world, rank, n):
    """Every rank waits for every other, and a collective comes first: nothing may hold up anything else."""
    others = [r for r in range(n) if r != rank]
    out = {r: torch.zeros(LARGE) for r in others}
    receives = [world.irecv(out[r], r) for r in others]
    x = torch.ones(13)
    world.all_reduce(x)
    exactly(x, torch.full((13,), float(n)))
    sends = [world.isend(coded((LARGE,), rank, torch.float32), r) for r in reversed(others)]
    for work in receives + sends:
        work.wait()
    for r in others:
        exactly(out[r], coded((LARGE,), r, torch.float32))


def test_batch(world, rank, n):
    out = torch.zeros(LARGE)
    operations = [
        world.P2POp(world.irecv, out, (rank - 1) % n),
        world.P2POp(world.isend, coded((LARGE,), rank, torch.float32), (rank + 1) % n),
    ]
    for work in world.batch_isend_irecv(operations):
        work.wait()
    exactly(out, coded((LARGE,), (rank - 1) % n, torch.float32))


def test_from_anyone(world, rank, n):
    if rank == 0:
        heard = []
        for _ in range(n - 1):
            out = torch.zeros(13)
            heard.append(world.recv(out, tag=3))
            exactly(out, coded((13,), heard[-1], torch.float32))
        assert sorted(heard) == list(range(1, n))
    else:
        world.send(coded((13,), rank, torch.float32), 0, tag=3)


def test_tags_tell_messages_apart(world, rank, n):
    if rank == 0:
        works = [world.isend(torch.full((4,), float(tag)), 1, tag=tag) for tag in (1, 2)]
        for work in works:
            work.wait()
    elif rank == 1:
        for tag in (2, 1):
            out = torch.zeros(4)
            world.recv(out, 0, tag=tag)
            exactly(out, torch.full((4,), float(tag)))


@pytest.mark.parametrize(("sent", "taken"), [(3, 5), (5, 3)])
def test_another_size_is_an_error_for_the_receiver(world, rank, n, sent, taken):
    if rank == 0:
        world.send(torch.ones(sent), 1)
    elif rank == 1:
        with pytest.raises(RuntimeError, match=r"recv from rank 0 \(tag 0\) on rank 1: .*20|12") as caught:
            world.recv(torch.ones(taken), 0)
        assert f"{4 * taken}" in str(caught.value)
    world.barrier()
    if rank == 0:  # and later messages arrive
        world.send(torch.ones(3), 1)
    elif rank == 1:
        world.recv(out := torch.zeros(3), 0)
        exactly(out, torch.ones(3))


def test_in_a_subgroup(world, rank, n):
    members = list(range(n - 2, n))
    group = world.new_group(members)
    if rank in members:
        other = members[1 - members.index(rank)]
        work = world.isend(torch.tensor([rank]), other, group=group)
        out = torch.zeros(1, dtype=torch.int64)
        assert world.recv(out, other, group=group) == other
        work.wait()
        exactly(out, torch.tensor([other]))
    world.barrier()
