"""What a worker sees in each mode, over whatever transport; test_under_mpirun.py runs this once more on processes."""

import random
import threading
import time

import numpy as np
import pytest
from helpers.coded import STRIDE, UNDER_MPI, on_ranks
from helpers.leader import fence, served
from ringleader.runtime.comm import spawn
from ringleader.runtime.comm.leader import ParameterServer
from ringleader.runtime.comm.leader import server as server_module
from ringleader.runtime.comm.leader import worker as worker_module
from ringleader.runtime.comm.leader.kinds import Kind

ON_THREADS = pytest.mark.skipif(bool(UNDER_MPI), reason="ranks wait for each other by what threads share")
SHAPES = {"conv.weight": (37, 5), "scale": (), "nothing": (0, 3), "one": (1,), "fc.weight": (1013,)}
STEPS = 3


TEAMS = [  # number of ranks, servers, colocated?
    (n, *team)
    for n in ([UNDER_MPI] if UNDER_MPI else [4, 5, 6])
    for team in ((1, False), (n - 2, False), (1, True), (n, True), ([0, 2], n % 2 == 1))
]


def gradient(rank, step, shape):
    seed = [rank, step, int(np.prod(shape))]
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def folded(workers, step, shape):
    """In rank order, as AllReduce by "leader" does."""
    total = gradient(workers[0], step, shape)
    for rank in workers[1:]:
        total += gradient(rank, step, shape)
    return total


@pytest.mark.parametrize("placement", ["balanced", "range", "hash"])
@pytest.mark.parametrize(("n", "servers", "colocated"), TEAMS)
def test_bulk_is_the_mean_bit_for_bit(n, servers, colocated, placement):
    """The same bits as a fold in rank order."""

    def work(server):
        server.init({name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()})
        for step in range(STEPS):
            rank = server.world.rank
            outs = {
                name: server.push_pull(name, gradient(rank, step, shape), priority=i)
                for i, (name, shape) in enumerate(SHAPES.items())
            }
            server.clock()
            for name, handle in outs.items():
                mean = folded(server.workers, step, SHAPES[name]) / np.float32(len(server.workers))
                got = handle.wait()
                assert got.shape == SHAPES[name]
                assert np.array_equal(got, mean), (step, name)
        return server.iteration

    done = served(n, work, servers, colocated=colocated, placement=placement, part_bytes=300)
    assert set(done) <= {None, STEPS}
    assert STEPS in done or UNDER_MPI


@pytest.mark.parametrize("algorithm", ["leader", "two-shot"])
@pytest.mark.parametrize("servers", [1, 2, 3])
def test_bulk_is_allreduce(servers, algorithm):
    """Called in turn, on processes also while the service thread is awake."""

    def work(server):
        server.init({"w": np.zeros(5003, np.float32)})
        for step in range(STEPS):
            g = gradient(server.world.rank, step, (5003,))
            pulled = server.push_pull("w", g)
            reduced = server.world.allreduce(g.copy(), "mean", algorithm=algorithm)
            server.clock()
            assert np.array_equal(pulled.wait(), reduced)

    served(UNDER_MPI or 5, work, servers, colocated=True, part_bytes=3000)


@pytest.mark.parametrize(("mode", "staleness"), [("bsp", None), ("ssp", 0)])
def test_bulk_sums_coded_integers(mode, staleness):
    size = 997

    def work(server):
        server.init({"w": np.full(size, 7)})
        for step in range(STEPS):
            server.push("w", np.arange(size) * STRIDE + server.world.rank)
            w = server.pull("w").wait()
            server.clock()
            each = np.arange(size) * STRIDE * len(server.workers) + sum(server.workers)
            assert np.array_equal(w, 7 + (step + 1) * each)

    served(
        UNDER_MPI or 5, work, 2, mode=mode, staleness=staleness, rule="add", reduction="sum", part_bytes=1000
    )


def test_no_staleness_has_the_bits_of_bulk():
    def work(server):
        server.init({"w": np.zeros(501, np.float32)})
        seen = []
        for step in range(STEPS):
            server.push("w", gradient(server.world.rank, step, (501,)))
            seen.append(server.pull("w").wait())
            server.clock()
        return np.array(seen).tobytes()

    n = UNDER_MPI or 4
    bulk, none = (served(n, work, mode=m, staleness=s, rule="add") for m, s in (("bsp", None), ("ssp", 0)))
    assert bulk == none


def test_bulk_goes_on_without_those_who_push_nothing():
    """Key i is pushed by worker i alone, and "all" by nobody in odd iterations."""

    def work(server):
        me, workers = server.workers.index(server.world.rank), len(server.workers)
        server.init({"all": np.zeros(3), **{f"w{i}": np.zeros(3) for i in range(workers)}})
        for step in range(4):
            server.push(f"w{me}", np.full(3, 10.0 * step + me))
            if step % 2 == 0:
                server.push("all", np.full(3, float(step)))
            server.clock()
            for i in range(workers):
                assert server.pull(f"w{i}").wait()[0] == 10 * step + i  # the mean of one
            assert server.pull("all").wait()[0] == step - step % 2
        return True

    served(UNDER_MPI or 4, work, 1)


@pytest.mark.parametrize("colocated", [False, True])
@pytest.mark.parametrize("mode", ["bsp", "ssp", "asp"])
def test_workers_see_their_own_writes(mode, colocated):
    """Worker i adds to element i only."""

    def work(server):
        me = server.workers.index(server.world.rank)
        unit = np.zeros(len(server.workers), np.int64)
        server.init({"w": unit})
        unit[me] = 1
        for step in range(10):
            handle = server.push("w", unit, priority=step % 3)
            assert server.pull("w", priority=-step).wait()[me] == step + 1
            handle.wait()
            server.clock()
            assert server.pull("w").wait()[me] == step + 1

    served(UNDER_MPI or 4, work, 1, mode=mode, rule="add", reduction="sum", colocated=colocated)


def test_values_start_as_the_first_workers():
    def work(server):
        rank = server.world.rank
        server.init({name: np.full(shape, rank + 5.0) for name, shape in SHAPES.items()})
        for name, shape in SHAPES.items():
            out = np.empty(shape)
            assert server.pull(name, out=out).wait() is out
            assert np.all(out == server.workers[0] + 5.0)

    served(UNDER_MPI or 4, work, 2, part_bytes=100)
    served(UNDER_MPI or 4, work, [0], part_bytes=100)


def test_the_sum_of_the_workers_numbers():
    def work(server):
        rank = server.world.rank
        total, ranks = server.sum(np.array([[1, rank], [rank * rank, 0]]))
        assert ranks == list(server.workers)
        assert np.array_equal(total, [[len(ranks), sum(ranks)], [sum(r * r for r in ranks), 0]])
        assert server.barrier() == ranks

    served(UNDER_MPI or 5, work, 2)


def test_two_parameter_servers_side_by_side():
    def rank(world):
        one = ParameterServer(world, [0], colocated=True)
        two = ParameterServer(world, [world.size - 1], colocated=True)
        for server, value in ((one, 1.0), (two, 2.0)):
            server.init({"w": np.full(10, value)})
        for server, value in ((two, 2.0), (one, 1.0)):
            assert np.all(server.pull("w").wait() == value)
        one.close()
        two.close()

    on_ranks(UNDER_MPI or 3, rank)


# Threads only: who waits for whom, without a clock

LIMIT = 14  # iterations


@ON_THREADS
@pytest.mark.parametrize("pull_first", [False, True])
@pytest.mark.parametrize(("mode", "staleness"), [("bsp", 0), ("ssp", 0), ("ssp", 1), ("ssp", 3), ("ssp", 10)])
def test_nobody_gets_further_ahead_than_the_staleness(mode, staleness, pull_first):
    """Worker 0 makes an iteration only when worker 1 can go no further: after exactly so many as it may be ahead."""
    go, gone = threading.Semaphore(0), threading.Semaphore(0)

    def slow(server):
        for _ in range(LIMIT):
            assert go.acquire(timeout=20)
            server.push("w", np.ones(3, np.int64)).wait()
            server.clock()
            fence(server)
            gone.release()

    def fast(server):
        made = 0  # iterations of the other
        for step in range(LIMIT):
            if not pull_first:
                server.push("w", np.ones(3, np.int64))
            ahead = step + (not pull_first)
            pull = server.pull("w")
            fence(server)
            assert pull.test() == (ahead - made <= staleness), (step, made)
            while ahead - made > staleness:
                go.release()
                assert gone.acquire(timeout=20)
                made += 1
                fence(server)
            assert pull.test(), (step, made)
            if mode == "bsp" or staleness == 0:
                assert np.all(pull.wait() == 2 * ahead), "values of another iteration"
            if pull_first:
                server.push("w", np.ones(3, np.int64))
            server.clock()
        for _ in range(LIMIT - made):
            go.release()

    def work(server):
        server.init({"w": np.zeros(3, np.int64)})
        slow(server) if server.world.rank == 0 else fast(server)

    options = {"staleness": staleness} if mode == "ssp" else {}
    served(3, work, 1, mode=mode, rule="add", reduction="sum", **options)


@ON_THREADS
def test_asynchronous_waits_for_nobody():
    done = threading.Event()

    def work(server):
        server.init({"w": np.zeros(3, np.int64)})
        if server.world.rank == 0:
            assert done.wait(20), "the others wait for this one"
            return
        for step in range(50):
            server.push("w", np.ones(3, np.int64))
            assert server.pull("w").wait()[0] >= step + 1
            server.clock()
        done.set()

    served(3, work, 1, mode="asp", rule="add")


@ON_THREADS
@pytest.mark.parametrize("staleness", [1, 3, 10])
@pytest.mark.parametrize("seed", range(3))
def test_staleness_under_random_delays(staleness, seed):
    """A shared log: iterations that each worker has ended, written down before the server can know."""
    ended, steps, elements = [0] * 4, 25, 5

    def work(server):
        me, rng = server.workers.index(server.world.rank), random.Random(100 * seed + server.world.rank)
        server.init({"w": np.zeros((4, elements), np.int64)})
        unit = np.zeros((4, elements), np.int64)
        unit[me] = 1
        for step in range(steps):
            if rng.random() < 0.2 + 0.2 * me:
                time.sleep(rng.random() * 0.004)
            for _ in range(pushes := rng.randrange(1, 3)):
                server.push("w", unit * (2 // pushes))
            w = server.pull("w").wait()
            assert step + 1 - min(ended) <= staleness, "too far ahead"
            assert np.all(w >= 2 * (step + 1 - staleness)), "too stale"
            assert np.all(w[me] == 2 * (step + 1)), "not its own writes"
            ended[me] = step + 1
            server.clock()
        server.barrier()
        assert np.all(server.pull("w").wait() == 2 * steps)

    served(6, work, 2, mode="ssp", staleness=staleness, rule="add", part_bytes=64)


@ON_THREADS
@pytest.mark.parametrize("staleness", [1, 3])
def test_several_pushes_in_an_iteration(staleness):
    """One push does not say that there will not be another."""
    pulled = threading.Event()

    def work(server):
        server.init({"w": np.zeros(3, np.int64)})
        if server.world.rank == 0:
            for _ in range(staleness):
                server.push("w", np.ones(3, np.int64)).wait()  # of iteration 0
            server.barrier()
            assert pulled.wait(20)
        else:
            server.barrier()
            for _ in range(staleness):
                server.push("w", np.ones(3, np.int64))
                server.pull("w").wait()
                server.clock()
            server.push("w", np.ones(3, np.int64))
            last = server.pull("w")
            fence(server)
            assert not last.test()
            pulled.set()
            last.wait()

    served(3, work, 1, mode="ssp", staleness=staleness, rule="add")


@ON_THREADS
def test_a_pull_gets_the_iteration_that_it_was_made_in():
    """Although others have pushed for later ones, for which this worker pushes nothing."""
    order = [threading.Event() for _ in range(2)]

    def work(server):
        server.init({"w": np.zeros(3, np.int64)})
        if server.world.rank == 0:
            server.push("w", np.ones(3, np.int64))
            first = server.pull("w")
            server.clock()
            server.clock()
            server.clock()
            fence(server)
            order[0].set()
            assert np.all(first.wait() == 11)
            assert np.all(server.pull("w").wait() == 111)
        else:
            assert order[0].wait(20)
            server.push("w", np.full(3, 10))
            server.clock()
            server.push("w", np.full(3, 100))
            server.clock()
            server.clock()

    served(3, work, 1, rule="add", reduction="sum")


@ON_THREADS
def test_workers_far_ahead_keep_their_gradients():
    """Not the server: it has received those of one iteration."""
    checked = threading.Event()

    def work(server):
        server.init({"w": np.zeros(1000)})
        if server.world.rank == 0:
            assert checked.wait(20)
        for step in range(20):
            server.push("w", np.full(1000, float(step)))
            server.clock()
        if server.world.rank == 1:
            fence(server)
            assert server.push("w", np.zeros(1000)).test() is False
            pushes = [r for r in server._worker._under_way.values() if r.payload is not None]
            assert len(pushes) == 20
            checked.set()
        for _ in range(20):
            server.clock()

    served(3, work, 1)


@pytest.mark.parametrize("mode", ["bsp", "asp"])
def test_close_waits_for_what_was_pushed(mode):
    """More than may be under way at once, and nobody waits for it."""
    size, kept = 300_000, {}

    def rank(world):
        server = ParameterServer(world, 1, mode, rule="add", reduction="sum", part_bytes=1 << 18)
        if server.is_worker:
            server.init({"v": np.zeros(size, np.int64), "w": np.zeros(size, np.int64)})
            for name in ("v", "w"):
                server.push(name, np.ones(size, np.int64))
        server.close()
        if server._server is not None:
            kept.update({n: stored.slot.w for n, stored in server._server.stored.items()})
            assert all(np.all(w == world.size - 1) for w in kept.values())
            assert sum(w.size for w in kept.values()) == 2 * size

    on_ranks(UNDER_MPI or 3, rank)


@ON_THREADS
def test_push_pull_into_the_gradient_with_replicas():
    """The first server's answer comes while the second has yet to take the gradient."""
    answered, kept = threading.Event(), []

    def rank(world):
        server = ParameterServer(world, 2, rule="add", reduction="sum", replicas=1)
        if not server.is_worker:
            deliver = server._post.deliver

            def late(letter):
                if (
                    letter.kind == Kind.PUSH
                    and server._server.number != server._server.stored[0].part.holders[0]
                ):
                    assert answered.wait(20)
                deliver(letter)

            server._post.deliver = late
            server.close()
            kept.append(server._server.stored[0].slot.w)
            return
        server.init({"w": np.full(10, 100)})
        g = np.arange(10)
        handle = server.push_pull("w", g, out=g)
        while g[0] != 100:
            server._post.progress()
        answered.set()
        handle.wait()
        server.close()

    spawn(3, rank, timeout=60)
    assert all(np.array_equal(w, 100 + np.arange(10)) for w in kept)


@ON_THREADS
@pytest.mark.parametrize("seed", range(6))
def test_a_random_program_in_bulk(seed, monkeypatch):
    """Some keys, at random priorities, pulled at once and waited for much later, with hardly any credit: each pull has
    what was pushed before its iteration, or in it if its worker had pushed, and nothing else."""
    monkeypatch.setattr(worker_module, "CREDIT", 100)
    monkeypatch.setattr(server_module, "CREDIT", 100)
    workers, iterations, keys = 3, 12, [f"w{i}" for i in range(5)]
    plan = {
        (worker, step): random.Random(f"{seed} {worker} {step}").sample(keys, k=(worker + step + seed) % 6)
        for worker in range(workers) for step in range(iterations)
    }  # fmt: skip

    def value(key, clock):
        return sum(
            1000 * worker + step for worker in range(workers) for step in range(clock) if key in plan[worker, step]
        )  # fmt: skip

    def work(server):
        worker = server.world.rank
        rng = random.Random(100 * seed + worker)
        server.init({key: np.zeros(20, np.int64) for key in keys})
        waiting = []
        for step in range(iterations):
            pushed = set()
            calls = [(key, "push") for key in plan[worker, step]] + [
                (key, "pull") for key in rng.sample(keys, k=3)
            ]
            rng.shuffle(calls)
            for key, call in calls:
                priority = rng.randrange(-3, 4)
                if call == "push":
                    server.push(key, np.full(20, 1000 * worker + step), priority)
                    pushed.add(key)
                else:
                    waiting.append((key, step + (key in pushed), server.pull(key, priority=priority)))
            server.clock()
            rng.shuffle(waiting)
            while len(waiting) > 8 * rng.random():
                key, clock, handle = waiting.pop()
                assert np.all(handle.wait() == value(key, clock)), (step, key, clock)
        for key, clock, handle in waiting:
            assert np.all(handle.wait() == value(key, clock)), (key, clock)

    served(5, work, 2, rule="add", reduction="sum", part_bytes=64)
