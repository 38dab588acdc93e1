"""``ringleader tune -n N`` measures, keeps what it found, and "auto" finds it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ringleader.collectives.tuning import Table

from ringleader.launch import mpirun_command

pytestmark = pytest.mark.usefixtures("needs_mpi")
ROOT = Path(__file__).parents[2]
HIDDEN = ("OMPI_", "PMI", "PRTE_", "SLURM_", "RINGLEADER_")
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith(HIDDEN)}
CLEAN["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
SMALL = ["tune", "allreduce", "barrier", "-n", "2", "-b", "64,4K", "--seconds", "0.2"]


def run(command, home, **environment):
    return subprocess.run(
        command, env={**CLEAN, "XDG_CACHE_HOME": str(home), **environment}, text=True, capture_output=True, check=False,
        timeout=100, stdin=subprocess.DEVNULL, cwd=home,
    )  # fmt: skip


def ringleader(*arguments, home, **environment):
    return run([sys.executable, "-m", "ringleader", *arguments], home, **environment)


CALL = """
import numpy as np, ringleader as rl
world = rl.init(timeout=30)
x = world.allreduce(np.ones(16, np.float32))
assert (x == world.size).all()
"""


@pytest.mark.parametrize("transport", ["shm", "mpi"])
def test_what_tune_measured_is_what_auto_takes(tmp_path, transport):
    done = ringleader(*SMALL, "--json", home=tmp_path, RINGLEADER_TRANSPORT=transport)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(row["collective"], row["from_bytes"]) for row in rows] == [
        ("allreduce", 64), ("allreduce", 4096), ("barrier", 0),
    ]  # fmt: skip
    assert all(0 < row["seconds"] < 60 and 0 < row["vendor_seconds"] < 60 for row in rows)
    (file,) = (tmp_path / "ringleader" / "tuning").iterdir()
    assert f'saved as {file}, where algorithm="auto" finds it' in done.stderr
    table = Table.load(file)
    assert [str(table.choose(row["collective"], 2, row["from_bytes"])) for row in rows] == [
        row["choice"] for row in rows
    ]
    call = mpirun_command(2, [sys.executable, "-c", CALL])
    told = run(call, tmp_path, RINGLEADER_TRANSPORT=transport, RINGLEADER_LOG="choice")
    assert told.returncode == 0, told.stderr
    line = re.escape(
        f"ringleader: allreduce of 64 bytes (float32, sum) on 2 ranks: {rows[0]['choice']}, measured "
    )
    assert re.search(line + r"[0-9.]+ [mun]?s \(", told.stderr), told.stderr
    alone = run(
        call, tmp_path, RINGLEADER_TRANSPORT=transport, RINGLEADER_LOG="choice", RINGLEADER_TUNING="off"
    )
    assert "by model" in alone.stderr


def test_a_table_for_people_and_a_file_of_ones_own(tmp_path):
    mine = tmp_path / "mine.json"
    done = ringleader(*SMALL, "-o", str(mine), home=tmp_path)
    assert done.returncode == 0, done.stderr
    head, *lines = done.stdout.splitlines()
    assert head.split() == [
        *["collective", "n", "from", "bytes", "choice", "seconds", "vendor", "seconds", "vendor", "factor"]
    ]
    assert lines[0].split()[:3] == ["allreduce", "2", "64"]
    assert lines[-1].split()[:3] == ["barrier", "2", "0"]
    assert not (tmp_path / "ringleader").exists()
    assert Table.load(mine).machine["layout"] == "2@0"


def test_why_shows_every_candidate(tmp_path):
    done = ringleader(*SMALL, "--why", home=tmp_path)
    assert done.returncode == 0, done.stderr
    first, *_ = done.stdout.split("\n\n")
    head, *lines = first.splitlines()
    assert head == "allreduce of 64 bytes on 2 ranks, measured"
    assert sum(line.startswith("> ") for line in lines) == 1
    assert any(line.split()[0] == "vendor" or line.startswith("> vendor") for line in lines)


def test_under_a_launcher_its_ranks_measure(tmp_path):
    tune = [part for part in SMALL if part not in ("-n", "2")]
    done = run(mpirun_command(2, [sys.executable, "-m", "ringleader", *tune]), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "measuring on 2 ranks" in done.stderr
    wrong = run(mpirun_command(2, [sys.executable, "-m", "ringleader", *tune, "-n", "3"]), tmp_path)
    assert wrong.returncode == 2
    assert "-n 3, but the launcher started 2 ranks; leave -n away" in wrong.stderr


def test_a_cache_that_cannot_be_written_is_said_in_one_line(tmp_path):
    (tmp_path / "ringleader").write_text("in the way")
    done = ringleader(*SMALL, home=tmp_path)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("ringleader: ")]
    assert done.stdout  # what was measured is not lost
