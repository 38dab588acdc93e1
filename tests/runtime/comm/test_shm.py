"""The engine under mpirun: memory that ranks share, calls under way, killed ranks, ranks that disagree."""

import re
import time
from pathlib import Path

import pytest

pytest.importorskip("ringleader.csrc.cpu._engine", reason="the engine is not built")

START = """
import os, signal, sys, threading, time, warnings
import numpy as np
import ringleader as rl
world = rl.init(timeout=float(os.environ.get("LIMIT", "30")))
assert world.transport == "shm", world.transport
rank, n = world.rank, world.size
"""


@pytest.fixture
def job(mpi_job):
    """job(n, script): its output, if it ended well."""

    def run(n, script, seconds=60, **environment):
        done = mpi_job(n, "-c", START + script, seconds=seconds, **environment)
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    return run


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_call_returns_only_when_no_peer_reads_its_buffers(job, n):
    """Every rank fills its arrays with NaN the moment a call returns."""
    script = """
calls = [(lambda x, a=a: world.allreduce(x, algorithm=a), n * (n + 1) / 2)
         for a in ("one-shot", "two-shot", "ring", "recursive-doubling", "tree", "halving-doubling")]
calls += [(lambda x, a=a: world.broadcast(x, n - 1, algorithm=a), n) for a in ("binomial", "scatter-allgather-ring")]
for make in (np.empty, world.empty):
    for size in (1, 1000, 5000, 300_000):
        for call, expected in calls:
            for _ in range(10):
                x = make(size, np.float64)
                x[:] = rank + 1
                call(x)
                assert (x == expected).all(), (size, expected, x)
                x[:] = np.nan
        for _ in range(10):
            x, y = make(size * n, np.float64), make(size * n, np.float64)
            x[:] = np.repeat(np.arange(n) + 10 * rank, size)
            world.alltoall(x, out=y)
            assert (y == np.repeat(10 * np.arange(n) + rank, size)).all()
            x[:] = y[:] = np.nan
"""
    job(n, script, seconds=100)


@pytest.mark.parametrize("n", [2, 3])
def test_every_operation_on_every_dtype(job, n):
    """Against numpy and ml_dtypes, on the latency path, on the direct one and as programs."""
    script = """
from ml_dtypes import bfloat16
ufuncs = dict(sum=np.add, prod=np.multiply, min=np.minimum, max=np.maximum)
bits = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}
integers = ["?", "b", "B", "h", "H", "i", "I", "l", "L", "q", "Q"]
for dtype in [*integers, np.float16, bfloat16, "f", "d", "F", "D", "g", ">f8"]:
    dtype = np.dtype(dtype)
    draw = [np.random.default_rng(q).integers(1, 3, 5000).astype(dtype) for q in range(n)]
    for op, ufunc in (ufuncs | (bits if dtype.kind in "biu" else {})).items():
        expected = draw[0]
        for x in draw[1:]:
            expected = ufunc(expected, x).astype(dtype)
        for algorithm in ("one-shot", "two-shot", "ring", "halving-doubling", "two-shot"):
            for size in (7, 5000):
                x = draw[rank][:size].copy()
                world.allreduce(x, op, algorithm=algorithm)
                same = (x == expected[:size]).all() if dtype.char == "g" else x.tobytes() == expected[:size].tobytes()
                assert same, (dtype, op, algorithm, x, expected)  # a long double has bytes that mean nothing
    if dtype.kind in "fc" or dtype == bfloat16:
        x = np.full(9, rank + 1).astype(dtype)
        for algorithm in ("one-shot", "two-shot", "ring"):
            y = x.copy()
            world.allreduce(y, "mean", algorithm=algorithm)
            assert (y * 2 == n + 1).all(), (dtype, y)
"""
    job(n, script, seconds=100)


def test_the_engines_ways_give_the_bits_of_their_schedules(job):
    """One-shot and two-shot have ways of their own, for private and for shared arrays; threads run programs."""
    script = """
def draw(q):
    return np.random.default_rng(q).standard_normal(100_003).astype(np.float32)
def by_threads(algorithm):
    return rl.spawn(n, lambda w: w.allreduce(draw(w.rank), algorithm=algorithm))[0]
expected = by_threads("one-shot")
assert expected.tobytes() == by_threads("two-shot").tobytes()
shared = world.empty(100_003, np.float32)
shared[:] = draw(rank)
out = world.empty(100_003, np.float32)
for x, y in ((draw(rank), None), (shared.copy(), out), (shared, np.empty_like(out)), (shared, out), (shared, None)):
    for _ in range(2):  # the second takes the quick way
        z = x.copy() if y is None and x is not shared else x
        kept = z.copy()
        got = world.allreduce(z, algorithm="two-shot", out=y)
        assert got.tobytes() == expected.tobytes()
        assert y is None or z.tobytes() == kept.tobytes()
        if y is None:
            z[:] = kept
for size in (1, 3000):
    x = draw(rank)[:size].copy()
    assert world.allreduce(x, algorithm="one-shot").tobytes() == expected[:size].tobytes()
"""
    job(3, script)


@pytest.mark.parametrize("n", [2, 3])
def test_results_too_large_for_caches(job, n):
    """They are written past them, to any address; private, shared and mixed arrays."""
    script = """
size = (36 << 20) // 8 // n + 1001  # all ranks' results together
x, y = np.empty(size + 1)[1:], np.empty(size + 3)[3:]
shared, there = world.empty(size, np.float64), world.empty(size, np.float64)
for source, target in ((x, y), (shared, there), (shared, y) if rank == 1 else (shared, there)):
    for turn in range(2):
        source[:] = np.arange(size) * (rank + 1)
        target[:] = -1
        world.allreduce(source, out=target)
        assert (target == np.arange(size) * (n * (n + 1) // 2)).all(), turn
        assert (source == np.arange(size) * (rank + 1)).all(), turn
"""
    job(n, script)


def test_calls_that_are_known_do_what_the_methods_do(job):
    """The engine stands before allreduce, broadcast and barrier: all forms of a call, known or not."""
    script = """
import inspect
from ringleader.runtime.comm import Communicator
for name in ("allreduce", "broadcast", "barrier"):
    method = getattr(Communicator, name)
    own = list(inspect.signature(method).parameters.values())[1:]
    shown = list(inspect.signature(getattr(world, name)).parameters.values())
    assert [(p.name, p.kind, p.default) for p in own] == [(p.name, p.kind, p.default) for p in shown]
    assert inspect.getdoc(getattr(world, name)) == inspect.getdoc(method)
x = np.empty(3)
total = n * (n + 1) / 2
for _ in range(2):  # the second is known
    for call, expected in (
        (lambda: world.allreduce(x), total), (lambda: world.allreduce(x, "max"), n), (lambda: world.allreduce(x, op="min"), 1),
        (lambda: world.allreduce(x, algorithm="ring"), total), (lambda: world.allreduce(x, async_op=False), total),
        (lambda: world.allreduce(x, async_op=True).wait(), total), (lambda: world.allreduce(x, out=None, op="sum"), total),
        (lambda: world.broadcast(x, 1), 2), (lambda: world.broadcast(x, root=1), 2), (lambda: world.broadcast(x), 1),
    ):
        x[:] = rank + 1
        assert call() is x
        assert (x == expected).all(), (x, expected)
    x[:] = rank + 1
    y = np.zeros(3)
    assert world.allreduce(x, out=y) is y and (y == total).all() and (x == rank + 1).all()
    assert world.barrier() is None
    for wrong in (lambda: world.allreduce(), lambda: world.allreduce(x, "sum", y), lambda: world.allreduce(x, o=y),
                  lambda: world.allreduce(x, "sum", op="sum"), lambda: world.broadcast(x, out=y), lambda: world.barrier(1)):
        try:
            wrong()
            raise SystemExit("no TypeError")
        except TypeError as error:
            assert "Communicator." in str(error), error

class Counting(Communicator):
    calls = 0
    def allreduce(self, x, *args, **options):
        self.calls += 1
        return super().allreduce(x, *args, **options)

row = world.split(0)
counting = Counting(row._transport)
for _ in range(3):
    x[:] = 1
    assert (counting.allreduce(x) == n).all()
assert counting.calls == 3, "a subclass's own method is not stood before"
kept = row.allreduce
del row, counting
for _ in range(3):
    x[:] = 1
    assert (kept(x) == n).all()
"""
    job(3, script)


def test_memory_to_share(job):
    """Local, good in every communicator, freed with its last reference, MemoryError when there is none."""
    script = """
if rank == 1:
    alone = world.empty((3, 4), "int16")  # the others need not do the same
    assert alone.shape == (3, 4) and alone.dtype == np.int16 and alone.flags.c_contiguous
assert world.empty(0).size == 0 and world.empty(()).shape == ()
big = world.empty(5_000_000, np.float32)
row = world.split(rank % 2)
view = big[1000:2_000_000]
for comm in (world, row):
    view[:] = 1
    comm.allreduce(view)
    assert (view == comm.size).all()
for _ in range(50):  # 20 MB each in an arena of 64 MB
    again = world.empty(5_000_000, np.float32)
    again[::1000] = 1
    del again
for bytes_ in (100 << 20, 1 << 60):
    try:
        world.empty(bytes_, np.uint8)
        raise SystemExit("no MemoryError")
    except MemoryError:
        pass
try:
    world.empty((-1,))
    raise SystemExit("no ValueError")
except ValueError:
    pass
kept = [world.empty(1 << 20, np.uint8) for _ in range(10)]
try:
    while True:
        kept.append(world.empty(1 << 20, np.uint8))
except MemoryError:
    kept.clear()
x = world.empty(1 << 20, np.uint8)
x[:] = 1
world.allreduce(x)
assert (x == n).all()
"""
    job(3, script, RINGLEADER_SHARED_MEMORY=str(64 << 20))


def test_a_forked_child_gives_nothing_back(job):
    script = """
x = world.empty(1 << 20, np.uint8)
x[:] = rank + 1
child = os.fork()
if child == 0:
    del x
    os._exit(0)
os.waitpid(child, 0)
y = world.empty(1 << 20, np.uint8)
y[:] = 99
assert (x == rank + 1).all()
"""
    job(2, script)


def test_a_wrong_size_of_shared_memory_is_an_error(mpi_job):
    done = mpi_job(2, "-c", "import ringleader as rl; rl.init()", RINGLEADER_SHARED_MEMORY="lots", seconds=30)
    assert done.returncode != 0
    assert "RINGLEADER_SHARED_MEMORY='lots' must be a number of bytes" in done.stdout


def test_ranks_that_cannot_see_each_others_memory_use_mpis_windows(mpi_job):
    script = """
from mpi4py import MPI
from ringleader.csrc.cpu import _engine
if MPI.COMM_WORLD.rank == 1:
    def refuse(*_):
        raise OSError("not permitted")
    _engine.Node.connect = refuse
import numpy as np, ringleader as rl
world = rl.init(timeout=20)
assert world.transport == "windows", world.transport
assert world.allreduce(np.ones(3))[0] == world.size
"""
    done = mpi_job(3, "-c", script, seconds=40)
    assert done.returncode == 0, done.stdout[-3000:]


def test_calls_under_way_are_completed_in_any_order(job):
    script = """
xs = [np.full(size, float(rank + i)) for i, size in enumerate([1, 200_000, 3, 50_000, 1000, 0, 8])]
handles = [world.allreduce(x, async_op=True) for x in xs]
handles.append(world.broadcast(np.full(70_000, rank), n - 1, async_op=True))
assert world.allreduce(np.ones(2))[0] == n  # a blocking one behind them
for i in [3, 0, 6, 1, 5, 2, 4]:
    assert handles[i].wait() is xs[i]
    assert (xs[i] == n * i + n * (n - 1) / 2).all(), i
    assert handles[i].test()
assert (handles[7].wait() == n - 1).all()
"""
    job(3, script)


def test_a_call_moves_on_while_its_rank_does_something_else(job):
    """Rank 0 makes no call of ours until rank 1 has the result: a thread of the engine must do rank 0's part."""
    script = """
from mpi4py import MPI
x = np.full(300_000, rank + 1.0)
handle = world.allreduce(x, async_op=True, algorithm=ALGORITHM)
if rank == 0:
    MPI.COMM_WORLD.recv(source=1)
    end = time.monotonic() + 20
    while not handle.test() and time.monotonic() < end:  # its own result may come a moment after rank 1's
        time.sleep(0.001)
    assert handle.test()
else:
    handle.wait()
    MPI.COMM_WORLD.send("done", 0)
handle.wait()
assert (x == 3).all()
"""
    for algorithm in ("ring", "two-shot", "one-shot"):
        job(2, script.replace("ALGORITHM", repr(algorithm)), seconds=40)


def test_other_threads_run_while_a_rank_waits(job):
    """Rank 1 comes only when a thread of rank 0, which is waiting already, has told it to."""
    script = """
from mpi4py import MPI
if rank == 0:
    def tell():
        time.sleep(0.3)
        MPI.COMM_WORLD.send("come", 1)
    threading.Thread(target=tell).start()
else:
    MPI.COMM_WORLD.recv(source=0)
world.barrier()
assert world.allreduce(np.ones(300_000))[7] == 2
"""
    job(2, script, seconds=40)


def test_a_handle_that_nobody_waits_for_is_reported(job):
    script = """
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    world.allreduce(np.ones(5), async_op=True)
    world._drain()
text = " ".join(str(w.message) for w in caught)
assert "call 0 on communicator 'world', allreduce(float64[5], sum" in text and "never waited for" in text, text
world.allreduce(np.ones(6), async_op=True)  # and this one at the end
"""
    assert "allreduce(float64[6], sum" in job(2, script)


@pytest.mark.parametrize("n", [8, 16])
def test_more_ranks_than_cores(job, n):
    script = """
for size in (1, 1000, 100_000):
    for algorithm in ("auto", "ring", "two-shot"):
        for _ in range(20):
            x = np.full(size, rank)
            world.allreduce(x, algorithm=algorithm)
            assert (x == n * (n - 1) // 2).all()
"""
    job(n, script, seconds=110)


@pytest.mark.parametrize(("name", "call", "message"), [
    ("another dtype", "world.allreduce(np.ones(5, np.float32 if rank else np.float64))", r"float64\[5\].*float32\[5\]"),
    ("another length", "world.allreduce(np.ones(100_000 + rank // 2))", r"float64\[100000\].*float64\[100001\]"),
    ("another op", "world.allreduce(np.ones(5), 'sum' if rank else 'max')", r"max.*sum"),
    ("another algorithm", "world.allreduce(np.ones(5), algorithm='ring' if rank else 'one-shot')", r"one-shot.*ring"),
    ("another root", "world.broadcast(np.ones(500_000), rank % 2)", r"root 0.*root 1"),
    ("another collective", "world.barrier() if rank else world.allreduce(np.ones(3))", r"allreduce.*barrier"),
    ("not usable", "world.allreduce('x' if rank == 1 else np.ones(3))", r"must be a numpy array.*not str"),
    ("asynchronous", "world.allreduce(np.ones(5 + rank), async_op=True).wait()", r"float64\[5\].*float64\[6\]"),
])  # fmt: skip
def test_ranks_that_disagree_raise_the_same_error(job, name, call, message):
    script = f"""
for _ in range(3):
    world.allreduce(np.ones(5))
try:
    {call}
    world.barrier()
    raise SystemExit("no error")
except rl.CollectiveError as error:
    print("error:", " ".join(str(error).split()), flush=True)
"""
    said = re.findall("error: (.*)", job(3, script, LIMIT="4"))
    assert len(said) == 3
    assert all(re.search(message, text) for text in said), said
    assert len(set(said)) == 1, said


def test_a_rank_that_does_not_come_is_named(job):
    """It sleeps for longer than the others wait, and then for its answer; when it comes, it learns of their call."""
    script = """
if rank == 1:
    time.sleep(12)
try:
    world.barrier() if rank == 1 else world.allreduce(np.ones(3))
    raise SystemExit("no error")
except rl.CollectiveError as error:
    print(f"rank {rank} error:", " ".join(str(error).split()), flush=True)
"""
    said = dict(re.findall("rank ([012]) error: (.*)", job(3, script, LIMIT="3")))
    assert all("rank 1 did not call within 3 s" in said[rank] for rank in "02"), said
    assert "ranks 0, 2: allreduce(float64[3], sum" in said["1"], said


VICTIM = """
def die():
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
x = np.ones(SIZE)
world.allreduce(x)
start = time.monotonic()
try:
    for step in range(1000):
        if step == 20:
            die()
        x[:] = 1
        CALL
    raise SystemExit("no error")
except rl.RankLost as error:
    print(f"lost after {time.monotonic() - start:.1f} s:", " ".join(str(error).split()), flush=True)
"""
CALLS = [
    (5, "world.allreduce(x)"),
    (1_000_000, "world.allreduce(x)"),
    (5, "world.allreduce(x, async_op=True).wait()"),
    (100_000, "world.allreduce(x, algorithm='ring')"),
    (10, "world.broadcast(x, 1)"),
    (10, "world.split(0).allreduce(x)"),
]


def shared_names():
    return {p.name for p in Path("/dev/shm").iterdir()}


@pytest.mark.parametrize(("size", "call"), CALLS)
def test_survivors_raise_when_a_rank_is_killed(mpi_job, size, call):
    """Under Open MPI with fault tolerance the job goes on; nothing stays in /dev/shm."""
    before = shared_names()
    script = START + VICTIM.replace("SIZE", str(size)).replace("CALL", call)
    done = mpi_job(3, "-c", script, seconds=60, survive=True)
    said = re.findall(r"lost after .* s: (.*)", done.stdout)
    assert len(said) == 2, done.stdout[-3000:]
    assert all("rank 1" in text and "ended without a word" in text for text in said), said
    assert not [name for name in shared_names() - before if "ringleader" in name]


@pytest.mark.parametrize(("size", "call"), CALLS[:2])
def test_a_killed_rank_ends_an_ordinary_job(mpi_job, size, call):
    script = START + VICTIM.replace("SIZE", str(size)).replace("CALL", call)
    start = time.monotonic()
    done = mpi_job(3, "-c", script, seconds=60)
    assert done.returncode != 0
    assert time.monotonic() - start < 60


def test_all_ranks_killed_leave_nothing_behind(mpi_job):
    before = shared_names()
    script = (
        START
        + """
x = world.empty(1 << 22)
world.allreduce(x)
print("shared", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    done = mpi_job(2, "-c", script, seconds=60)
    assert done.returncode != 0
    assert "shared" in done.stdout
    assert not [name for name in shared_names() - before if "ringleader" in name]


def test_an_exception_ends_the_job_and_leaves_nothing_behind(mpi_job):
    before = shared_names()
    done = mpi_job(
        3, "-c", START + "world.allreduce(np.ones(9))\nassert rank != 2, 'on purpose'\nworld.barrier()"
    )
    assert done.returncode != 0
    assert "on purpose" in done.stdout
    assert not [name for name in shared_names() - before if "ringleader" in name]


def test_a_sleeping_rank_is_woken(job):
    """By a message, at once: it would sleep for half a minute. Each of them, whoever sends."""
    script = """
node = world._transport.home.node
for turn in range(3 * n):
    world.barrier()
    if rank == turn % n:
        time.sleep(0.05)
        for other in range(n):
            if other != rank:
                world.send(np.array([turn]), dest=other)
    else:
        start = time.monotonic()
        assert node.await_news(30_000_000, True)
        assert time.monotonic() - start < 15
        assert world.recv(source=turn % n)[0] == turn
world.barrier()
"""
    job(3, script)


def test_letters_of_every_size(job):
    """Without and with payloads that travel in a slot, in a spare block, in blocks, or stay where they are."""
    script = """
from ringleader.runtime.comm.leader.post import Letter, Post
heard, lost = [], []
post = Post(world.split(0)._transport, heard.append, lost.append)
sizes = [0, 1, 134, 135, 136, 192, 193, 8192, 8193, 65537, 3_000_000]
code = lambda size, sender: (np.arange(size) * 7 + size + sender).astype(np.uint8)
done = []
for size in sizes:
    for make in (np.empty, world.empty):
        payload = make([size], np.uint8)
        payload[:] = code(size, rank)
        for other in range(n):
            post.send(other, Letter(5, part=size, clock=make is np.empty), payload, lambda: done.append(0))
    for other in range(n):
        post.send(other, Letter(6, part=size))
count = 0
def take():
    global count
    while heard:
        letter = heard.pop(0)
        count += 1
        if letter.kind == 6:
            assert letter.nbytes == -1
            continue
        assert letter.nbytes == letter.part
        total = np.full(letter.part, 3, np.uint8)
        expected = code(letter.part, letter.sender)
        if letter.readable:
            post.add_up(total, [letter, expected], onto=True)
            assert (total == 2 * expected + np.uint8(3)).all()
        else:
            assert not letter.part or (letter.clock and letter.part > 8192 and not letter.readable), "all can read it"
            post.receive(letter, total, lambda t=total, e=expected: check(t, e))
    return count == 3 * len(sizes) * n and not post.sending and not post._open and not post._done
def check(got, expected):
    assert (got == expected).all()
assert post.wait_until(take, 30)
assert len(done) == 2 * len(sizes) * n
world.barrier()
post.close()
"""
    job(3, script)
