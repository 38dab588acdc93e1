"""Random calls on every rank under mpirun: python stress.py SEED SECONDS. See test_stress.py.

All ranks draw the same calls; sizes, dtypes, operations, roots, algorithms, communicators, memory and whether to
wait at once are random. Results must be numpy's, exactly. What a call was given and what it returned is poisoned
the moment it returns, so that a rank which still reads there computes nonsense.
"""

import sys
import time

import ml_dtypes
import numpy as np
from ringleader.collectives import algorithms, build
from ringleader.runtime.comm import init
from ringleader.runtime.comm.ops import OPS

COLLECTIVES = (
    "allreduce", "broadcast", "reduce", "allgather", "reduce_scatter", "alltoall", "gather", "scatter", "scan",
    "exscan", "barrier",
)  # fmt: skip
FOLDING = {"allreduce", "reduce", "reduce_scatter", "scan", "exscan"}
ROOTED = {"broadcast", "reduce", "gather", "scatter"}
BY_COUNTS = {"allgather", "reduce_scatter", "alltoall", "gather", "scatter"}
DTYPES = [
    np.dtype(d)
    for d in (
        bool, np.int8, np.uint16, np.int32, np.int64, np.float16, np.float32, np.float64, np.complex64,
        ml_dtypes.bfloat16,
    )
]  # fmt: skip
SIZES = [0, 1, 2, 7, 13, 64, 997, 4096, 20_011, 131_072]  # elements; 1 MB of the largest that is drawn
LARGEST = 1 << 20  # bytes
IN_FLIGHT = 6


def values(shape, dtype, rank, salt, op):
    """Coded by position, rank and call; small enough for floats that no fold of them is rounded."""
    j = np.arange(int(np.prod(shape))).reshape(shape)
    if dtype.kind in "biu":
        return (j * 1000 + rank + salt).astype(dtype)
    coded = 1 + (j + rank + salt) % 2 if op == "prod" else (j + salt) % 31 + rank
    return coded.astype(dtype)


def usable_ops(dtype, collective):
    if dtype.kind in "iub":
        return [name for name in OPS if name != "mean"]
    names = ["sum", "prod"] if dtype.kind == "c" else ["sum", "prod", "min", "max"]
    return names if collective in ("scan", "exscan") else [*names, "mean"]


def fold(parts, op):
    result = parts[0]
    for part in parts[1:]:
        result = OPS[op].ufunc(result, part)
    return np.divide(result, len(parts), dtype=result.dtype) if op == "mean" else result


def expected(what, comm, parts, counts, root, op):
    """What this rank gets, from what all ranks gave; None: nothing."""
    r, first = comm.rank, sum(counts[: comm.rank])
    if what == "reduce":
        return fold(parts, op) if r == root else parts[r]
    if what == "exscan":
        return fold(parts[:r], op) if r else parts[0]
    if what == "gather":
        return np.concatenate(parts) if r == root else None
    if what == "alltoall":
        return np.concatenate([np.split(part, np.cumsum(counts)[:-1])[r] for part in parts])
    return {
        "allreduce": lambda: fold(parts, op),
        "scan": lambda: fold(parts[: r + 1], op),
        "broadcast": lambda: parts[root],
        "allgather": lambda: np.concatenate(parts),
        "reduce_scatter": lambda: fold(parts, op)[first : first + counts[r]],
        "scatter": lambda: parts[root][first : first + counts[r]],
    }[what]()


def poison(array):
    array[...] = 77 if array.dtype.kind in "iub" else np.nan


class Stress:
    def __init__(self, world, seed):
        self.world, self.rng = world, np.random.default_rng(seed)
        self.own = np.random.default_rng([seed, world.rank])
        pairs = world.split(world.rank // 2)
        self.comms = [
            world,
            world,
            world.split(world.rank % 2, -world.rank),
            world.split(0, -world.rank),
            pairs,
        ]
        self.pending = []
        self.calls = 0

    def memory(self, given, kind):
        """A copy of ``given`` in this kind of memory."""
        empty = np.empty if kind in ("private", "strided") else self.world.empty
        wide = kind in ("strided", "shared strided")
        shape = (given.shape[0] * 2, *given.shape[1:]) if wide else given.shape
        array = empty(shape, given.dtype)[:: 2 if wide else 1]
        array[...] = given
        return array

    def draw(self, items):
        return items[int(self.rng.integers(len(items)))]

    def step(self):
        comm, what, dtype = self.draw(self.comms), self.draw(COLLECTIVES), self.draw(DTYPES)
        op, size = self.draw(usable_ops(dtype, what)), self.draw(SIZES)
        salt, uneven, waits = int(self.rng.integers(97)), self.rng.random() < 0.3, self.rng.random() < 0.6
        kinds = [self.draw(["private", "shared", "strided", "shared strided"]) for _ in range(8)]
        if self.rng.random() < 0.3:  # else it would seldom be so on all ranks
            kinds = ["shared"] * 8
        where, given_out = self.rng.random(), self.rng.random() < 0.5
        chance = self.rng.random()
        n, root = comm.size, int(where * comm.size)
        self.calls += 1
        if what == "barrier":
            comm.barrier(algorithm=pick(chance, ["auto", *algorithms(what)]))
            return
        size = min(size, LARGEST // dtype.itemsize)
        counts = [size // n] * n
        by_counts = uneven and what in BY_COUNTS
        if by_counts:
            counts = [(salt + 3 * r) % 5 * (size // (4 * n)) for r in range(n)]
        rows = {"allgather": None, "gather": None}.get(what, sum(counts) if what in BY_COUNTS else size)
        parts = [
            values((counts[r] if rows is None else rows,), dtype, r, salt, op if what in FOLDING else "sum")
            for r in range(n)
        ]
        names = ["auto"] + [a for a in algorithms(what) if not by_counts or build(what, a, n).keeps_blocks]
        x = self.memory(parts[comm.rank], kinds[self.world.rank % 8])
        options = {"algorithm": pick(chance, names)}
        if what in FOLDING:
            options["op"] = op
        if what in ROOTED:
            options["root"] = root
        if by_counts:
            options["counts"] = counts
        right = expected(what, comm, parts, counts, root, op)
        if (
            what != "broadcast"
            and given_out
            and right is not None
            and not (what == "reduce" and comm.rank != root)
        ):
            old = parts[0] if what == "exscan" else np.zeros(right.shape, dtype)
            options["out"] = self.memory(old, kinds[-1])
        text = f"call {self.calls}, {what} of {dtype} {list(x.shape)} on {comm!r} with {options.keys()}"
        text += f": {options['algorithm']}, {options.get('op')}, root {options.get('root')}, counts {counts}"
        try:
            got = getattr(comm, what)(x, async_op=not waits, **options)
        except Exception as error:
            raise AssertionError(f"{text}: {error}") from error
        call = (text, got, x, options.get("out"), right)
        if waits:
            check(*call)
        else:
            self.pending.append(call)
        if len(self.pending) >= IN_FLIGHT or self.rng.random() < 0.2:
            self.finish()

    def finish(self):
        """In an order of this rank's own."""
        self.own.shuffle(self.pending)
        for text, handle, *rest in self.pending:
            while self.own.random() < 0.3 and not handle.test():
                pass
            check(text, handle.wait(), *rest)
        self.pending.clear()

    def messages(self):
        """Each rank sends to the next, the receiver not knowing from whom, and what."""
        n, r = self.world.size, self.world.rank
        size, dtype, salt = self.draw(SIZES), self.draw(DTYPES[:-1]), int(self.rng.integers(97))
        kind, tag = self.draw(["private", "shared"]), int(self.rng.integers(5))
        x = self.memory(values((size,), dtype, r, salt, "sum"), kind)
        for turn in (0, 1):
            if turn == (r == 0):
                got = self.world.recv()
                right = values((size,), dtype, (r - 1) % n, salt, "sum")
                np.testing.assert_array_equal(got, right, strict=True)
            else:
                self.world.send(x, (r + 1) % n, tag)
                poison(x)
        self.world.barrier()  # or the next round's message could be taken for this one's


def pick(chance, items):
    return items[int(chance * len(items))]


def check(text, got, x, out, right):
    result = None if got is None else got.copy()
    for array in (x, out, got):
        if array is not None:
            poison(array)
    if right is None:
        assert result is None, text
    else:
        np.testing.assert_array_equal(result, right, err_msg=text)
        assert result.dtype == x.dtype, text


def main(seed, seconds):
    world = init(timeout=60)
    stress, start = Stress(world, seed), time.monotonic()
    over = False
    while not over:
        for _ in range(20):
            stress.step()
            if world.size > 1 and stress.rng.random() < 0.05:
                stress.messages()
        over = bool(world.broadcast(np.array([time.monotonic() - start > seconds]))[0])
    stress.finish()
    world.barrier()
    if world.rank == 0:
        print(f"{world.size} ranks over {world.transport}, seed {seed}: {stress.calls} calls, all right")


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
