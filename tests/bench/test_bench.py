"""``ringleader bench`` as a person types it: jobs of all contestants, and what becomes of those that fail."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
from ringleader.bench.contestants import Contestant

from ringleader.cli import main

ROOT = Path(__file__).parents[2]
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PMI", "PRTE_", "SLURM_"))}
CLEAN["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
SMALL = ["-n", "2", "-b", "4", "-e", "4K", "-f", "1024", "--repeats", "2"]
OURS = ("ringleader", "ringleader empty")  # on numpy's arrays, and on those from world.empty
ENTRIES = (*OURS, "mpi")
SABOTAGE = """
import os, time
from ringleader.runtime.comm.communicator import Communicator

right = Communicator.allreduce
def wrong(self, x, *rest, out=None, **options):
    got = right(self, x, *rest, out=out, **options)
    if self.rank == 1 and self.size > 1 and x.nbytes > 1000:
        {what}
    return got
Communicator.allreduce = wrong
"""


def bench(*arguments, seconds=100, **environment):
    return subprocess.run(
        [sys.executable, "-m", "ringleader", "bench", *map(str, arguments)], env={**CLEAN, **environment},
        text=True, capture_output=True, check=False, timeout=seconds, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture
def sabotaged(tmp_path):
    """A PYTHONPATH under which rank 1 does ``what`` after every larger allreduce of ours."""

    def path(what):
        (tmp_path / "sitecustomize.py").write_text(SABOTAGE.format(what=what))
        return os.pathsep.join([str(tmp_path), CLEAN["PYTHONPATH"]])

    return path


def test_side_by_side_with_mpi(needs_mpi, tmp_path):
    files = {ending: tmp_path / f"run.{ending}" for ending in ("json", "csv", "md", "png")}
    done = bench(*SMALL, "--repeats", 5, *(word for file in files.values() for word in ("-o", file)))
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line and line[0] != "#"]
    # the only name with blanks is in the fifth column; ten are behind it
    assert [(words[0], " ".join(words[4:-10]), words[-10], words[-3]) for words in lines] == [
        (size, who, place, "0") for size in ("4", "4096") for who in ENTRIES for place in ("out", "in")
    ]  # fmt: skip
    assert "# allreduce on 2 ranks, 5 interleaved repeats" in done.stdout
    assert "least ratio to the fastest of mpi" in done.stdout
    whole = json.loads(files["json"].read_text())
    assert whole["lost"] == {}
    assert set(whole["versions"]) == {"ringleader", "mpi"}
    assert whole["alone_seconds"]["2"] > 0
    assert whole["handed_rates"]["2"] > 1e6
    for row in whole["rows"]:
        assert row["min_seconds"] <= row["p50_seconds"] <= row["p95_seconds"]
        assert len(row["p50s_seconds"]) == row["repeats"] == 5
        assert (row["ratio"] is None) == (row["entry"] == "mpi")
    assert len(whole["verdicts"]) == 9, (
        "two on the ratios of both entries in both places, and our Python share"
    )
    assert all(verdict["met"] in (True, False) for verdict in whole["verdicts"])
    with open(files["csv"]) as file:
        assert [float(r["p50_seconds"]) for r in csv.DictReader(file)] == [
            r["p50_seconds"] for r in whole["rows"]
        ]
    assert "![bus bandwidth and ratios over size](run.png)" in files["md"].read_text()
    assert files["png"].read_bytes().startswith(b"\x89PNG")


def test_every_collective_is_right_and_the_copy_rate_is_measured(needs_mpi):
    from ringleader.bench.patterns import PATTERNS

    names = ",".join(PATTERNS)
    done = bench("-n", "3", "-b", "96K", "-e", "96K", "--repeats", 1, "--collective", names, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [(r["collective"], r["place"], r["entry"]) for r in rows] == [
        (name, place, who) for name in PATTERNS for who in ENTRIES for place in PATTERNS[name].places
    ]  # fmt: skip
    assert all(r["wrong"] == (None if r["collective"] == "barrier" else 0) for r in rows)
    assert all((r["copy_rate"] is not None and r["limit_share"] > 0) == (r["bytes"] > 0) for r in rows)


def test_a_plot_of_nothing(needs_mpi, tmp_path):
    done = bench(
        "-n", "2", "--repeats", 1, "--collective", "barrier", "--vs", "none", "-o", tmp_path / "run.png"
    )
    assert done.returncode == 1
    assert (
        done.stderr
        == f"ringleader: {tmp_path / 'run.png'}: there is no bandwidth to be drawn; give a collective that moves data\n"
    )
    assert " mpi " not in done.stdout


def test_algorithms_are_entries_of_their_own(needs_mpi):
    done = bench("-n", "2", "-e", "4", "--repeats", 1, "--algorithm", "auto,ring,vendor", "--csv")
    assert done.returncode == 0, done.stderr
    entries = [row["entry"] for row in csv.DictReader(done.stdout.splitlines()) if row["place"] == "in"]
    assert entries == [
        "ringleader", "ringleader empty", "ringleader/ring", "ringleader/ring empty", "ringleader/vendor",
        "ringleader/vendor empty", "mpi",
    ]  # fmt: skip


def test_wrong_results_are_seen(needs_mpi, sabotaged):
    path = sabotaged("(x if out is None else out)[-3:] += 1")
    done = bench(*SMALL, "--json", PYTHONPATH=path)
    assert done.returncode == 1
    wrong = {(r["bytes"], r["entry"], r["place"]): r["wrong"] for r in json.loads(done.stdout)["rows"]}
    assert {key: count for key, count in wrong.items() if count} == {
        (4096, who, place): 6 for who in OURS for place in ("in", "out")
    }, "three elements in each of two repeats"  # fmt: skip


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("os._exit(9)", r"a rank has gone"),
        ("raise ZeroDivisionError('planted')", r"rank 1: ZeroDivisionError: planted"),
        ("time.sleep(1000)", r"no answer within 8 s"),
    ],
    ids=["dies", "raises", "hangs"],
)
def test_a_contestant_that_fails_in_the_middle(needs_mpi, sabotaged, what, why):
    """It is reported, the others are measured to the end, and nothing is left behind."""
    done = bench(*SMALL, "--json", "--timeout", 8, PYTHONPATH=sabotaged(what), RL_TEST=f"marker{os.getpid()}")
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert re.fullmatch(rf"ringleader: ringleader on 2 ranks: {why}.* \(at allreduce, 4,096 bytes\)", said), (
        said
    )
    measured = [(r["bytes"], r["entry"]) for r in json.loads(done.stdout)["rows"] if r["place"] == "in"]
    assert measured == [(4, "ringleader"), (4, "ringleader empty"), (4, "mpi"), (4096, "mpi")]
    assert living(f"RL_TEST=marker{os.getpid()}", "environ") == []


def test_a_contestant_that_is_not_installed(needs_mpi, tmp_path):
    done = bench(*SMALL, "--vs", "mpich,mpi", "--peers", tmp_path / "peers", "--json")
    assert done.returncode == 1
    assert done.stderr == (
        f"ringleader: mpich on 2 ranks: not installed in {tmp_path / 'peers' / 'mpich'}; "
        "add --setup, which does it by pip\n"
    )
    assert {r["entry"] for r in json.loads(done.stdout)["rows"]} == set(ENTRIES)


def test_setting_up_an_environment(tmp_path):
    """pip, which is there already, needs no network."""
    there = Contestant("there", "mpi", ("pip",))
    assert "not installed" in (there.missing(tmp_path) or "")
    there.set_up(tmp_path)
    assert there.missing(tmp_path) is None
    assert there.python(tmp_path).is_file()
    stamp = (tmp_path / "there" / "pyvenv.cfg").stat().st_mtime_ns
    there.set_up(tmp_path)
    assert (tmp_path / "there" / "pyvenv.cfg").stat().st_mtime_ns == stamp, "only once"
    broken = Contestant("broken", "mpi", (str(tmp_path / "nothing"),))
    with pytest.raises(subprocess.CalledProcessError):
        broken.set_up(tmp_path)
    assert "not installed" in (broken.missing(tmp_path) or "")


def living(marker, file):
    """Processes with ``marker`` in that file of theirs in /proc. A dead process has an empty one."""
    found = []
    for path in Path("/proc").glob(f"[0-9]*/{file}"):
        with suppress(OSError):  # gone meanwhile, or not ours
            if marker.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_all_ranks_end_with_the_orchestrator(needs_mpi, number):
    """Even if it cannot say goodbye."""
    folder = tempfile.mkdtemp(prefix="rl-")  # short: the sockets lie in it
    command = [sys.executable, "-m", "ringleader", "bench", "-n", "2", "-e", "64M", "--repeats", "5"]
    job = subprocess.Popen(
        command, env={**CLEAN, "TMPDIR": folder}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        assert job.stdout is not None
        while b"ringleader " not in job.stdout.readline():
            assert job.poll() is None
        assert len(living(folder, "cmdline")) >= 4, "two jobs of two ranks"
        job.send_signal(number)
        job.stdout.close()
        assert job.wait(timeout=30) == {signal.SIGINT: 130, signal.SIGKILL: -signal.SIGKILL}[number]
        deadline = time.monotonic() + 20
        while living(folder, "cmdline"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        job.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--collective", "allredcue"], ["'allredcue' is no collective", "allreduce, broadcast, "]),
        (["-n", "0"], ["'0' is not a rank count"]),
        (["-n", "2,2000"], ["2000 are too many ranks for one machine, at most 1024"]),
        (["--vs", "mpi,openmp"], ["'openmp' is no peer", "mpi, mpich, openmpi, gloo"]),
        (["-b", "64K", "-e", "4K"], ["sizes go from -b to -e", "from 64K to 4K"]),
        (["-b", "0"], ["from 4 bytes on", "not from 0"]),
        (["-f", "1"], ["1 is too small, at least 2"]),
        (["--repeats", "0"], ["0 is too few"]),
        (["--timeout", "0"], ["0 is too few"]),
        (
            ["--algorithm", "auto,rign"],
            ["unknown algorithm 'rign' of allreduce", "auto, vendor, bidirectional-ring"],
        ),
        (["--algorithm", "swing", "--collective", "allreduce,broadcast"], ["'swing' of broadcast"]),
        (["-o", "run.xlsx"], ["files to write end in .json, .csv, .md, .png"]),
        (["-o", "nowhere/run.csv"], ["no such folder"]),
        (["--dtype", "float16"], ["float16", "float32"]),
        (["--json", "--csv"], ["not allowed with"]),
    ],
)
def test_what_cannot_be_is_answered_by_one_line(capsys, arguments, parts):
    with pytest.raises(SystemExit) as stop:
        main(["bench", *arguments])
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
    assert all(part in err for part in parts), err


def test_it_is_not_for_ranks(capsys, monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setenv("PMI_RANK", "0")
    with pytest.raises(SystemExit) as stop:
        main(["bench"])
    assert stop.value.code == 2
    assert "run it without mpirun" in capsys.readouterr().err
