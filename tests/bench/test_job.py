"""A job of one rank, without MPI: how it starts, answers and ends."""

import os
import sys
import time
from pathlib import Path

import pytest
from ringleader.bench.contestants import Contestant
from ringleader.bench.job import Job, JobLostError

import ringleader

ALONE = Contestant("alone", "ringleader")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("RINGLEADER_SINGLE", "1")


def test_each_finds_its_own_modules(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    home = str(Path(ringleader.__file__).parents[1])
    assert ALONE.environment()["PYTHONPATH"].split(os.pathsep) == [home, "elsewhere"]
    assert "PYTHONPATH" not in Contestant("peer", "mpi", ("numpy",)).environment()


def started(contestant=ALONE, patience=60.0, launcher=lambda n, program: program):
    return Job(contestant, 1, Path("nowhere"), launcher, patience)


def is_gone(pid):
    """An orphan may stay as a zombie, which has no command line."""
    path = Path(f"/proc/{pid}/cmdline")
    return not path.exists() or path.read_bytes() == b""


def test_it_answers_and_ends_in_order():
    with started() as job:
        (hello,) = job.hello
        assert hello["buffers"] == ["", "empty"]
        assert hello["version"].startswith("Ringleader ")
        assert job.ask(do="point", collective="allreduce", count=3, dtype="int64") == [{"rank": 0}]
        (answer,) = job.ask(do="measure", place="out", buffers="", algorithm="auto", samples=2, batch=3)
        assert len(answer["times"]) == 2
        assert job.ask(do="check", place="out", buffers="", algorithm="auto") == [{"rank": 0, "wrong": 0}]
    assert job.processes[0].returncode == 0
    assert is_gone(job.pids[0])
    assert not Path(job.folder.name).exists()


def test_an_answer_larger_than_one_read():
    with started() as job:
        job.ask(do="point", collective="allreduce", count=1, dtype="float32")
        (answer,) = job.ask(do="measure", place="in", buffers="", algorithm="auto", samples=20_000, batch=1)
        assert len(answer["times"]) == 20_000


def test_a_library_that_cannot_be_used_says_so_at_once():
    """Its error may come together with its greeting."""
    start = time.monotonic()
    with pytest.raises(JobLostError, match=r"^KeyError: 'nothing'$"):
        started(Contestant("broken", "nothing"))
    assert time.monotonic() - start < 50, "long before patience is over"


def test_a_program_that_ends_without_a_word():
    with pytest.raises(
        JobLostError, match=r"^ended before all ranks had started, exit code 3: ... last words$"
    ):
        started(
            launcher=lambda n, program: [sys.executable, "-c", "print('last words'); raise SystemExit(3)"]
        )


def test_a_program_that_never_connects():
    with pytest.raises(JobLostError, match=r"^has not started within 1 s$"):
        started(
            launcher=lambda n, program: [sys.executable, "-c", "import time; time.sleep(99)"], patience=1.0
        )


def test_an_error_in_the_middle():
    with started() as job:
        job.ask(do="point", collective="allreduce", count=1, dtype="float32")
        with pytest.raises(JobLostError, match=r"^rank 0: .*'rign'"):
            job.ask(do="measure", place="in", buffers="", algorithm="rign", samples=1, batch=1)
        pid = job.pids[0]
    assert is_gone(pid)


def test_a_long_temporary_folder(monkeypatch, tmp_path):
    """Sockets have short paths only."""
    long = tmp_path / ("long" * 30)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with started() as job:
        assert job.hello
