"""The thread of a server that is also a worker: it keeps nothing alive, and is not silent when it fails."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from ringleader.runtime.comm import spawn
from ringleader.runtime.comm.leader import ParameterServer, Rule

ROOT = Path(__file__).parents[4]
FORGETFUL = """
import numpy as np, ringleader as rl
def rank(world):
    server = rl.ParameterServer(world, 2, colocated=True)
    server.init({"w": np.zeros(3)})
    server.push_pull("w", np.ones(3)).wait()
    server.barrier()
    print("ready", flush=True)
"""


class Broken(Rule):
    whole = False

    def slot(self, part, w):
        raise ZeroDivisionError("in the service thread")


def test_forgotten_on_threads():
    script = FORGETFUL + "rl.spawn(3, rank)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, timeout=60, check=True, text=True, capture_output=True
    )
    assert done.stdout.count("ready") == 3


@pytest.mark.parametrize("transport", ["shm", "mpi"])
def test_forgotten_on_processes(mpi_job, transport):
    done = mpi_job(3, "-c", FORGETFUL + "rank(rl.init())", RINGLEADER_TRANSPORT=transport)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("ready") == 3


def service_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("server of rank")]


@pytest.mark.timeout(60)
def test_no_thread_outlives_its_rank():
    def forgetful(world):
        ParameterServer(world, 3, colocated=True).init({"w": np.zeros(3)})
        assert len(service_threads()) >= 1

    spawn(3, forgetful, timeout=60)
    while service_threads():  # they end at their next look
        time.sleep(0.01)


@pytest.mark.timeout(60)
def test_its_exception_is_raised_on_threads():
    def rank(world):
        server = ParameterServer(world, [1], colocated=True, rule=Broken())
        server.init({"w": np.zeros(3)})
        server.close()

    with pytest.raises(ZeroDivisionError, match="in the service thread"):
        spawn(3, rank, timeout=30)


@pytest.mark.parametrize("colocated", [True, False])
def test_its_exception_ends_the_job(mpi_job, colocated):
    script = f"""
import numpy as np, ringleader as rl
class Broken:
    whole = False
    def slot(self, part, w):
        raise ZeroDivisionError("in the service thread")
server = rl.ParameterServer(rl.init(), [1], colocated={colocated}, rule=Broken())
if server.is_worker:
    server.init({{"w": np.zeros(3)}})
server.close()
print("went on")
"""
    done = mpi_job(3, "-c", script)
    assert done.returncode != 0
    assert "Rank 1 of 3 failed:\nTraceback" in done.stdout
    assert "ZeroDivisionError: in the service thread" in done.stdout
    assert "went on" not in done.stdout
