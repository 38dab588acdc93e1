"""What a program sees of ``ringleader.mpi4py``; each rank runs all of it under mpirun (see test_face.py).

Element j of block b of rank r is coded as r * 1000 + b * 100 + j, so that whatever is lost, doubled or misplaced
shows.
"""

import pickle

import numpy as np
import pytest
from mpi4py import MPI as REAL
from ringleader.runtime.comm import CollectiveError

from ringleader.mpi4py import MPI, counter

WORLD = MPI.COMM_WORLD
RANK, SIZE = WORLD.rank, WORLD.size
K = 3  # elements of a block


def coded(rank, block=0, count=K, dtype=np.int32):
    return (rank * 1000 + block * 100 + np.arange(count)).astype(dtype)


def joined(blocks, dtype=np.int32):
    return np.concatenate([np.asarray(b, dtype) for b in blocks] or [np.empty(0, dtype)])


def finished(request):
    request.Wait()
    assert request == MPI.REQUEST_NULL


def both(name):
    """The blocking and the non-blocking form, as functions that return when done."""
    return [getattr(WORLD, name), lambda *a, **k: finished(getattr(WORLD, "I" + name.lower())(*a, **k))]


def unequal(rank):
    return rank % 3 + (rank == 0)


def test_movers():
    for root in range(SIZE):
        for bcast in both("Bcast"):
            x = coded(root) if root == RANK else np.zeros(K, np.int32)
            bcast(x, root=root)
            assert x.tolist() == coded(root).tolist()
        for gather in both("Gather"):
            out = np.zeros((SIZE, K), np.int32) if root == RANK else None
            gather(coded(RANK), out, root=root)
            assert out is None or out.ravel().tolist() == joined(coded(r) for r in range(SIZE)).tolist()
        for scatter in both("Scatter"):
            x = joined(coded(root, b) for b in range(SIZE)) if root == RANK else None
            out = np.zeros(K, np.int32)
            scatter(x, out, root=root)
            assert out.tolist() == coded(root, RANK).tolist()
    for allgather in both("Allgather"):
        out = np.zeros((SIZE, K), np.int32)
        allgather(coded(RANK), out)
        assert out.ravel().tolist() == joined(coded(r) for r in range(SIZE)).tolist()
    for alltoall in both("Alltoall"):
        out = np.zeros((SIZE, K), np.int32)
        alltoall(joined(coded(RANK, b) for b in range(SIZE)), out)
        assert out.ravel().tolist() == joined(coded(r, RANK) for r in range(SIZE)).tolist()
        alltoall(MPI.IN_PLACE, out)
        assert out.ravel().tolist() == joined(coded(RANK, b) for b in range(SIZE)).tolist()


def test_v_forms_with_gaps_between_blocks():
    counts = [unequal(r) for r in range(SIZE)]
    displs = [r * 5 + 1 for r in range(SIZE)]

    def check(out, block, sizes):
        expected = np.full(SIZE * 5 + 1, -1)
        for r in range(SIZE):
            expected[displs[r] : displs[r] + sizes[r]] = block(r)[: sizes[r]]
        assert out.tolist() == expected.tolist()

    for allgatherv in both("Allgatherv"):
        out = np.full(SIZE * 5 + 1, -1, np.int32)
        allgatherv(coded(RANK, count=counts[RANK]), [out, counts, displs, MPI.INT])
        check(out, coded, counts)
    for root in range(SIZE):
        for gatherv in both("Gatherv"):
            out = np.full(SIZE * 5 + 1, -1, np.int32)
            gatherv(
                coded(RANK, count=counts[RANK]), [out, (counts, displs)] if root == RANK else None, root=root
            )
            if root == RANK:
                check(out, coded, counts)
        for scatterv in both("Scatterv"):
            x = np.full(SIZE * 5 + 1, -7, np.int32)
            for b in range(SIZE):
                x[displs[b] : displs[b] + counts[b]] = coded(root, b, counts[b])
            out = np.zeros(counts[RANK], np.int32)
            scatterv([x, counts, displs, MPI.INT] if root == RANK else None, out, root=root)
            assert out.tolist() == coded(root, RANK, counts[RANK]).tolist()
    for alltoallv in both("Alltoallv"):
        sent = [unequal(RANK + b) for b in range(SIZE)]
        received = [unequal(r + RANK) for r in range(SIZE)]
        x = joined(coded(RANK, b, sent[b]) for b in range(SIZE))
        out = np.full(SIZE * 5 + 1, -1, np.int32)
        alltoallv([x, sent], [out, (received, displs)])
        check(out, lambda r: coded(r, RANK), received)


def test_a_block_of_nothing_may_have_any_datatype():
    counts = [0] + [2] * (SIZE - 1)
    own = [None, 0, MPI.DOUBLE] if RANK == 0 else coded(RANK, count=2)
    out = np.zeros(sum(counts), np.int32)
    WORLD.Gatherv(own, [out, counts] if RANK == SIZE - 1 else None, root=SIZE - 1)
    if RANK == SIZE - 1:
        assert out.tolist() == joined(coded(r, count=2) for r in range(1, SIZE)).tolist()


OPS = [
    (MPI.SUM, np.add), (MPI.PROD, np.multiply), (MPI.MAX, np.maximum), (MPI.MIN, np.minimum),
    (MPI.BAND, np.bitwise_and), (MPI.BOR, np.bitwise_or), (MPI.BXOR, np.bitwise_xor),
    (MPI.LAND, lambda a, b: (a != 0) & (b != 0)), (MPI.LOR, lambda a, b: (a != 0) | (b != 0)),
    (MPI.LXOR, lambda a, b: (a != 0) ^ (b != 0)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["i1", "u2", "i4", "i8", "u8", "f4", "f8", "c16"])
def test_reductions(dtype):
    x = [(np.arange(7) * (r + 1) % 4).astype(dtype) for r in range(SIZE)]

    def fold(f, blocks):
        value = blocks[0]
        for block in blocks[1:]:
            value = f(value, block)
        return np.asarray(value).astype(dtype).tolist()

    for op, f in OPS[: {"f": 4, "c": 2}.get(np.dtype(dtype).kind)]:
        if len(x) == 1 and op in (MPI.LAND, MPI.LOR, MPI.LXOR):
            continue
        for allreduce in both("Allreduce"):
            out = np.zeros(7, dtype)
            allreduce(x[RANK], out, op)
            assert out.tolist() == fold(f, x), op.name
        for reduce in both("Reduce"):
            out = np.full(7, 9, dtype)
            reduce(x[RANK], out, op, root=SIZE - 1)
            assert out.tolist() == (fold(f, x) if RANK == SIZE - 1 else [9] * 7)
        for scan in both("Scan"):
            out = x[RANK].copy()
            scan(MPI.IN_PLACE, out, op)
            assert RANK == 0 or out.tolist() == fold(f, x[: RANK + 1])
        for exscan in both("Exscan"):
            out = x[RANK].copy()
            exscan(x[RANK], out, op)
            assert RANK < 2 or out.tolist() == fold(f, x[:RANK])
        for block in both("Reduce_scatter_block"):
            out = np.zeros(7, dtype)
            block(np.tile(x[RANK], SIZE), out, op)
            assert out.tolist() == fold(f, x)
        for scatter in both("Reduce_scatter"):
            counts = [unequal(r) for r in range(SIZE)]
            whole = [np.resize(b, sum(counts)) for b in x]
            out = np.zeros(counts[RANK], dtype)
            scatter(whole[RANK], out, counts, op)
            start = sum(counts[:RANK])
            assert out.tolist() == fold(f, whole)[start : start + counts[RANK]]


def test_pairs_are_reduced_by_value_then_index():
    for name, basic in (("DOUBLE_INT", "f8"), ("FLOAT_INT", "f4"), ("SHORT_INT", "i2"), ("TWOINT", "i4")):
        x = np.zeros(2, np.dtype([("value", basic), ("index", "i4")], align=True))
        out = np.zeros_like(x)
        x["value"], x["index"] = [RANK % 2, -(RANK % 2)], RANK
        datatype = getattr(MPI, name)
        WORLD.Allreduce([x, 2, datatype], [out, 2, datatype], MPI.MAXLOC)
        first = min(1, SIZE - 1)
        assert out["value"].tolist() == [first, 0] and out["index"].tolist() == [first, 0]
        WORLD.Allreduce([x, 2, datatype], [out, 2, datatype], MPI.MINLOC)
        assert out["value"].tolist() == [0, -first] and out["index"].tolist() == [0, first]


def test_an_operation_that_does_not_commute_folds_in_rank_order():
    def compose(a, b, datatype):  # x -> p x + q, as pairs, applied one after the other
        left, right = np.frombuffer(a, "i8"), np.frombuffer(b, "i8")
        right[:] = [left[0] * right[0], left[1] * right[0] + right[1]]

    op = MPI.Op.Create(compose, commute=False)
    pair = MPI.INT64_T
    x, out = np.array([RANK + 2, RANK + 1]), np.zeros(2, "i8")
    p, q = 1, 0
    for r in range(SIZE):
        p, q = p * (r + 2), q * (r + 2) + r + 1
    whole = MPI.INT64_T.Create_contiguous(2).Commit()
    before = counter.passed["Allreduce"]
    WORLD.Allreduce([x, 1, whole], [out, 1, whole], op)  # a derived datatype with an operation of one's own
    assert counter.passed["Allreduce"] == before + 1
    assert out.tolist() == [p, q]
    ordered = MPI.Op.Create(
        lambda a, b, _: np.copyto(np.frombuffer(b, "i8"), np.frombuffer(a, "i8")), commute=False
    )
    last = np.zeros(1, "i8")
    WORLD.Allreduce([np.array([RANK + 5]), pair], [last, pair], ordered)
    assert last[0] == 5 and counter.passed["Allreduce"] == before + 1
    for made in (op, ordered):
        made.Free()
    whole.Free()


def test_signatures_match_whatever_the_datatypes():
    every_other = MPI.INT.Create_vector(2, 1, 2).Commit()
    x = np.full(8, -1, np.int32)
    if RANK == 0:
        WORLD.Bcast([np.array([5, 6, 7, 8], np.int32), 4, MPI.INT])
    else:
        two = every_other.Create_resized(0, 16).Commit()
        WORLD.Bcast([x, 2, two])
        assert x.tolist() == [5, -1, 6, -1, 7, -1, 8, -1]
        two.Free()
    every_other.Free()


def test_a_datatype_may_be_freed_while_a_collective_is_under_way():
    every_other = MPI.INT.Create_vector(3, 1, 2).Commit()
    x = np.full(5, -1, np.int32)
    x[::2] = [1, 2, 3] if RANK == SIZE - 1 else 0
    request = WORLD.Ibcast([x, 1, every_other], root=SIZE - 1)
    every_other.Free()
    request.Wait()
    assert x.tolist() == [1, -1, 2, -1, 3]


def test_mixed_signatures_and_items_that_travel_backwards():
    packed = np.dtype([("i", "i4"), ("d", "f8")])
    struct = MPI.Datatype.Create_struct([1, 1], [8, 0], [MPI.INT, MPI.DOUBLE]).Create_resized(0, 16).Commit()
    tight = MPI.Datatype.Create_struct([1, 1], [0, 4], [MPI.INT, MPI.DOUBLE]).Create_resized(0, 12).Commit()
    loose = np.zeros(3, np.dtype({"names": ["d", "i"], "formats": ["f8", "i4"], "itemsize": 16}))
    if RANK == 0:
        loose["i"], loose["d"] = [1, 2, 3], [0.5, 1.5, 2.5]
        WORLD.Bcast([loose, 3, struct])
    else:
        x = np.zeros(3, packed)
        WORLD.Bcast([x, 3, tight])
        assert x["i"].tolist() == [1, 2, 3] and x["d"].tolist() == [0.5, 1.5, 2.5]
    swapped = MPI.INT.Create_indexed([1, 1], [1, 0]).Commit()
    y = np.array([1, 2] if RANK == 0 else [0, 0], np.int32)
    WORLD.Bcast([y, 1, swapped] if RANK == 0 else [y, 2, MPI.INT])
    assert y.tolist() == ([1, 2] if RANK == 0 else [2, 1])


def test_another_signature_is_the_same_error_on_all_ranks():
    if SIZE == 1:
        pytest.skip("one rank agrees with itself")
    comm = WORLD.Dup()
    x = np.zeros(4, np.float32 if RANK == 0 else np.int32)
    with pytest.raises(
        CollectiveError, match=r"(?s)float32\[4\].*int32\[4\]|int32\[4\].*float32\[4\]"
    ) as caught:
        comm.Allgather(x, np.zeros((SIZE, 4), x.dtype))
    assert "allgather" in str(caught.value)


def test_counts_that_do_not_meet_are_an_error_on_all_ranks():
    if SIZE == 1:
        pytest.skip("one rank agrees with itself")
    comm = WORLD.Dup()
    with pytest.raises(CollectiveError, match="bytes of int32 here, but"):
        comm.Gatherv(coded(RANK, count=2), [np.zeros(9, np.int32), [1] * SIZE] if RANK == 0 else None)
        comm.Barrier()  # where a rank that had sent its block already hears of it


def test_wrong_arguments_are_mpi4pys_errors():
    with pytest.raises(MPI.Exception) as caught:
        WORLD.Bcast(np.zeros(1), root=SIZE)
    assert caught.value.Get_error_class() == MPI.ERR_ROOT
    with pytest.raises(MPI.Exception) as caught:
        WORLD.Allreduce(np.zeros(1), np.zeros(1), MPI.BAND)
    assert caught.value.Get_error_class() == MPI.ERR_OP
    with pytest.raises(ValueError, match="mismatch in send count 1 and receive count 2"):
        WORLD.Allreduce(np.zeros(1), np.zeros(2))
    with pytest.raises((ValueError, BufferError)):
        WORLD.Allgather(np.zeros(1), b"read-only")
    with pytest.raises(ValueError, match="outside the buffer"):
        WORLD.Bcast([np.zeros(2), 3, MPI.DOUBLE])
    with pytest.raises(KeyError, match="cannot map"):
        WORLD.Bcast(np.zeros(2, "M8[s]").view([("a", "i4"), ("b", "i4")]))


def test_arrays_in_column_order_and_empty_ones():
    x = np.asfortranarray(np.arange(6.0).reshape(2, 3) * (RANK + 1))
    out = np.zeros((2, 3), order="F")
    WORLD.Allreduce(x, out)
    assert out.tolist() == (np.arange(6.0).reshape(2, 3) * sum(range(1, SIZE + 1))).tolist()
    with pytest.raises((ValueError, BufferError)):
        WORLD.Bcast(np.zeros((4, 4))[::2, ::2])
    for empty in (np.empty(0), np.empty((3, 0))):
        WORLD.Bcast(empty)
        WORLD.Allreduce(empty, empty.copy())


def test_objects():
    mine = {"rank": RANK, "pad": "x" * RANK * 100}
    everyone = [{"rank": r, "pad": "x" * r * 100} for r in range(SIZE)]
    for root in range(SIZE):
        assert WORLD.bcast(mine if root == RANK else None, root) == everyone[root]
        assert WORLD.gather(mine, root) == (everyone if root == RANK else None)
        assert WORLD.scatter([(root, b) for b in range(SIZE)] if root == RANK else None, root) == (root, RANK)
        assert WORLD.reduce([RANK], root=root) == (list(range(SIZE)) if root == RANK else None)
    assert WORLD.allgather(mine) == everyone
    assert WORLD.alltoall([(RANK, b) for b in range(SIZE)]) == [(r, RANK) for r in range(SIZE)]
    assert WORLD.allreduce(str(RANK), lambda a, b: a + b) == "".join(map(str, range(SIZE)))
    assert WORLD.scan([RANK]) == list(range(RANK + 1))
    assert WORLD.exscan([RANK]) == (list(range(RANK)) if RANK else None)
    WORLD.barrier()


def test_requests_of_ours_and_of_mpi4pys_in_one_list():
    left, right = (RANK - 1) % SIZE, (RANK + 1) % SIZE
    for wait in ("Waitall", "Waitany", "Waitsome", "Testall"):
        sums, token, table = np.zeros(2), np.zeros(1), np.zeros(SIZE, np.int64)
        requests = [
            WORLD.Iallreduce(np.array([RANK, 1.0]), sums),
            WORLD.Irecv(token, left, tag=4),
            WORLD.Isend(np.array([RANK + 0.5]), right, tag=4),
            WORLD.Iallgatherv(np.array([RANK]), [table, [1] * SIZE]),
            WORLD.Ibarrier(),
        ]
        if wait == "Waitall":
            MPI.Request.Waitall(requests)
        elif wait == "Testall":
            while not MPI.Request.Testall(requests):
                pass
        elif wait == "Waitany":
            assert sorted(MPI.Request.Waitany(requests) for _ in requests) == list(range(5))
        else:
            done = []
            while (some := MPI.Request.Waitsome(requests)) is not None:
                done += some
            assert sorted(done) == list(range(5))
        assert all(request == MPI.REQUEST_NULL for request in requests)
        assert sums.tolist() == [sum(range(SIZE)), SIZE]
        assert token[0] == left + 0.5 and table.tolist() == list(range(SIZE))


def test_a_blocking_receive_keeps_collectives_moving():
    """Rank 0 blocks in a receive whose sender waits for the collective first."""
    if SIZE == 1:
        pytest.skip("needs a neighbour")
    x = np.full(1000, RANK + 1.0)
    counts, table = [1] * SIZE, np.zeros(SIZE, np.int64)
    requests = [WORLD.Iallreduce(MPI.IN_PLACE, x), WORLD.Igatherv(np.array([RANK]), [table, counts], root=0)]
    if RANK == 0:
        for source in range(1, SIZE):
            assert WORLD.recv(source=source, tag=1) == "after"
            note = np.zeros(1)
            WORLD.Recv(note, source, tag=2)
            assert note[0] == source
    else:
        MPI.Request.Waitall(requests)
        WORLD.send("after", 0, tag=1)
        WORLD.Send(np.array([float(RANK)]), 0, tag=2)
    MPI.Request.Waitall(requests)
    assert x[0] == x[-1] == sum(range(1, SIZE + 1))
    assert RANK or table.tolist() == list(range(SIZE))


def test_collectives_in_two_steps_start_in_the_order_of_their_calls():
    """On some ranks the first step is complete at once, on others late."""
    out = [np.zeros(SIZE, np.int64) for _ in range(6)]
    requests = []
    for i, x in enumerate(out):
        requests.append(WORLD.Ialltoallv([np.full(SIZE, RANK * 10 + i), [1] * SIZE], [x, [1] * SIZE]))
        requests.append(WORLD.Ibarrier())
    total = WORLD.allreduce(1)
    MPI.Request.Waitall(requests)
    assert total == SIZE
    for i, x in enumerate(out):
        assert x.tolist() == [r * 10 + i for r in range(SIZE)]


def test_communicators_of_every_origin_are_ours():
    group = WORLD.Get_group()
    made = [
        WORLD.Dup(), WORLD.Clone(), WORLD.Split(RANK % 2, -RANK), WORLD.Create(group), WORLD.Create_group(group),
        WORLD.Split_type(MPI.COMM_TYPE_SHARED), WORLD.Create_cart([SIZE]), WORLD.Create_cart([SIZE]).Sub([True]),
        WORLD.Create_graph(list(range(1, SIZE + 1)), list(range(SIZE))), WORLD.Create_dist_graph_adjacent([RANK], [RANK]),
    ]  # fmt: skip
    later, request = WORLD.Idup()
    request.Wait()
    before = sum(counter.passed.values())
    for comm in (*made, later):
        assert isinstance(comm, MPI.Intracomm) and isinstance(comm, REAL.Intracomm)
        assert comm.allreduce(1) == comm.size
        members = comm.allgather(RANK)
        assert members == sorted(members, reverse=members[0] > members[-1])
        comm.Free()
        assert comm == MPI.COMM_NULL
        with pytest.raises(MPI.Exception):
            comm.Barrier()
    assert sum(counter.passed.values()) == before
    assert WORLD.Split(MPI.UNDEFINED) == MPI.COMM_NULL
    assert pickle.loads(pickle.dumps(WORLD)) is WORLD
    assert MPI.Intracomm(WORLD).allreduce(1) == SIZE


def test_a_communicator_may_be_freed_while_a_collective_is_under_way():
    comm = WORLD.Dup()
    x = np.ones(4)
    request = comm.Iallreduce(MPI.IN_PLACE, x)
    comm.Free()
    request.Wait()
    assert x.tolist() == [SIZE] * 4


def test_everything_else_is_mpi4pys():
    missing = [name for name in dir(REAL) if not hasattr(MPI, name)]
    assert missing == []
    assert MPI.SUM is REAL.SUM and MPI.INT is REAL.INT and MPI.Exception is REAL.Exception
    window = MPI.Win.Allocate(8, comm=WORLD)
    window.Free()
    assert MPI.COMM_WORLD.Get_group().size == SIZE


def test_what_is_passed_on_is_counted_with_a_reason():
    counter.passed.clear()
    x, out = np.arange(SIZE) + RANK * 10, np.zeros(SIZE, np.int64)
    item, starts = [MPI.INT64_T] * SIZE, [8 * b for b in range(SIZE)]
    WORLD.Alltoallw([x, [1] * SIZE, starts, item], [out, [1] * SIZE, starts, item])
    assert out.tolist() == [r * 10 + RANK for r in range(SIZE)]
    assert dict(counter.passed) == {"Alltoallw": 1}
    assert counter.PASSED_ON["Alltoallw"]
