"""Training steps beside PyTorch: the table, its page, and the command itself where PyTorch is installed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ringleader.bench.results import machine
from ringleader.bench.training_page import Row, section

ROOT = Path(__file__).parents[2]
ABOUT = {
    "command": "measure", "date": "2026-11-25", "machine": machine(), "threads": 1, "versions": {"PyTorch": "2", "us": "0.1"},
}  # fmt: skip
SLOWER = Row(1, "LSTM", [2e-3, 4e-3, 1e-3], [2e-3, 2e-3, 2e-3], 2.4e-7)
FASTER = Row(2, "GRU", [1e-3, 1e-3, 1e-3], [1.2e-3, 1.3e-3, 1.2e-3], 0.0)


def test_a_row_is_medians_and_the_ratio_in_the_same_repeat():
    assert str(SLOWER) == "| 1 | LSTM | 2.00 | 2.00 | 1.00 (0.50 ... 2.00) | 2.4e-07 |"
    assert str(FASTER) == "| 2 (DDP over Gloo) | GRU | 1.00 | 1.20 | 1.20 (1.20 ... 1.30) | 0.0e+00 |"


def test_the_section_says_whether_the_goal_is_met():
    assert "ratio of 1.2 in each: NOT MET by LSTM on 1 rank." in section([SLOWER, FASTER], ABOUT)
    text = section([FASTER], ABOUT)
    assert "ratio of 1.2 in each: met." in text
    assert "1 thread a rank" in text and "- PyTorch: 2\n- us: 0.1\n" in text
    assert text.startswith("## Training steps beside PyTorch\n\nMade by `measure` on 2026-11-25: ")
    assert text.endswith(f"|---:|\n{FASTER}\n")


COMMAND = ("-m", "ringleader.bench.training", "--only", "lenet", "--repeats", "1")


def check(printed, page, ranks):
    text = page.read_text()
    rows = re.findall(r"^\| (\d).* \| LeNet-5, batch 64 \| .*$", text, re.MULTILINE)
    assert rows == ranks
    assert all(line in text for line in printed.splitlines() if line.startswith("|"))
    assert text.startswith("mine\n\n<!-- training -->\n\n") and text.endswith(
        "\n\n<!-- end of training -->\n"
    )


def test_the_command_writes_its_section(tmp_path):
    pytest.importorskip("torch", reason="it measures PyTorch")
    page = tmp_path / "page.md"
    page.write_text("mine\n")
    command = [sys.executable, *COMMAND, "-o", str(page)]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=100, check=True)
    check(done.stdout, page, ["1"])
    command[-3] = "0"
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=100, check=False)
    assert "--repeats must be at least 1" in done.stderr


def test_one_command_measures_alone_and_on_all_ranks(tmp_path, mpi_job):
    pytest.importorskip("torch", reason="it measures PyTorch")
    page = tmp_path / "page.md"
    page.write_text("mine\n")
    done = mpi_job(2, *COMMAND, "-o", page)
    assert done.returncode == 0, done.stdout
    check(done.stdout, page, ["1", "2"])
    assert (
        "Made by `mpirun -n 2 python -m ringleader.bench.training --only lenet --repeats 1 -o "
        in page.read_text()
    )
