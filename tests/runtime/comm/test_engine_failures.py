"""What only the native engine can get wrong when a call has failed: it makes calls that Python does not see."""

import pytest

SETUP = """
import time
import numpy as np, ringleader as rl
from ringleader.runtime.comm import CollectiveError
world = rl.init(timeout=20)
if world.transport != "shm":
    raise SystemExit("the engine is not used here: " + world.transport)
x = np.full(4, 1.0)
for _ in range(3):
    world.allreduce(x)  # from the second on, the engine recognises it
"""
DISAGREE = """
try:
    world.allreduce(np.full(4, 100.0)) if world.rank == 0 else world.broadcast(np.zeros(3))
except CollectiveError:
    pass
"""
AGAIN = """
try:
    print("got", world.allreduce(np.full(4, 1.0)))
except CollectiveError as error:
    print("refused" if "cannot be used any more" in str(error) else error)
"""


@pytest.mark.parametrize("first", [0, 1])
def test_a_communicator_that_has_failed_makes_no_call_that_it_remembers(first, mpi_job):
    """Or it would take what a rank showed in the failed call for its part of the next."""
    done = mpi_job(2, "-c", f"{SETUP}{DISAGREE}time.sleep(0.3 * (world.rank != {first})){AGAIN}")
    assert done.stdout.count("refused") == 2 and "got" not in done.stdout, done.stdout


def test_a_call_that_was_interrupted_is_not_continued_by_the_next(mpi_job):
    """One rank gives up a long call on its own, without a word to the others."""
    script = """
def interrupt(number, missing, waited):
    raise KeyboardInterrupt
watch = world._engine.caller.watch
y = np.full(1 << 20, 1.0 + world.rank)
if world.rank == 0:
    world._engine.caller.watch = interrupt
    try:
        world.allreduce(y, algorithm="two-shot")
    except KeyboardInterrupt:
        world._engine.caller.watch = watch
        try:
            print("got", world.allreduce(np.full(1 << 20, 5.0), algorithm="two-shot")[:2])
        except RuntimeError as error:
            print("refused" if "given up" in str(error) else error)
    import os
    print(flush=True)
    os._exit(0)
time.sleep(2)
"""
    done = mpi_job(2, "-c", SETUP + script)
    assert "refused" in done.stdout and "got" not in done.stdout, done.stdout


def test_the_time_limit_of_one_wait_is_not_that_of_the_next_call(mpi_job):
    script = """
world.allreduce(np.ones(10), async_op=True).wait(timeout=0.3)
time.sleep(1.5 * world.rank)
print("got", world.allreduce(np.full(4, 1.0))[0])
"""
    done = mpi_job(2, "-c", SETUP + script)
    assert done.stdout.count("got 2.0") == 2, done.stdout
