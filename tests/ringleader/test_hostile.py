"""Whatever is typed is answered by a result or by one line, in bounded time."""

import io
import json
import os
import random
import subprocess
import sys
import time
import warnings
from pathlib import Path

import networkx
import pytest

from ringleader import arguments, explore, memory
from ringleader.cli import main

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
NINES = "9" * 5000


def said(capsys, argv):
    """Exit code, standard output, standard error; warnings are failures."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            code = main(argv)
        except SystemExit as stop:
            code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def four(tmp_path, capsys):
    """A schedule for 4 ranks, as a file."""
    path = str(tmp_path / "r4.xml")
    assert said(capsys, ["export", "allreduce/ring", "-n", "4", "-o", path])[0] == 0
    return path


@pytest.mark.parametrize(
    ("argv", "remedy"),
    [
        (["cost", "allreduce/hierarchical:groups=ab"], "in Python, build('allreduce', 'hierarchical', n, groups=...)"),
        (["cost", "allreduce/hierarchical:groups=5"], "here it takes group=..., between=..."),
        (["cost", "alltoall/bruck:radix=3,radix=4"], "radix is given twice"),
        (["cost", "alltoall/bruck:radix=²"], "radix must be a whole number, got '²'"),
        (["cost", "alltoall/bruck:radix=--5"], "radix must be a whole number, got '--5'"),
        (["cost", f"alltoall/bruck:radix={NINES}"], "is too large"),
        (["cost", "allreduce/ring", "-b", "9" * 400], "at most 4194304T"),
        (["cost", "allreduce/ring", "-b", "1\u212a"], "is not a size"),  # a Kelvin sign, which lower case makes a k
        (["cost", "allreduce/ring", "-n", NINES], "at most 16,777,216 ranks"),
        (["cost", "allreduce/ring", "-n", "100000000000000"], "at most 16,777,216 ranks"),
        (["cost", "allreduce/ring", "-n", "1-60000,1-60000"], "100,000 different rank counts"),
        (["cost", "allreduce", "-n", "1-99999", "-b", "1-1T"], "runs are too many"),
        (["cost", "allreduce/ring", "--alpha", "nan"], "write it like 1us"),
        (["cost", "allreduce/ring", "--alpha=-5"], "write it like 1us"),
        (["cost", "allreduce/ring", "--beta", "inf"], "no number from 0 to 1e6"),
        (["simulate", "allreduce/ring", "-n", "2", "--placement", "9" * 26 + ",1"], "host numbers are below"),
        (["simulate", "allreduce/ring", "-n", "2", "--placement", "²,2"], "write block, cyclic"),
        (["simulate", "allreduce/ring", "--seed", "-1"], "no whole number from 0 on"),
        (["simulate", "allreduce/ring", "--jitter", "1e308"], "no number from 0 to 1e6"),
        (["simulate", "allreduce/ring", "--slow", "3=1e400"], "no number from 0 to 1e6"),
        (["simulate", "allreduce/ring", "--slow", "3=2", "--slow", "3=4"], "--slow is given twice"),
        (["simulate", "allreduce/ring", "--cut", "host 0,switch 0", "--cut", "switch 0,host 0"], "--cut is given twice"),
        (["simulate", "allreduce/ring", "--on", "switch:latency=1e308s"], "at most 1e6 s"),
        (["simulate", "allreduce/ring", "--model", "loggp", "--ports", "7"], "ports are for model rounds only"),
        (["simulate", "allreduce/ring", "--loggp", "o=1us"], "for --model loggp only"),
        (["simulate", "allreduce/ring", "--model", "loggp", "--loggp", "o=1us,o=2us"], "o is given twice"),
        (["simulate", "allreduce/ring", "--model", "loggp", "--loggp", "x=1"], "like o=1us,G=4e-11,S=64K"),
        (["simulate", "allreduce/ring", "--model", "loggp", "--overhead", "1us", "--loggp", "o=1us"], "give one"),
        (["simulate", "allreduce/ring", "-n", "20000", "--jitter", "1"], "transfers are too many"),
        (["verify", "no\nfile.xml"], r"there is no file 'no\nfile.xml'"),
        (["cost", "all\nreduce"], r"'all\nreduce' is no algorithm"),
        (["cost", "allreduce/ring", "--no\nsuch"], "unknown option"),
        (["tune", "allreduce/ring"], "tune compares all algorithms of a collective"),
        (["tune", "r4.xml"], "tune compares all algorithms of a collective"),
        (["tune", "allreduce", "--table", "t.json", "--alpha", "1us"], "--alpha is not for --table"),
        (["tune", "allreduce", "--on", "ring", "--beta", "1"], "--beta is not for --on"),
        (["tune", "allreduce", "--on", "ring", "--why", "--json"], "not for --why"),
        (["tune", "allreduce", "--on", "ring", "--seconds", "9"], "--seconds is only for measuring"),
        (["tune", "allreduce"], "give -n, one number of ranks to measure on; or what to predict by: --on"),
        (["tune", "allreduce", "-n", "2,4"], "give -n, one number of ranks to measure on"),
        (["tune", "-n", "1"], "on one rank there is nothing to choose"),
        (["tune", "-n", "2000"], "too many ranks for one machine, at most 1024"),
        (["tune", "-n", "2", "--why", "--json"], "not for --why"),
        (["tune", "-n", "2", "--seconds", "-1"], "no number from 0 to 1e6"),
        (["cost", "allreduce/ring", "--json", "--csv"], "not allowed with"),
        (["algorithms", "-n", "2-4"], "takes one rank count"),
        (["algorithms", "-b", "1,2"], "takes one size"),
        (["export", "allreduce/ring", "--root", "3", "-o", "x.xml"], "leave --root away"),
        (["draw", "allreduce/ring", "-n", "4,8", "-o", "x.svg"], "draw shows one rank count, not 2"),
        (["draw", "allreduce/ring", "--model", "loggp", "-o", "x.svg"], "--model is of no use for space-time"),
        (["draw", "allreduce/ring", "-b", "1K", "-o", "x.svg"], "--bytes is of no use for space-time"),
        (["draw", "allreduce/ring", "--what", "links", "-o", "x.html"], "a page shows everything"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_answered_by_one_line(capsys, argv, remedy):
    code, out, err = said(capsys, argv)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert remedy in err
    assert len(err) < 500


def test_a_file_has_its_own_rank_count(capsys, four):
    for command in ("verify", "cost", "simulate"):
        code, _, err = said(capsys, [command, four, "-n", "5"])
        assert (code, err.count("\n")) == (2, 1)
        assert "is for 4 ranks, not 5; leave -n away" in err
        for more in ([], ["-n", "4"]):
            code, out, _ = said(capsys, [command, four, "--json", *more])
            assert (code, [row["n"] for row in json.loads(out)]) == (0, [4])


def test_tune_takes_every_collective(capsys):
    """None stands where there is no choice in rank order, or no order."""
    code, out, err = said(capsys, ["tune", "-n", "4", "-b", "1K", "--alpha", "3us", "--json"])
    rows = {row["collective"]: row for row in json.loads(out)}
    assert (code, err) == (0, "")
    assert {name for name, row in rows.items() if row["in_rank_order"]} == {
        "allreduce", "reduce", "reduce_scatter", "scan", "exscan",
    }  # fmt: skip
    assert all(row["choice"] for row in rows.values())
    assert rows["barrier"]["choice"] in said(capsys, ["tune", "barrier", "-n", "4", "--alpha", "3us"])[1]


def test_sizes_are_exact():
    assert arguments.size("9007199254740993") == 9007199254740993
    assert arguments.size("4194304T") == 1 << 62
    with pytest.raises(ValueError, match="at most 4194304T"):
        arguments.size(str((1 << 62) + 1))


def test_a_barrier_moves_nothing(capsys):
    out = said(capsys, ["simulate", "barrier/dissemination", "-n", "8", "--json"])[1]
    (row,) = json.loads(out)
    assert (row["bytes"], row["link_bytes"]) == (0, 0)
    assert row["total_seconds"] == pytest.approx(3 * 3e-6)


def seconds(capsys, line):
    code, out, err = said(capsys, [*line.split(), "--json"])
    assert code == 0, err
    return json.loads(out)[0]["total_seconds"]


def test_parameters_of_both_models_can_be_set(capsys):
    line = "simulate allreduce/ring -n 2 -b 2M --on switch:latency=0,bandwidth=1G"
    moved = (1 << 20) / 1e9
    assert seconds(capsys, f"{line} --overhead 0 --gamma 0") == pytest.approx(2 * moved)
    assert seconds(capsys, f"{line} --overhead 1s --gamma 1e-6") == pytest.approx(2 * moved + 2 + 1.048576)
    line += " --model loggp --gamma 0"
    assert seconds(capsys, f"{line} --overhead 0") == pytest.approx(2 * moved)
    assert seconds(capsys, f"{line} --overhead 1s") == pytest.approx(2 * moved + 4)
    assert seconds(capsys, f"{line} --loggp o=1s,L=500ms,G=1e-6") == pytest.approx(2 * 1.048576 + 5)
    assert seconds(capsys, f"{line} --loggp o=1s,L=500ms,G=1e-6,S=64K") == pytest.approx(2 * 1.048576 + 7)


def test_time_is_drawn_with_the_same_parameters(capsys, tmp_path):
    path = tmp_path / "time.svg"
    line = f"draw allreduce/ring -n 2 --what time --model loggp --loggp o=10s,L=500ms -o {path}"
    assert said(capsys, line.split())[0] == 0


PIECES = {
    "targets": ["allreduce/ring", "allreduce", "barrier", "broadcast/chain:chunks=3", "alltoall/bruck:radix=2", "", "/", "a/b",
                "allreduce/", "allreduce/ring:", "allreduce/ring:=", "broadcast/chain:chunks=", "broadcast/chain:chunks=-1",
                "broadcast/chain:chunks=99999999999", "broadcast/chain:chunks=1,chunks=1", "allreduce/hierarchical:between=ü",
                "x.xml", ".xml", "é/ü:ß=²", "\n", "allreduce/ring\n", "-", "--", "٣", "broadcast/chain:root=1", "x" * 3000],
    "-n": ["1", "2", "7", "8", "2-4", "0", "-1", "", "2-", "4x2", "2-8x2", "2-8x1", "1e3", "３", "8,8", ",", "16777217", NINES],
    "-b": ["0", "1", "4K", "1.5G", "1K-4K", "", "-5", "1e9", "4Q", "K", "1-", "0-4", "9" * 300, "1.", "4 K", "½", "1,,2"],
    "--on": ["ring", "torus", "switch:8", "switch:1", "", ":", "torus:2x", "torus:x", "torus:0x9", "fat-tree:k=4", "mesh:4",
             "dragonfly", "islands:gpus=2", "islands:rails=9", "file:", "file:.", "file:\n.gml", "switch:hosts=8,hosts=8",
             "switch:latency=inf", "switch:latency=nan", "ring:bandwidth=0", "hypercube:dim=99", "star:8,latency=-1",
             "switch:8,", "ringü", "torus:" + "9x" * 99 + "9"],
    "--placement": ["block", "cyclic", "random", "random:3", "random:-1", "0,1", "1,1", "", ",", "0", "-1,0", "0.5,1",
                    "random:²"],
    "--model": ["rounds", "loggp", "", "Rounds"],
    "--overhead": ["1us", "0", "-1", "inf", "1e9", ""],
    "--gamma": ["0", "1e-10", "nan", "-1", "1e99"],
    "--loggp": ["o=1us", "S=0", "L=1us,G=0", "G=inf", "", "=", "o", "o=", "S=-1", "q=1", "o=1us,o=1us"],
    "--ports": ["1", "2", "inf", "0", "nan", "-inf", "x"],
    "--slow": ["1=2", "0=0", "99=2", "=", "1=", "²=1", "1=1e-9"],
    "--jitter": ["0", "0.5", "-1", "1e7", ""],
    "--seed": ["0", "5", "-1", "x", NINES],
    "--degrade": ["host 0,switch 0=0.5", "host 0,switch 0=0", "a,b=1", "=", "host 0=1", "host 0,host 0=1"],
    "--cut": ["host 0,switch 0", "x", ",", "host 0,host 0"],
    "--root": ["0", "1", "99", "-1", "x"],
    "--what": ["time", "links", "ownership", "curves", "none"],
    "--alpha": ["1us", "0", "nan", "-1"],
    "--beta": ["0", "1e400"],
    "--table": ["nowhere.json", "", "."],
}  # fmt: skip
COMMANDS = {
    "algorithms": ["-n", "-b"], "verify": ["-n"], "cost": ["-n", "-b", "--alpha", "--beta", "--gamma"],
    "simulate": ["-n", "-b", "--on", "--placement", "--model", "--overhead", "--gamma", "--loggp", "--ports", "--slow",
                 "--jitter", "--seed", "--degrade", "--cut"],
    "draw": ["-n", "-b", "--on", "--placement", "--model", "--loggp", "--root", "--what"],
    "export": ["-n", "--root"],
    "tune": ["-n", "-b", "--on", "--alpha", "--beta", "--gamma", "--table"],
}  # fmt: skip
FLAGS = [
    "--json",
    "--csv",
    "--rounds",
    "--why",
    "--programs",
    "--root-zero",
    "--",
    "-x",
    "--",
    "\u2028",
    "--ünknown",
]
SUFFIXES = [".svg", ".html", ".xml", ".gif", "", "/x.svg"]


def command_line(seed, folder):
    """Mostly right, with something odd in it."""
    rng = random.Random(seed)
    command = rng.choice(list(COMMANDS))
    usual = "allreduce" if command == "tune" else "allreduce/ring"
    line = [command, rng.choice(PIECES["targets"]) if rng.random() < 0.4 else usual]
    for option in rng.sample(COMMANDS[command], rng.randint(0, min(4, len(COMMANDS[command])))):
        line += [option, rng.choice(PIECES[option][: 2 if rng.random() < 0.6 else None])]
    if command == "tune" and not {"--on", "--alpha", "--beta", "--gamma", "--table"}.intersection(line):
        line += ["--on", "ring"]  # it would measure, on ranks of its own
    if command in ("draw", "export"):
        line += ["-o", f"{folder}/out{rng.choice(SUFFIXES[: 1 if rng.random() < 0.5 else None])}"]
    if rng.random() < 0.3:
        line.append(rng.choice(FLAGS))
    return line


@pytest.mark.parametrize("block", range(8))
def test_no_command_line_ends_otherwise(block, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in range(50 * block, 50 * block + 50):
        line = command_line(seed, tmp_path)
        begun = time.process_time()
        code, _, err = said(capsys, line)
        assert code in (0, 1, 2), line
        assert err.count("\n") == (code != 0), (line, err)
        assert len(err) < 4000, line
        assert time.process_time() - begun < 10, line


def run(argv, **environment):
    command = [sys.executable, "-m", "ringleader", *argv]
    return subprocess.run(
        command, env={**ENVIRONMENT, **environment}, capture_output=True, timeout=60, check=False
    )


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_every_command_prints_ascii_where_it_must(environment, tmp_path):
    graph = tmp_path / "zürich.gml"
    networkx.write_gml(networkx.cycle_graph(4), graph)
    common = ["allreduce/ring", "-n", "4"]
    for argv in (
        ["algorithms", *common], ["verify", *common], ["cost", *common], ["tune", "barrier", "-n", "4", "--on", "ring", "--why"],
        ["simulate", *common, "--on", f"file:{graph}"], ["simulate", *common, "--on", f"file:{graph}", "--csv"],
        ["draw", *common, "--what", "links", "--on", f"file:{graph}", "-o", str(tmp_path / "ü.svg")],
        ["draw", *common, "--on", f"file:{graph}", "-o", str(tmp_path / "ü.html")],
        ["export", *common, "-o", str(tmp_path / "ü.xml")],
    ):  # fmt: skip
        done = run(argv, **environment)
        assert (done.returncode, done.stderr) == (0, b""), argv
        assert done.stdout.isascii()
    wrong = run(["simulate", *common, "--on", f"file:{tmp_path}/ö.gml"], **environment)
    assert (wrong.returncode, wrong.stderr.count(b"\n")) == (2, 1)
    assert wrong.stderr.isascii()
    assert {path.name for path in tmp_path.iterdir()} == {"zürich.gml", "ü.svg", "ü.html", "ü.xml"}


@pytest.mark.parametrize(
    ("streams", "code", "lines"), [(">&-", 2, 1), ("2>&-", 0, 0), (">&- 2>&-", 2, 0), (">/dev/full", 2, 1)]
)
def test_streams_that_are_closed_or_full(streams, code, lines):
    command = f"{sys.executable} -m ringleader cost allreduce/ring {streams}"
    done = subprocess.run(
        ["bash", "-c", command], env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (code, lines)
    assert "Traceback" not in done.stderr


def test_too_little_memory_is_one_line(capsys, monkeypatch):
    """As a machine of 1 GB would answer: the proof of this ring needs 10,000 x 10,000 cells several times."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("no /proc to tell how much memory this process holds")
    held = int(statm.read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(memory, "available", lambda: held + (1 << 30))
    code, _, err = said(capsys, ["verify", "allreduce/ring", "-n", "10000"])
    assert (code, err.count("\n")) == (2, 1)
    assert "out of memory" in err


@pytest.mark.parametrize("error", [OverflowError("int too large"), RecursionError("too deep"), MemoryError()])
def test_the_last_resort(capsys, monkeypatch, error):
    def fails(options):
        raise error

    monkeypatch.setitem(explore.COMMANDS, "cost", fails)
    code, out, err = said(capsys, ["cost", "allreduce/ring"])
    assert (code, out, err.count("\n")) == (2, "", 1)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_long_work_shows_a_bar_and_short_work_none(monkeypatch):
    from ringleader import progress

    monkeypatch.setenv("TERM", "xterm")
    for patience, shown in ((0.0, True), (60.0, False)):
        monkeypatch.setattr(progress, "PATIENCE", patience)
        monkeypatch.setattr(sys, "stderr", terminal := Terminal())
        for _ in progress.steps(range(3)):
            time.sleep(0.2)
        assert bool(terminal.getvalue()) == shown
        if shown:
            assert terminal.getvalue().endswith(
                ("\x1b[?25h", "\x1b[2K")
            )  # the cursor is back, the line is gone
