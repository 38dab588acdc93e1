"""Choices under mpirun: the MPI library's own collective where it can do the call, and rank 0's environment."""

import numpy as np
import pytest
from ringleader.collectives.tuning import Choice, Key, Range, Table
from ringleader.runtime.comm import Op

N = 3

SCRIPT = """
import sys
import numpy as np, ringleader as rl
from ringleader.collectives.tuning import VENDOR, Choice, Key, Range, Table, Timed
from ringleader.runtime.comm import cache
world = rl.init(timeout=30)
n, me = world.size, world.rank
if sys.argv[1] == "save":
    if me == 0:
        best = Range(0, VENDOR, 1e-3, (Timed(Choice("tree"), 2e-3),))
        blocks = Range(0, Choice("bruck"), 1e-3, (Timed(VENDOR, 3e-3), Timed(Choice("linear"), 4e-3)))
        ranges = {Key("allreduce", n, False): (best,), Key("alltoall", n, False): (blocks,)}
        cache.save(Table(ranges, None, cache.machine(world.transport, world._transport.nodes)))
    raise SystemExit
for dtype in (np.float32, np.int32, np.int8):
    assert (world.allreduce(np.full(4, 1 + me, dtype)) == n * (n + 1) // 2).all()
assert (world.allreduce(np.full(4, 1.0 + me), "max") == n).all()
assert (world.allreduce(np.full(4, 1 + me), "max") == n).all()
keep_left = rl.Op("left", lambda x, y, out=None: np.positive(x, out=out), commutes=False)
assert (world.allreduce(np.full(4, 1 + me), keep_left) == 1).all()
handle = world.allreduce(np.full(5, 1 + me), async_op=True)
assert (handle.wait() == n * (n + 1) // 2).all()
assert (world.alltoall(np.full(2 * n, me, np.int16)) == np.repeat(np.arange(n), 2)).all()
counts = [me] * n
assert (world.alltoall(np.full(n * me, me, np.int16), counts=counts) == np.repeat(np.arange(n), np.arange(n))).all()
"""
LOGGED = {"RINGLEADER_TUNING": "", "RINGLEADER_LOG": "choice"}
NEXT = "tree, measured 2 ms at 0 bytes (vendor 1 ms)"
OWN = "vendor, measured 1 ms at 0 bytes (tree 2 ms)"


@pytest.mark.parametrize("transport", ["shm", "mpi"])
def test_the_vendors_own_is_taken_where_it_can_do_the_call(mpi_job, tmp_path, transport):
    both = {"RINGLEADER_TRANSPORT": transport, "XDG_CACHE_HOME": str(tmp_path), **LOGGED}
    saved = mpi_job(N, "-c", SCRIPT, "save", **both)
    assert saved.returncode == 0, saved.stdout
    done = mpi_job(N, "-c", SCRIPT, "call", **both)
    assert done.returncode == 0, done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("ringleader: ")]
    kinds = [
        ("16 bytes (float32, sum)", OWN), ("16 bytes (int32, sum)", OWN),
        ("4 bytes (int8, sum)", NEXT),  # which MPI may add with saturation
        ("32 bytes (float64, max)", NEXT),  # of which MPI leaves open what becomes of NaN
        ("32 bytes (int64, max)", OWN),
    ]  # fmt: skip
    assert lines[:5] == [f"ringleader: allreduce of {kind} on 3 ranks: {told}" for kind, told in kinds]
    assert lines[5].startswith("ringleader: allreduce of 32 bytes (int64, left) on 3 ranks: ")
    assert lines[5].endswith(", by model")
    assert lines[6] == f"ringleader: allreduce of 40 bytes (int64, sum) on 3 ranks: {OWN}"
    assert lines[7:] == [
        "ringleader: alltoall of 12 bytes (int16) on 3 ranks: bruck, measured 1 ms at 0 bytes (vendor 3 ms)",
        "ringleader: alltoall, row counts of 48 bytes (int64) on 3 ranks: bruck, "
        "measured 1 ms at 0 bytes (vendor 3 ms)",
        "ringleader: alltoall of 12 bytes (int16, unequal blocks) on 3 ranks: vendor, "
        "measured 3 ms at 0 bytes (bruck 1 ms)",
    ]


ENVIRONMENT = """
import os
from mpi4py import MPI
mine = MPI.COMM_WORLD.rank
os.environ["RINGLEADER_TUNING"] = os.environ["TABLE"] if mine == 0 else "/is/not/looked/at"
os.environ["RINGLEADER_LOG"] = "choice" if mine == 0 else "nonsense"
import numpy as np, ringleader as rl
rl.init(timeout=30).allreduce(np.zeros(3))
"""


def test_rank_0s_environment_counts(mpi_job, tmp_path):
    table = tmp_path / "table.json"
    Table({Key("allreduce", N, False): (Range(0, Choice.of("leader", {"servers": 2})),)}).save(table)
    done = mpi_job(N, "-c", ENVIRONMENT, TABLE=str(table))
    assert done.returncode == 0, done.stdout
    line = "ringleader: allreduce of 24 bytes (float64, sum) on 3 ranks: leader(servers=2), by the table"
    assert [text for text in done.stdout.splitlines() if "ringleader" in text] == [line]


def test_an_operation_of_the_users_own_is_none_of_mpis(needs_mpi):
    """Even if it has the name of one that MPI knows."""
    from ringleader.runtime.comm import vendor

    other = Op("sum", np.subtract, commutes=False)
    assert "does not know op 'sum'" in vendor.refuses("allreduce", np.dtype(int), other, True)
