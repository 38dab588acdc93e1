"""``python -m ringleader.bench.leader --quick``: each thing is measured, and its section written."""

import re

import pytest
from ringleader.bench.job import JobLostError
from ringleader.bench.leader import __main__ as command
from ringleader.bench.leader.throughput import Roles
from ringleader.runtime.comm.mpirun import LaunchError

PNG = b"\x89PNG"


@pytest.mark.usefixtures("needs_mpi")  # skips where there is no MPI
@pytest.mark.parametrize(("what", "heading", "line"), [
    ("throughput", "push and pull", r"\| 2 \| 1 colocated \| [\d.]+ GB/s \(\d+%, \d+%\) \| [\d.]+ GB/s \(\d+%, \d+%\) \|"),
    ("stragglers", "a slow worker", r"\| SSP, s = 3 \| [1-9]\d* \| [\d.]+x \|"),
    ("crossover", "ring", r"\| 3 \| parameter server \| 2 \| [\w. ]+ \| [\w. ]+ \| [012] of 2 \|"),
])  # fmt: skip
def test_it_measures(what, heading, line, tmp_path, capfd):
    path, picture = tmp_path / "page.md", tmp_path / "pictures" / "made.png"
    picture.parent.mkdir()
    path.write_text("mine\n")
    drawn = [] if what == "throughput" else ["--picture", str(picture)]
    assert command.main([what, "--quick", *drawn, "-o", str(path)]) == 0, capfd.readouterr().err
    text = path.read_text()
    assert text.startswith(f"mine\n\n<!-- leader {what} -->\n\n## Parameter server")
    assert heading in text.split("\n")[4] and re.search(line, text)
    assert text.split("-->\n\n")[1].split("\n\n<!--")[0] in capfd.readouterr().out
    if drawn:
        assert picture.read_bytes().startswith(PNG) and "](pictures/made.png)" in text
    else:
        assert "Wrong elements in all of these measurements: 0." in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["throughput", "--repeats", "0"],
        ["throughput", "--picture", "x.png"],
        ["throughput", "--servers", "0"],
        ["crossover", "--workers", "1,2"],
        ["stragglers", "--workers", "2"],
    ],
)
def test_what_makes_no_sense(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    assert "error: " in capsys.readouterr().err


def test_which_layouts_are_measured():
    def asked(*arguments):
        return command._counts(command._options(["throughput", *arguments]), command.WORKERS, (2,), (1,))

    assert asked() == (command.WORKERS, command.SERVERS)
    assert asked("--quick") == ((2,), (1,))
    assert asked("--quick", "--workers", "4,8") == ([4, 8], (1,))
    assert asked("--servers", "2") == (command.WORKERS, [2])


@pytest.mark.parametrize("what", ["throughput", "crossover"])
def test_what_is_asked_for_is_measured(what, monkeypatch):
    def run(first, *others):
        asked.append((first, *others))
        raise JobLostError("enough")

    asked = []
    monkeypatch.setattr(getattr(command, what), "run", run)
    assert command.main([what, "--quick", "--workers", "2,5", "--servers", "2"]) == 1
    roles = [Roles(n, 2, colocated) for colocated in (False, True) for n in (2, 5)]
    assert asked[0][: 2 if what == "crossover" else 1] == (([2, 5], [2]) if what == "crossover" else (roles,))


@pytest.mark.parametrize("error", [JobLostError("a rank has gone"), LaunchError("no mpirun was found")])
def test_lost_ranks_are_no_traceback(error, monkeypatch, capsys, tmp_path):
    def lost(options, about):
        raise error

    monkeypatch.setitem(command.COMMANDS, "crossover", lost)
    page = tmp_path / "page.md"
    assert command.main(["crossover", "-o", str(page)]) == 1
    assert capsys.readouterr().err == f"bench.leader: {error}\n" and not page.exists()
