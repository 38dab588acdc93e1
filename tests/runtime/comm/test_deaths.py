"""A rank is killed without a word: what the others learn of it over each transport, and that they can go on."""

import sys
import time

import pytest

from ringleader.launch import LaunchError, mpirun_command

# name: what Ringleader calls it, and how to get it
TRANSPORTS = {
    "shm": {"RINGLEADER_TRANSPORT": "shm"},
    "shm+mpi": {"RINGLEADER_TRANSPORT": "shm", "RINGLEADER_NODES": "2"},
    "windows": {"RINGLEADER_TRANSPORT": "windows"},
    "mpi": {"RINGLEADER_TRANSPORT": "mpi"},
}
START = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
import ringleader as rl
from ringleader.runtime.comm.transport import ANY, point_to_point
world = rl.init(timeout=20)
if world.transport != NAME:
    raise SystemExit(f"no error: the transport is {world.transport}")
rank, n, transport = world.rank, world.size, world._transport
FIRST, SECOND, INBOX = point_to_point(1), point_to_point(2), point_to_point(3)

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def until(holds):
    start, turn = time.monotonic(), 0
    while not holds():
        assert time.monotonic() - start < 15, "in vain"
        transport.pause(turn := turn + 1)

def over(requests):
    until(lambda: all(request.test() or request.lost for request in requests))
    assert not any(request.test() and request.lost for request in requests)
    return [request.lost for request in requests]

def filled(value, size=40):
    return np.full(size, value, np.uint8)
"""


@pytest.fixture
def job(mpi_job):
    """job(n, transport, script): what its ranks say. It must end well though ranks die, unless ``right`` is False."""
    try:
        if "--with-ft" not in mpirun_command(1, [sys.executable], survive=True):
            pytest.skip("needs an MPI that tells of deaths (ULFM): Open MPI 5")
    except LaunchError as error:
        pytest.skip(str(error))

    def run(n, name, script, *, survive=True, right=True):
        script = START.replace("NAME", repr(name)) + script
        done = mpi_job(n, "-c", script, seconds=50, survive=survive, **TRANSPORTS[name])
        assert not right or done.returncode == 0, done.stdout[-4000:]
        return done if not right else done.stdout

    return run


MESSAGES = """
victims = VICTIMS
server = next(r for r in range(n) if r not in victims)
inbox, many = filled(0), filled(rank, 5 << 20)
if rank == server:
    anyone = transport.irecv(inbox, ANY, INBOX, whole=True)
for number, victim in enumerate(victims):
    alive = [r for r in range(n) if r not in victims[:number]]
    if rank in alive and rank != victim:
        early = [transport.irecv(filled(0, 5 << 20), victim, FIRST), transport.isend(many, victim, FIRST),
                 transport.irecv(filled(0), victim, SECOND)]
    if number == 0:
        world.barrier()
    elif rank == victim:
        time.sleep(0.3)
    if rank == victim:
        die()
    until(lambda: transport.dead() == set(victims[:number + 1]))
    assert transport.gone() == transport.dead()
    assert over(early) == [True, True, True]
    for _ in range(3000):  # more than there is room for anywhere
        transport.isend(many[:40], victim, FIRST).cancel()
        transport.post(victim, "nobody hears it")
    late = [transport.isend(many, victim, FIRST), transport.irecv(filled(0), victim, FIRST),
            transport.irecv(filled(0, 5 << 20), victim, SECOND)]
    assert over(late) == [True, True, True]
    for request in early + late:
        request.cancel()

    alive.remove(victim)
    for peer in alive:
        if peer != rank:
            transport.post(peer, ("alive", rank))
    heard = []
    until(lambda: heard.extend(transport.poll()) or len(heard) == len(alive) - 1)
    assert sorted(heard) == [(peer, ("alive", peer)) for peer in alive if peer != rank]

    if rank == server:
        steps = dict.fromkeys(set(alive) - {server}, 0)
        for _ in range(50 * len(steps)):
            until(anyone.test)
            assert (inbox == steps[anyone.peer]).all() and not anyone.lost
            steps[anyone.peer] += 1
            anyone = transport.irecv(inbox, ANY, INBOX, whole=True)
        assert set(steps.values()) == {50}
    else:
        for step in range(50):
            over([transport.isend(filled(step), server, INBOX, whole=True)])
    for worker in alive:
        if worker != server and rank in (worker, server):
            long = filled(0, 3 << 20)
            send, receive = (transport.isend, many[:3 << 20]), (transport.irecv, long)
            start, view = send if rank == worker else receive
            assert over([start(view, server if rank == worker else worker, SECOND)]) == [False]
            assert rank == worker or (long == worker).all()
print("went on", flush=True)
"""


@pytest.mark.parametrize(("name", "victims"), [*((name, [1, 3]) for name in TRANSPORTS), ("mpi", [0])])
def test_messages_among_survivors_go_on_and_those_of_the_dead_are_lost(job, name, victims):
    """With two deaths the second comes when the first has been seen through."""
    said = job(4, name, MESSAGES.replace("VICTIMS", repr(victims)))
    assert said.count("went on") == 4 - len(victims), said[-3000:]


AMID = """
pids = world.allgather(np.array([os.getpid()]))
def ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
size = 4 << 20
if rank == 0:
    inbox = filled(0, size)
    anyone = transport.irecv(inbox, ANY, FIRST, whole=True)
    named = transport.irecv(filled(0, size), 1, SECOND)
world.barrier()
if rank == 1:
    transport.isend(filled(1, size), 0, FIRST, whole=True)
    transport.isend(filled(1, size), 0, SECOND)
    die()
if rank == 0:
    until(lambda: ended(pids[1]))  # without a look at what it has sent
    until(lambda: anyone.test() or transport.dead())
    if anyone.test():  # its message had come, whole
        assert anyone.peer == 1 and (inbox == 1).all()
        anyone = transport.irecv(inbox, ANY, FIRST, whole=True)
    over([named])
    transport.post(2, "send")
    until(anyone.test)
    assert anyone.peer == 2 and (inbox == 2).all()
else:
    until(lambda: list(transport.poll()))
    over([transport.isend(filled(2, size), 0, FIRST, whole=True)])
print("went on", flush=True)
"""


@pytest.mark.parametrize("name", ["shm", "mpi"])
def test_a_sender_that_dies_amid_its_message_does_not_block_a_receive_from_anyone(job, name):
    said = job(3, name, AMID)
    assert said.count("went on") == 2, said[-3000:]


CALL = """
def vendor(*arguments):
    die() if rank == 1 else original(*arguments)
x, calls, original = np.ones(SIZE), 0, transport.vendor
try:
    for step in range(1000):
        if step == 20 and rank == 1:
            transport.vendor = vendor
            INSIDE or die()
        x[:] = 1
        CALL
    raise SystemExit("no error")
except rl.RankLost as error:
    print("lost:", " ".join(str(error).split()), flush=True)
"""
CALLS = [
    (30_000, "world.allreduce(x)"),
    (100_000, "world.allreduce(x, algorithm='ring')"),
    (10, "world.broadcast(x, 0, algorithm='vendor'); world.barrier()"),
    (10, "world.allreduce(x, algorithm='vendor')"),
]


@pytest.mark.parametrize(
    ("name", "size", "call"), [("windows", *CALLS[0]), *(("mpi", *call) for call in CALLS)]
)
def test_collectives_name_the_dead_rank(job, name, size, call):
    """That of the MPI library as well, in which not every rank misses the dead one."""
    script = CALL.replace("SIZE", str(size)).replace("CALL", call).replace("INSIDE", str("vendor" in call))
    said = job(4, name, script)
    lost = [line for line in said.splitlines() if line.startswith("lost:")]
    assert len(lost) == 3, said[-3000:]
    assert all("rank 1: ended without a word" in line for line in lost), lost


@pytest.mark.parametrize("name", ["shm", "mpi"])
def test_survivors_that_fail_end_the_job(job, name):
    """All at once, which Open MPI's launcher would not always survive itself."""
    done = job(4, name, "if rank == 1: die()\nworld.barrier()", right=False)
    assert done.returncode == 1, done.stdout[-3000:]
    assert "rank 1: ended without a word" in done.stdout


@pytest.mark.parametrize("name", ["windows", "mpi"])
def test_a_death_ends_an_ordinary_job(job, name):
    start = time.monotonic()
    done = job(3, name, "if rank == 1: die()\nworld.barrier()", survive=False, right=False)
    assert done.returncode != 0
    assert time.monotonic() - start < 50
