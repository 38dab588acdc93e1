"""Starting and ending the ranks: which mpirun needs what, and that nobody is left behind."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ringleader import launch
from ringleader.launch import Launched, LaunchError, kill_tree, launched, mpirun_options, run_job

ROOT = Path(__file__).parents[2]
CROWDED = ["--map-by", ":OVERSUBSCRIBE", "--bind-to", "none"]
AS_ROOT, RAW = ["--allow-run-as-root"], ["--output", ":raw"]
STUBBORN = """
import os, signal, subprocess, sys, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
if sys.argv[1] == "parent":
    subprocess.Popen([sys.executable, sys.argv[0], "child"], start_new_session=True)
open(f"{os.environ['PIDS']}/{os.getpid()}", "w").close()
time.sleep(40)
"""


@pytest.mark.parametrize(
    ("version", "root", "terminal", "options"),
    [
        ("mpirun (Open MPI) 5.0.11\n\nReport bugs to ...", True, True, CROWDED + AS_ROOT + RAW),
        ("mpirun (Open MPI) 5.0.11\n\nReport bugs to ...", False, False, CROWDED),
        ("mpirun (Open MPI) 4.1.8\n\nReport bugs to ...", True, True, CROWDED + AS_ROOT),
        ("mpirun (OpenRTE) 2.1.1", False, True, CROWDED),
        ("HYDRA build details:\n    Version:  5.0.2", True, True, []),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.13", True, True, []),
    ],
)
def test_each_mpirun_gets_what_it_needs(version, root, terminal, options):
    assert mpirun_options(version, root, terminal) == options


@pytest.mark.parametrize(
    ("version", "options"),
    [
        ("mpirun (Open MPI) 5.0.11\n\nReport bugs to ...", [*CROWDED, "--with-ft", "ulfm"]),
        ("mpirun (Open MPI) 6.1.0rc2", [*CROWDED, "--with-ft", "ulfm"]),
    ],
)
def test_each_mpirun_that_can_is_told_to_go_on_after_a_death(version, options):
    assert mpirun_options(version, False, False, survive=True) == options


@pytest.mark.parametrize(
    ("version", "named"),
    [
        (
            "mpirun (Open MPI) 4.1.8\n\nReport bugs to ...",
            "this mpirun (mpirun (Open MPI) 4.1.8) ends the whole",
        ),
        ("mpirun (OpenRTE) 2.1.1", "OpenRTE"),
        ("HYDRA build details:\n    Version:  5.0.2", "HYDRA"),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.13", "Intel"),
        ("", "of no known kind"),
    ],
)
def test_an_mpirun_that_cannot_go_on_after_a_death_is_named(version, named):
    with pytest.raises(LaunchError, match="Open MPI 5 or later") as error:
        mpirun_options(version, False, False, survive=True)
    assert named in str(error.value)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, None),
        ({"OMPI_COMM_WORLD_SIZE": "6", "OMPI_COMM_WORLD_RANK": "4", "OMPI_COMM_WORLD_LOCAL_SIZE": "3"}, (6, 4, 3)),
        ({"PMI_SIZE": "6", "PMI_RANK": "5", "MPI_LOCALNRANKS": "2"}, (6, 5, 2)),
        ({"SLURM_STEP_NUM_TASKS": "7", "SLURM_PROCID": "6", "SLURM_STEP_NUM_NODES": "2"}, (7, 6, 4)),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, None),  # salloc's shell
        ({"OMPI_MCA_btl": "self"}, None),
    ],
)  # fmt: skip
def test_what_the_launcher_says(variables, says):
    assert launched(variables) == (None if says is None else Launched(*says))


def test_the_cores_are_shared_out_unless_the_user_has_done_so(monkeypatch):
    monkeypatch.setattr(launch.os, "sched_getaffinity", lambda pid: range(8), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert launch.rank_environment(3)["OPENBLAS_NUM_THREADS"] == "2"
    assert launch.rank_environment(99)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    environment = launch.rank_environment(3)
    assert environment["OMP_NUM_THREADS"] == "5"
    assert "MKL_NUM_THREADS" not in environment


@pytest.mark.parametrize(("ending", "code"), [("sys.exit(7)", 7), ("os.kill(os.getpid(), 9)", 137), ("", 0)])
def test_the_exit_code_of_the_job_is_passed_on(ending, code):
    assert run_job([sys.executable, "-c", f"import os, sys; {ending}"], os.environ) == code


@pytest.mark.parametrize("late", [False, True])
def test_a_signal_while_the_job_is_being_started(late, monkeypatch):
    """Before or after the process exists, but before run_job knows of it."""

    class Interrupted(subprocess.Popen):
        def __init__(self, *arguments, **options):
            if not late:
                signal.raise_signal(signal.SIGTERM)
            super().__init__(*arguments, **options)
            if late:
                signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(launch.subprocess, "Popen", Interrupted)
    began = time.monotonic()
    assert run_job([sys.executable, "-c", "import time; time.sleep(30)"], os.environ) == 143
    assert time.monotonic() - began < 10


def alive(pid):
    """A zombie that nobody has collected yet is dead."""
    listing = Path(f"/proc/{pid}/stat")
    try:
        return listing.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def stubborn(folder):
    """A script that ignores signals, and starts a second one in a session of its own, as Hydra does."""
    script = folder / "stubborn.py"
    script.write_text(STUBBORN)
    (folder / "pids").mkdir()
    return [sys.executable, str(script), "parent"], {**os.environ, "PIDS": str(folder / "pids")}


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")


@needs_proc
def test_kill_tree_reaches_other_sessions(tmp_path):
    command, environment = stubborn(tmp_path)
    job = subprocess.Popen(command, env=environment)
    pids = tmp_path / "pids"
    wait_for(lambda: len(list(pids.iterdir())) == 2)
    kill_tree(job.pid)
    assert job.wait(timeout=10) == -signal.SIGKILL
    wait_for(lambda: not any(alive(path.name) for path in pids.iterdir()))


@needs_proc
@pytest.mark.parametrize("signals", [1, 2], ids=["patience", "second signal"])
def test_ranks_that_ignore_signals_are_killed(signals, tmp_path):
    command, environment = stubborn(tmp_path)
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    program = f"""
import os, sys
from ringleader import launch
launch.GRACE = {2.0 if signals == 1 else 60.0}
sys.exit(launch.run_job({command!r}, os.environ))
"""
    launcher = subprocess.Popen([sys.executable, "-c", program], env=environment)
    pids = tmp_path / "pids"
    wait_for(lambda: len(list(pids.iterdir())) == 2)
    for _ in range(signals):
        launcher.send_signal(signal.SIGINT)
        time.sleep(0.5)
    assert launcher.wait(timeout=20) == 130
    wait_for(lambda: not any(alive(path.name) for path in pids.iterdir()))


def test_in_a_terminal_the_bar_moves_and_ctrl_c_brings_the_cursor_back(needs_mpi):
    """A bar ends its line only when it is complete, and some mpiruns hold unfinished lines back."""
    terminal, inside = pty.openpty()
    hidden = ("OMPI_", "PMI", "PRTE_", "SLURM_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    environment |= {
        "TERM": "xterm",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-m", "ringleader", "train", "lenet5", "-n", "2", "--epochs", "9999"]
    job = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=inside,
        stderr=inside,
        env=environment,
        start_new_session=True,
    )
    os.close(inside)
    try:
        shown = b""
        while shown.count(b"samples/s") < 3:  # the bar was drawn, and drawn again
            shown += os.read(terminal, 65536)
        job.send_signal(signal.SIGINT)
        for _ in range(1000):
            try:
                shown += os.read(terminal, 65536)
            except OSError:  # all who could write have ended
                break
        assert job.wait(timeout=20) == 130
        assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l") > 0
    finally:
        kill_tree(job.pid)
        os.close(terminal)
