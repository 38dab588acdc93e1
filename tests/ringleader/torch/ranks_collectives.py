"""Every collective on coded values, whatever the number of ranks; run by test_collectives.py."""

import pytest
import torch
import torch.distributed._functional_collectives as functional
from helpers.coded_tensors import DTYPES, FLOATS, INTEGERS, NUMBERS, SHAPES, coded, exactly, laid_out
from torch.distributed import ReduceOp

# by the names that all versions of PyTorch know
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated. Please use:FutureWarning")

FOLDS = {
    ReduceOp.SUM: lambda x: x.sum(0),
    ReduceOp.PRODUCT: lambda x: x.prod(0),
    ReduceOp.MIN: lambda x: x.amin(0),
    ReduceOp.MAX: lambda x: x.amax(0),
}
BITS = {
    ReduceOp.BAND: torch.bitwise_and,
    ReduceOp.BOR: torch.bitwise_or,
    ReduceOp.BXOR: torch.bitwise_xor,
}
some_dtypes = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool], ids=str
)
all_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def exact(dtype):
    """Where to fold without rounding."""
    return torch.complex128 if dtype.is_complex else torch.float64 if dtype.is_floating_point else torch.int64


def folded(op, shape, n, dtype, below=31):
    of_all = torch.stack([coded(shape, r, dtype, below).to(exact(dtype)) for r in range(n)])
    return FOLDS[op](of_all).to(dtype)


@pytest.mark.parametrize("op", FOLDS, ids=str)
@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_all_reduce(world, rank, n, dtype, op):
    below = 4 if op == ReduceOp.PRODUCT else 31
    for shape in SHAPES:
        for x in laid_out(coded(shape, rank, dtype, below)):
            world.all_reduce(x, op)
            exactly(x, folded(op, shape, n, dtype, below))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
def test_all_reduce_of_complex(world, rank, n, dtype):
    for shape in SHAPES[1:]:
        x = coded(shape, rank, dtype)
        world.all_reduce(x)
        exactly(x, folded(ReduceOp.SUM, shape, n, dtype))


def test_all_reduce_of_bool_is_or(world, rank, n):
    x = coded((13,), rank, torch.bool)
    world.all_reduce(x)
    exactly(x, torch.stack([coded((13,), r, torch.bool) for r in range(n)]).any(0))


@pytest.mark.parametrize("op", BITS, ids=str)
@pytest.mark.parametrize("dtype", [*INTEGERS, torch.bool], ids=str)
def test_all_reduce_of_bits(world, rank, n, dtype, op):
    x = coded((997,), rank, dtype)
    world.all_reduce(x, op)
    expected = coded((997,), 0, dtype)
    for r in range(1, n):
        expected = BITS[op](expected, coded((997,), r, dtype))
    exactly(x, expected)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_average(world, rank, n, dtype):
    x, out = coded((3, 4), rank, dtype), torch.empty(3, dtype=dtype)
    world.all_reduce(x, ReduceOp.AVG)
    exactly(x, folded(ReduceOp.SUM, (3, 4), n, dtype) / n)
    world.reduce_scatter_tensor(out, coded((3 * n,), rank, dtype), ReduceOp.AVG)
    exactly(out, (folded(ReduceOp.SUM, (3 * n,), n, dtype) / n)[3 * rank : 3 * rank + 3])


@all_dtypes
def test_broadcast(world, rank, n, dtype):
    for root in range(n):
        for shape in SHAPES:
            for x in laid_out(coded(shape, rank, dtype)):
                world.broadcast(x, root)
                exactly(x, coded(shape, root, dtype))


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_reduce_leaves_the_others_alone(world, rank, n, dtype):
    for root in range(n):
        for shape in SHAPES:
            for x in laid_out(coded(shape, rank, dtype)):
                world.reduce(x, root)
                mine = folded(ReduceOp.SUM, shape, n, dtype)
                exactly(x, mine if rank == root else coded(shape, rank, dtype))


@all_dtypes
def test_all_gather(world, rank, n, dtype):
    for shape in SHAPES:
        for x in laid_out(coded(shape, rank, dtype)):
            into = [torch.zeros(shape, dtype=dtype) for _ in range(n)]
            world.all_gather(into, x)
            for r in range(n):
                exactly(into[r], coded(shape, r, dtype))


@some_dtypes
def test_all_gather_of_unequal_sizes(world, rank, n, dtype):
    into = [torch.zeros(r, dtype=dtype) for r in range(n)]
    world.all_gather(into, coded((rank,), rank, dtype))
    for r in range(n):
        exactly(into[r], coded((r,), r, dtype))


@all_dtypes
def test_all_gather_into_tensor(world, rank, n, dtype):
    for shape in SHAPES[1:]:
        whole = torch.stack([coded(shape, r, dtype) for r in range(n)])
        for expected in (whole, whole.flatten(0, 1)):  # stacked, or joined along axis 0
            for out in laid_out(torch.zeros_like(expected)):
                world.all_gather_into_tensor(out, coded(shape, rank, dtype))
                exactly(out, expected)


@all_dtypes
def test_gather_and_scatter(world, rank, n, dtype):
    for root in range(n):
        for shape in SHAPES:
            here = rank == root
            into = [torch.zeros(shape, dtype=dtype) for _ in range(n)] if here else None
            world.gather(coded(shape, rank, dtype), into, root)
            for r in range(n if here else 0):
                exactly(into[r], coded(shape, r, dtype))
            for out in laid_out(torch.zeros(shape, dtype=dtype)):
                blocks = [coded(shape, 10 * root + r, dtype) for r in range(n)] if here else None
                world.scatter(out, blocks, root)
                exactly(out, coded(shape, 10 * root + rank, dtype))


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_reduce_scatter(world, rank, n, dtype):
    for rows in (0, 1, 13):
        whole = coded((n * rows, 2), rank, dtype)
        expected = folded(ReduceOp.SUM, (n * rows, 2), n, dtype)[rank * rows : (rank + 1) * rows]
        for out in laid_out(torch.zeros((rows, 2), dtype=dtype)):
            world.reduce_scatter(out, [b.contiguous() for b in whole.chunk(n)] if rows else [out] * n)
            exactly(out, expected)
        out = torch.zeros((rows, 2), dtype=dtype)
        world.reduce_scatter_tensor(out, whole)
        exactly(out, expected)


@some_dtypes
def test_reduce_scatter_of_unequal_blocks(world, rank, n, dtype):
    out = torch.zeros(rank + 1, dtype=dtype)
    world.reduce_scatter(out, [coded((r + 1,), rank, dtype) for r in range(n)], ReduceOp.MAX)
    exactly(out, torch.stack([coded((rank + 1,), r, dtype) for r in range(n)]).amax(0))


@all_dtypes
def test_all_to_all(world, rank, n, dtype):
    """Rank r sends r d + 1 elements to rank d, coded by r and d; all blocks of rank 0 are equal, others' are not."""
    out = [torch.zeros(r * rank + 1, dtype=dtype) for r in range(n)]
    world.all_to_all(out, [coded((rank * d + 1,), 5 * rank + d, dtype) for d in range(n)])
    for r in range(n):
        exactly(out[r], coded((r * rank + 1,), 5 * r + rank, dtype))


@all_dtypes
def test_all_to_all_single(world, rank, n, dtype):
    for out in laid_out(torch.zeros((2 * n, 3), dtype=dtype)):
        world.all_to_all_single(out, torch.cat([coded((2, 3), 5 * rank + d, dtype) for d in range(n)]))
        exactly(out, torch.cat([coded((2, 3), 5 * r + rank, dtype) for r in range(n)]))
    received = [r * rank for r in range(n)]  # no row from rank 0, nor to it
    out = torch.zeros((sum(received), 3), dtype=dtype)
    blocks = [coded((rank * d, 3), 5 * rank + d, dtype) for d in range(n)]
    world.all_to_all_single(out, torch.cat(blocks), received, [len(b) for b in blocks])
    exactly(out, torch.cat([coded((r * rank, 3), 5 * r + rank, dtype) for r in range(n)]))


def test_coalesced(world, rank, n):
    """Several tensors in one call, as FSDP and DTensor make it."""
    group, shapes = world.distributed_c10d._get_default_group(), [(13,), (2, 3)]
    x = [coded(shape, rank, torch.float32) for shape in shapes]
    group.allreduce_coalesced(x).wait()
    for shape, tensor in zip(shapes, x):
        exactly(tensor, folded(ReduceOp.SUM, shape, n, torch.float32))
    out = [torch.zeros(n, *shape) for shape in shapes]
    group.allgather_into_tensor_coalesced(out, [coded(shape, rank, torch.float32) for shape in shapes]).wait()
    for shape, tensor in zip(shapes, out):
        exactly(tensor, torch.stack([coded(shape, r, torch.float32) for r in range(n)]))
    out = [torch.zeros(shape) for shape in shapes]
    whole = [coded((n, *shape), rank, torch.float32) for shape in shapes]
    group.reduce_scatter_tensor_coalesced(out, whole).wait()
    for shape, tensor in zip(shapes, out):
        exactly(tensor, folded(ReduceOp.SUM, (n, *shape), n, torch.float32)[rank])


def test_functional_collectives(world, rank, n):
    """The ones that are traced by torch.compile; they come by way of C++."""
    group = world.distributed_c10d._get_default_group()
    x = coded((4 * n,), rank, torch.float32)
    exactly(functional.all_reduce(x, "sum", group).wait(), folded(ReduceOp.SUM, (4 * n,), n, torch.float32))
    gathered = functional.all_gather_tensor(x, 0, group).wait()
    exactly(gathered, torch.cat([coded((4 * n,), r, torch.float32) for r in range(n)]))
    part = functional.reduce_scatter_tensor(x, "sum", 0, group).wait()
    exactly(part, folded(ReduceOp.SUM, (4 * n,), n, torch.float32)[4 * rank : 4 * rank + 4])
    swapped = functional.all_to_all_single(x, None, None, group).wait()
    of_all = [coded((4 * n,), r, torch.float32)[4 * rank : 4 * rank + 4] for r in range(n)]
    exactly(swapped, torch.cat(of_all))
    root = functional.broadcast(x, n - 1, group).wait()
    exactly(root, coded((4 * n,), n - 1, torch.float32))


def test_objects(world, rank, n):
    objects = [None] * n
    world.all_gather_object(objects, {"rank": rank, "pad": "x" * 100 * rank})
    assert [o["rank"] for o in objects] == list(range(n))
    told = [rank, str(rank)]
    world.broadcast_object_list(told, n - 1)
    assert told == [n - 1, str(n - 1)]
    mine = [None]
    world.scatter_object_list(mine, [f"for {r}" for r in range(n)] if rank == 0 else None, 0)
    assert mine == [f"for {rank}"]
    gathered = [None] * n if rank == n - 1 else None
    world.gather_object(rank, gathered, n - 1)
    assert gathered == (list(range(n)) if rank == n - 1 else None)


def test_calls_of_two_groups_in_different_orders(world, rank, n):
    """Each group has its own order; ranks need not agree on which group comes first."""
    groups = [world.new_group(list(range(n))) for _ in range(2)]
    x = [torch.full((1000,), float(rank + g)) for g in range(2)]
    order = [0, 1] if rank % 2 else [1, 0]
    works = [world.all_reduce(x[g], group=groups[g], async_op=True) for g in order]
    for work in works:
        work.wait()
    for g in range(2):
        exactly(x[g], torch.full((1000,), float(sum(range(n)) + g * n)))


def test_subgroups(world, rank, n):
    """Odd and even ranks, and everyone but the first; ranks of a group are counted anew."""
    for members in (list(range(0, n, 2)), list(range(1, n, 2)), list(range(1, n))):
        if not members:
            continue
        group = world.new_group(members)
        if rank in members:
            assert world.get_rank(group) == members.index(rank)
            x = coded((13,), rank, torch.float32)
            world.all_reduce(x, group=group)
            exactly(x, sum(coded((13,), r, torch.float32) for r in members))
            root = torch.tensor([rank])
            world.broadcast(root, members[-1], group)  # PyTorch's root is a global rank
            exactly(root, torch.tensor([members[-1]]))
            world.destroy_process_group(group)
    world.barrier()
