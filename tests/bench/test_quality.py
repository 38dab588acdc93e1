"""The benchmark of how well models train: its table, and a whole run of tiny cases."""

import math
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from helpers.mnist import write_mnist
from ringleader.bench import quality
from ringleader.bench.quality import CASES, FOLDER, Case, main, memoryless
from ringleader.runtime.autograd import Tensor
from ringleader.runtime.training.data import Adding, Copy

from ringleader import cli

TINY = {
    "adding, T 5": Case(
        "gru", {"data": "adding:5", "steps": 2, "width": 4, "batch_size": 8}, "loss", 100.0, "1/6", 2
    ),
    "digits": Case("logistic", {"data": "digits", "steps": 2}, "accuracy", 1.0, "nothing", 1),
    "MNIST": Case("logistic", {"data": f"mnist:{FOLDER}", "steps": 2, "shift": 1}, "accuracy", 0.0, "-", 1),
    "text": Case("bigram", {"data": f"text:{FOLDER}/tinyshakespeare.txt", "steps": 2}, "loss", None, "-", 1),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """--data for the tiny cases, which stand in for the real ones."""
    monkeypatch.setattr(quality, "CASES", TINY)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_mnist(tmp_path)
    (tmp_path / "tinyshakespeare.txt").write_text("To be, or not to be, that is the question.\n" * 40)
    return tmp_path


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("name", CASES)
def test_a_cases_command_line_means_its_configuration(name, monkeypatch):
    case, meant = CASES[name], []
    monkeypatch.setattr("ringleader.train.train_here", lambda config, _: meant.append(config) or 0)
    assert cli.main(shlex.split(case.command([7]))[1:]) == 0
    assert meant == [case.configuration(7, FOLDER)]
    assert case.command([1, 2]).endswith("--seed SEED --data-seed SEED")


def test_the_goals():
    goals = {name: (case.model, case.score, case.goal, case.settings["data"]) for name, case in CASES.items()}
    assert ("lenet5", "accuracy", 0.99, "mnist:FOLDER") in goals.values()
    assert ("logistic", "accuracy", 0.92, "mnist:FOLDER") in goals.values()
    for kind in ("lstm", "gru"):
        assert (kind, "loss", 0.01, "adding:200") in goals.values()
        copies = [goal for model, _, goal, data in goals.values() if (model, data[:4]) == (kind, "copy")]
        assert copies == [memoryless(quality.DELAY)]
    sizes = {"context": 64, "batch_size": 12, "layers": 4, "heads": 4, "width": 128, "steps": 2000}
    (text, *_) = (case for case in CASES.values() if case.model == "transformer")
    assert sizes.items() <= text.settings.items()
    assert text.configuration(1, FOLDER).sizes["dropout"] == 0


def test_the_memoryless_baseline_is_what_its_author_scores():
    """Blanks for sure while ten symbols are held, then each of the eight alike."""
    data = Copy(7)
    (x,), y = data.take_test(data.test_items)
    logits = np.full((*x.shape, 10), -np.inf)
    logits[:, :-10, 0] = 0
    logits[:, -10:, 1:9] = 0
    scores = data.task.scores(data.task.tally(Tensor(logits), y))
    assert scores["loss"] == pytest.approx(memoryless(7), rel=1e-12)


def test_who_always_says_1_scores_a_sixth():
    data = Adding(50, np.float64)
    _, y = data.take_test(data.test_items)
    scores = data.task.scores(data.task.tally(Tensor(np.ones_like(y)), y))
    assert scores["loss"] == pytest.approx(1 / 6, abs=0.02)


@pytest.mark.parametrize(("score", "goal", "scores", "verdict"), [
    ("accuracy", 0.99, [0.99, 0.995], "met"),
    ("accuracy", 0.99, [0.9899, 0.995], "NOT MET"),
    ("accuracy", 0.99, [math.nan], "NOT MET"),
    ("loss", 0.01, [0.0099, 0.001], "met"),
    ("loss", 0.01, [0.01, 0.001], "NOT MET"),
    ("loss", 0.01, [0.001, math.nan], "NOT MET"),
    ("loss", None, [5.0], "-"),
])  # fmt: skip
def test_every_seed_must_reach_the_goal(score, goal, scores, verdict):
    assert Case("lstm", {}, score, goal, "", 1).verdict(scores) == verdict


def test_a_run_prints_a_row_a_case_and_writes_its_section(folder, capsys):
    page = folder / "page.md"
    page.write_text("# Results\n\nmine\n")
    assert main(["--data", str(folder), "-o", str(page)]) == 1  # the digits' goal is out of reach
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert cells(head) == list(quality.HEAD)
    table = {row[0]: row[1:] for row in map(cells, rows)}
    assert list(table) == list(TINY)
    assert table["adding, T 5"][:3] == ["2 steps, 0.0016 epochs", "1, 2", "loss"]
    assert re.fullmatch(r"\d\.\d{4} \(\d\.\d{4} \.\.\. \d\.\d{4}\)", table["adding, T 5"][3])
    assert table["adding, T 5"][4:7] == ["below 100.0000", "met", "1/6"]
    assert table["digits"][4:6] == ["at least 100.00 %", "NOT MET"]
    assert table["MNIST"][4:6] == ["at least 0.00 %", "met"]
    assert table["text"][4:6] == ["reported", "-"]

    written = page.read_text()
    assert written.startswith("# Results\n\nmine\n\n<!-- quality -->\n\n## Quality\n")
    assert all(row in written for row in rows)
    assert "1 thread a rank" in written
    assert "--data FOLDER -o" in written
    assert str(folder) not in written.replace(f"-o {page}", "")  # it lies elsewhere on other machines
    for case in TINY.values():
        assert f"\nringleader train {case.model} --data {case.settings['data']} " in written


def test_the_command_line_gives_the_same_score(folder, capsys):
    main(["--data", str(folder), "--only", "mnist", "--seeds", "3"])
    score = cells(capsys.readouterr().out.splitlines()[-1])[4]
    command = TINY["MNIST"].command([3]).replace(FOLDER, str(folder))
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command)], capture_output=True, text=True, check=True, timeout=100
    )  # fmt: skip
    assert f"test accuracy {score}" in done.stdout


def test_some_cases_and_seeds(folder, capsys):
    assert main(["--data", str(folder), "--only", "ADDING", "--seeds", "5,6,7"]) == 0
    (row,) = capsys.readouterr().out.splitlines()[2:]
    assert cells(row)[0] == "adding, T 5"
    assert cells(row)[2] == "5, 6, 7"


def test_cases_that_read_nothing_need_no_folder(folder):
    assert main(["--data", str(folder / "nowhere"), "--only", "adding"]) == 0


@pytest.mark.parametrize(("arguments", "message"), [
    (["--only", "ResNet"], "--only 'ResNet': no such case; known: adding, T 5; digits; MNIST; text"),
    (["--data", "nowhere"], "--data nowhere: it must have the four IDX files of MNIST, and tinyshakespeare.txt"),
    (["--data", "nowhere", "--only", "text"], "No such file or directory: 'nowhere/tinyshakespeare.txt'"),
    (["--seeds", "1,x"], "invalid list of seeds like 1,2,3 value: '1,x'"),
    (["--seeds", "-1"], "value: '-1'"),
])  # fmt: skip
def test_what_is_wrong_is_said_before_anything_is_trained(folder, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr(quality, "run", None)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
