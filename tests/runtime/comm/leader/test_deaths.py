"""A rank ends at any moment: the others go on, or say what is lost. Nobody waits in vain.

On threads a rank dies by raising at its k-th letter, sent or received, for some k (for all: pytest --exhaustive); on
processes by kill -9.
"""

import logging
import re
import sys

import numpy as np
import pytest
from ringleader.runtime.comm import CollectiveError, CollectiveTimeout, RankLost, spawn
from ringleader.runtime.comm.leader import ParameterServer

from ringleader.launch import LaunchError, mpirun_command

WORKERS, STEPS = 3, 3


class Died(Exception):
    pass


def die_at_letter(server, k):
    """The k-th letter that this rank sends or hears is its last."""
    count, post = 0, server._post
    send, deliver = post.send, post.deliver

    def counted(call):
        def wrapped(*args, **options):
            nonlocal count
            count += 1
            if count >= k:
                raise Died
            call(*args, **options)

        return wrapped

    post.send, post.deliver = counted(send), counted(deliver)


def some(exhaustive, first):
    """Numbers of letters: more of the first, in which all begins; tests for other ranks and modes take others."""
    return range(1, 1000) if exhaustive else [*range(1 + first % 3, 20, 3), *range(20 + first, 1000, 13)]


def train(server):
    """Each worker adds to its own element of each tensor. The values at the end, and how many pushes were acknowledged."""
    me, taken = server.workers.index(server.world.rank), 0
    unit = np.zeros((WORKERS, 4), np.int64)
    unit[me] = 1
    server.init({name: np.zeros((WORKERS, 4), np.int64) for name in ("v", "w")})
    for step in range(STEPS):
        pushed = [server.push(name, unit) for name in ("v", "w")]
        for name in ("v", "w"):
            assert np.all(server.pull(name).wait()[me] == step + 1), "not its own writes"
        for handle in pushed:
            handle.wait()
        taken += 1
        server.clock()
    server.barrier()
    return [server.pull(name).wait() for name in ("v", "w")], taken


def survivors(n, servers, victim, k, **options):
    """What the ranks but ``victim`` had at the end: values, or an error."""
    found = {}

    def rank(world):
        server = ParameterServer(world, servers, rule="add", reduction="sum", part_bytes=64, **options)
        try:
            if world.rank == victim:
                die_at_letter(server, k)
            if server.is_worker:
                found[world.rank] = train(server)
            server.close()
        except CollectiveError as error:
            found[world.rank] = error
            raise

    try:
        spawn(n, rank, timeout=60)
    except Died:
        found.pop(victim, None)
        return found
    except RankLost:
        assert victim in range(n)
        found.pop(victim, None)
        return found
    return None  # it lived


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["bsp", "asp"])
@pytest.mark.parametrize("victim", [0, 2])
def test_a_worker_may_end_at_any_letter(mode, victim, exhaustive):
    for k in some(exhaustive, 2 * victim + (mode == "bsp")):
        found = survivors(WORKERS + 2, 2, victim, k, mode=mode)
        if found is None:
            break
        others = [rank for rank in range(WORKERS) if rank != victim]
        assert sorted(found) == others, (k, found)
        for rank in others:
            values, taken = found[rank]
            assert taken == STEPS
            for w in values:
                assert np.all(w[others] == STEPS), (k, w)
                assert np.all(w[victim] <= STEPS)
    assert k > 25


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["bsp", "asp"])
@pytest.mark.parametrize("victim", [WORKERS, WORKERS + 1])
def test_a_server_with_a_replica_may_end_at_any_letter(mode, victim):
    """No acknowledged push is lost: integers are exact."""
    for k in range(1, 1000):
        found = survivors(WORKERS + 2, 2, victim, k, mode=mode, replicas=1)
        if found is None:
            break
        assert sorted(found) == list(range(WORKERS)), k
        for result in found.values():
            assert not isinstance(result, Exception), (k, result)
            values, taken = result
            assert taken == STEPS
            assert np.all(np.array(values) == STEPS), (k, values)
    assert k > 25


@pytest.mark.timeout(600)
@pytest.mark.parametrize("victim", [WORKERS, WORKERS + 1])
def test_a_server_without_replica_is_named(victim, exhaustive):
    """On every worker: which, what it had, and what would help; unless all had finished with it."""
    for k in some(exhaustive, victim):
        found = survivors(WORKERS + 2, 2, victim, k)
        if found is None:
            break
        for rank in range(WORKERS):
            error = found.get(rank)
            if isinstance(error, Exception):
                assert isinstance(error, RankLost), (k, error)
                assert not isinstance(error, CollectiveTimeout)
                assert f"rank {rank}: server rank {victim} is gone, and nobody else has" in str(error)
                assert "With replicas=1, and at least 2 servers" in str(error)
        if k < 20:
            assert all(isinstance(found[rank], RankLost) for rank in range(WORKERS)), (k, found)
    assert k > 25


@pytest.mark.timeout(100)
@pytest.mark.parametrize("how", ["returns", "raises"])
@pytest.mark.parametrize("colocated", [False, True])
def test_a_worker_that_ends_without_close_is_dropped(how, colocated, caplog):
    """The log says so, and the mean is that of the others."""
    means = {}

    def rank(world):
        server = ParameterServer(world, [3], colocated=colocated)
        if not server.is_worker:
            return server.close()
        server.init({"w": np.zeros(3)})
        for step in range(4):
            if world.rank == 1 and step == 2:
                if how == "raises":
                    raise KeyError("boom")
                return None
            server.push("w", np.full(3, 10.0**world.rank))
            means[world.rank, step] = server.pull("w").wait()[0]
            server.clock()
        return server.close()

    with caplog.at_level(logging.WARNING, "ringleader.leader"):
        if how == "raises":
            with pytest.raises(KeyError):
                spawn(4, rank, timeout=60)
        else:
            spawn(4, rank, timeout=60)
    workers = 4 if colocated else 3
    before = sum(10.0**r for r in range(workers)) / workers
    after = (sum(10.0**r for r in range(workers)) - 10) / (workers - 1)
    assert [means[0, step] for step in range(4)] == [before, before, after, after]
    assert f"rank 1 is gone; training goes on with {workers - 1} workers" in caplog.text


@pytest.mark.timeout(100)
def test_all_workers_gone_ends_the_servers():
    def rank(world):
        server = ParameterServer(world, 2)
        if server.is_worker:
            server.init({"w": np.zeros(3)})
            return None
        return server.serve()

    spawn(4, rank, timeout=60)


# Processes

START = """
import os, signal, sys
import numpy as np, ringleader as rl
world = rl.init(timeout=20)
rank = world.rank
def die():
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
TRAINING = """
server = rl.ParameterServer(world, 2, mode=MODE, rule="add", reduction="sum", part_bytes=1000,
                            replicas=REPLICAS, colocated=COLOCATED)
size, steps = 600, 30
if rank == VICTIM:
    deliver, heard = server._post.deliver, [0]
    def last(letter):
        heard[0] += 1
        if heard[0] == LETTER:
            die()
        deliver(letter)
    server._post.deliver = last
try:
    if server.is_worker:
        workers = list(server.workers)
        unit = np.zeros((len(workers), size), np.int64)
        unit[rank] = 1
        server.init({"w": np.zeros_like(unit)})
        for step in range(steps):
            server.push("w", unit).wait()
            assert np.all(server.pull("w").wait()[rank] == step + 1)
            server.clock()
        came = server.barrier()
        w = server.pull("w").wait()
        assert np.all(w[came] == steps), w
        print(f"rank {rank} has all of {came}", flush=True)
    server.close()
except rl.RankLost as error:
    print(f"rank {rank} lost:", " ".join(str(error).split()), flush=True)
"""


def script(**values):
    values = {"REPLICAS": 0, "COLOCATED": False, **values}
    text = START + TRAINING
    for name, value in values.items():
        text = text.replace(name, repr(value))
    return text


@pytest.fixture
def job(mpi_job):
    """job(transport, values of the script ...): what its five ranks say, one of which is killed."""
    try:
        mpirun_command(1, [sys.executable], survive=True)
    except LaunchError as error:
        pytest.skip(str(error))

    def run(transport, **values):
        done = mpi_job(5, "-c", script(**values), seconds=60, survive=True, RINGLEADER_TRANSPORT=transport)
        assert done.returncode == 0, done.stdout[-3000:]
        return done.stdout

    return run


@pytest.mark.parametrize(
    ("transport", "mode", "victim", "letter"), [("shm", "bsp", 1, 30), ("mpi", "asp", 0, 50)]
)
def test_a_killed_worker_is_dropped(job, transport, mode, victim, letter):
    said = job(transport, MODE=mode, VICTIM=victim, LETTER=letter)
    others = [rank for rank in range(3) if rank != victim]
    for rank in others:
        assert f"rank {rank} has all of {others}" in said, said[-3000:]
    assert f"rank {victim} is gone; training goes on with 2 workers" in said


@pytest.mark.parametrize(
    ("transport", "mode", "victim", "letter"), [("windows", "bsp", 3, 100), ("shm", "asp", 4, 60)]
)
def test_a_killed_server_with_a_replica_loses_nothing(job, transport, mode, victim, letter):
    said = job(transport, MODE=mode, REPLICAS=1, VICTIM=victim, LETTER=letter)
    for rank in range(3):
        assert f"rank {rank} has all of [0, 1, 2]" in said, said[-3000:]
    assert f"server rank {victim} is gone" in said


@pytest.mark.parametrize("transport", ["shm", "mpi"])
def test_a_killed_server_that_is_a_worker_too(job, transport):
    """Ranks 0 and 2 serve."""
    said = job(transport, MODE="bsp", REPLICAS=1, COLOCATED=True, VICTIM=2, LETTER=200)
    for rank in (0, 1, 3, 4):
        assert f"rank {rank} has all of [0, 1, 3, 4]" in said, said[-3000:]
    assert "server rank 2 is gone" in said
    assert "rank 2 is gone; training goes on with 4 workers" in said


def test_a_killed_server_without_a_replica_is_named(job):
    said = re.findall(r"rank (\d) lost: (.*)", job("mpi", MODE="bsp", VICTIM=4, LETTER=40))
    assert sorted(rank for rank, _ in said) == ["0", "1", "2"], said
    assert all("server rank 4 is gone" in text and "replicas=1" in text for _, text in said)


def test_a_killed_worker_ends_an_ordinary_job(mpi_job):
    text = script(MODE="bsp", VICTIM=1, LETTER=30)
    done = mpi_job(5, "-c", text, seconds=60, RINGLEADER_TRANSPORT="shm")
    assert done.returncode != 0
