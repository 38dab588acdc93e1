"""CUDA kernels beside PyTorch's: cases, goals, pages and the command, without a GPU."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ringleader.bench import kernels
from ringleader.bench.gpu import convolution, page
from ringleader.bench.gpu.case import NOT_BEGUN, OURS, WHOLE, Case, Result
from ringleader.bench.gpu.goals import GOALS, NOT_YET, Goal, judged, rate, ratio
from ringleader.bench.gpu.timing import Timing
from ringleader.csrc.cuda.versions import VERSIONS

ROOT = Path(__file__).parents[2]
RUN = page.Run("NVIDIA H200", 4e12, 5, {"driver": "1.2"}, "the command", "2026-11-29")


def a_case(name, flops=0.0, moved=0.0, tags=(), group="rows"):
    return Case(
        group,
        name,
        "softmax_forward",
        "bfloat16",
        flops,
        moved,
        "half",
        lambda place: None,
        tags=frozenset(tags),
    )


def a_result(case, ours, failed=None, error=0.5, host=3e-6, **peers):
    """Device seconds of each side, one a repeat."""
    sides = {OURS: ours} | {name.replace("_", " "): times for name, times in peers.items()}
    timings = {side: [Timing(time, host) for time in times] for side, times in sides.items() if times}
    return Result(case, "registers", timings, failed or {}, error)


# ---- Cases ----------------------------------------------------------------------------------------------------------


def test_resnet_50_has_53_convolutions_and_4_1_billion_multiply_adds():
    layers = convolution.layers()
    assert sum(layer.count for layer in layers) == 53
    assert len(set(layers)) == len(layers) == 23
    # torchvision's weights tell 4.09 GFLOPs, the last layer (2048 x 1000) included
    assert sum(layer.count * layer.multiply_adds for layer in layers) + 2048 * 1000 == pytest.approx(
        4.09e9, rel=0.001
    )
    parameters = sum(layer.count * layer.features * layer.channels * layer.kernel**2 for layer in layers)
    assert (
        parameters == 25_557_032 - 2048 * 1000 - 1000 - 53_120
    )  # all, without the last layer and batch norms


def test_a_layer_that_skips_pixels_reads_only_the_others():
    skips = convolution.Layer(4, 8, 1, 2, 10)
    assert skips.out == 5
    assert skips.moved(3, "forward") == 3 * (25 * 4 + 25 * 8) + 4 * 8
    assert skips.moved(3, "backward_data") == 3 * (100 * 4 + 25 * 8) + 4 * 8  # which writes zeros there


def test_operations_of_attention_by_hand():
    cases = {case.name: case for case in kernels.CASES if case.group == "attention"}
    forward, causal = cases["forward, d 128, T 8192"], cases["forward, d 128, T 8192, causal"]
    assert forward.flops == 4 * 2 * 16 * 8192**2 * 128  # 2 sequences of 16 heads, two products
    assert causal.flops == forward.flops / 2
    assert cases["backward, d 128, T 8192"].flops == 2.5 * forward.flops
    assert forward.moved == 4 * 2 * 16384 * 2048


def test_the_cases_the_issue_names_are_there():
    names = {group: [case.name for case in kernels.CASES if case.group == group] for group in kernels.GROUPS}
    assert list(names) == ["attention", "convolution", "recurrent", "rows"]
    assert len(names["attention"]) == 2 * 3 * 2 * 6
    assert len(names["convolution"]) == 3 * 23 - 1
    assert len(names["recurrent"]) == 2 * 2 * 2 * 3 * 3
    rows = " ".join(names["rows"])
    for name in (
        "layer norm",
        "RMS norm",
        "softmax",
        "cross-entropy",
        "GELU",
        "dropout",
        "embedding backward",
        "Adam",
    ):
        assert name in rows
    assert len({str(case) for case in kernels.CASES}) == len(kernels.CASES)


def test_every_case_is_of_an_operator_that_is_registered_for_its_dtype():
    for case in kernels.CASES:
        assert any(case.dtype in version.dtypes for version in VERSIONS[case.operator]), case


def test_every_goal_has_cases_and_every_group_has_a_text():
    for goal in GOALS:
        assert [case for case in kernels.CASES if case.group == goal.group and goal.tag in case.tags], goal
    assert set(page.ABOUT) == set(kernels.GROUPS)
    quick = [case for case in kernels.CASES if case.quick]
    assert {case.group for case in quick} == set(kernels.GROUPS)


# ---- Results and goals ----------------------------------------------------------------------------------------------


def test_a_result_is_held_against_the_fastest_peer():
    result = a_result(
        a_case("x", flops=8e12),
        [2.0, 4.0, 4.0],
        flash=[3.0, 3.0, 9.0],
        cuDNN=[5.0, 4.0, 4.0],
        copy=[1.0, 1.0, 1.0],
    )
    assert result.seconds == 4.0
    assert result.rate == 2e12
    assert result.peer == "flash"  # 3.0 is less than 4.0; the copy is none
    assert result.ratios == [0.75, 1.5, 2.25]
    assert result.copy_shares == [0.25, 0.25, 0.5]


RATE = Goal("rows", "r", "t", rate, 2e12, "TFLOP/s", cards=("H100", "H200"))
MEAN = Goal("rows", "m", "t", ratio, 1.0, "x")
LEAST = Goal("rows", "l", "t", ratio, 1.0, "x", worst=True)
ONE, TWO = a_case("one", flops=4e12, tags="t"), a_case("two", flops=4e12, tags="t")
FAST, SLOW = a_result(ONE, [1.0], peer=[4.0]), a_result(TWO, [1.0], peer=[0.5])


@pytest.mark.parametrize(("goal", "results", "repeats", "card", "reached", "word"), [
    (RATE, [FAST], 5, "NVIDIA H200", "4 TFLOP/s", "met"),
    (RATE, [a_result(ONE, [3.0])], 5, "NVIDIA H200", "1 TFLOP/s", "NOT MET"),
    (RATE, [FAST], 5, "NVIDIA L4", "4 TFLOP/s", "not yet measured on H100 or H200"),
    (RATE, [FAST], 4, "NVIDIA H200", "4 TFLOP/s", "undecided (fewer than 5 repeats)"),
    (RATE, [], 5, "NVIDIA H200", "-", NOT_YET),
    (RATE, [Result(ONE, failed={OURS: "wrong"})], 5, "NVIDIA H200", "one failed", "NOT MET"),
])  # fmt: skip
def test_a_goal_of_one_case(goal, results, repeats, card, reached, word):
    verdict = judged(goal, [ONE], results, repeats, card)
    assert (verdict.reached, verdict.bound, verdict.word) == (reached, "at least 2 TFLOP/s", word)


@pytest.mark.parametrize(("goal", "results", "reached", "word"), [
    (MEAN, [FAST, SLOW], "1.41x", "met"),  # of 4 and 0.5
    (LEAST, [FAST, SLOW], "0.50x (two)", "NOT MET"),
    (LEAST, [FAST, a_result(TWO, [1.0], peer=[1.0])], "1.00x (two)", "met"),
    (MEAN, [FAST], "4.00x", "not yet measured (1 of 2 cases)"),
    (MEAN, [FAST, a_result(TWO, [1.0])], "4.00x", "not yet measured (1 of 2 cases)"),  # no peer to compare with
    (MEAN, [FAST, Result(TWO, failed={WHOLE: "no memory"})], "two failed", "NOT MET"),
    (MEAN, [FAST, Result(TWO, failed={NOT_BEGUN: "no time"})], "4.00x", "not yet measured (1 of 2 cases)"),
    (MEAN, [Result(ONE, failed={OURS: "a"}), Result(TWO, failed={OURS: "b"})], "one and 1 more failed", "NOT MET"),
])  # fmt: skip
def test_a_goal_of_two_cases(goal, results, reached, word):
    verdict = judged(goal, [ONE, TWO], results, 5, "NVIDIA H200")
    assert (verdict.reached, verdict.word) == (reached, word)


# ---- The page -------------------------------------------------------------------------------------------------------


def test_a_line_of_the_table_by_hand():
    softmax = a_case("softmax", moved=2.4e9)  # 0.5 ms at 4.8 TB/s
    result = a_result(softmax, [1e-3, 2e-3, 1e-3], PyTorch=[1.5e-3] * 3, copy=[0.8e-3] * 3)
    table = page.table([result], RUN).splitlines()
    assert table[0] == (
        "| case | version | ringleader (us) | PyTorch (us) | copy (us) | TFLOP/s or GB/s | roofline | copy | "
        "ratio | error | host (us) |"
    )
    assert table[2] == (
        "| softmax | registers | 1,000 | 1,500 | 800.0 | 2,400 GB/s | 50% | 80% | 1.50 (0.75 ... 1.50) | 0.50 | 3.0 |"
    )


def test_compute_is_in_tflops_and_an_unknown_card_has_no_share_of_them():
    result = a_result(a_case("attention", flops=989.5e9, moved=1.0), [2e-3], cuDNN=[1e-3])
    unknown = page.Run("A new card", 4e12, 5, {}, "", "")
    assert "| 495 TFLOP/s | 50% | 0.50 (0.50 ... 0.50) |" in page.table([result], RUN)
    assert "| 495 TFLOP/s | - | 0.50 (0.50 ... 0.50) |" in page.table([result], unknown)


def test_what_failed_is_said_and_not_in_the_table():
    cases = [a_case("one"), a_case("two")]
    results = [
        Result(cases[0], failed={WHOLE: "RuntimeError: out of memory"}),
        a_result(cases[1], [], failed={OURS: "wrong: 3 times the error that is allowed"}, PyTorch=[1.0]),
    ]
    text = page.section("rows", cases, results, RUN)
    assert "- one, all: RuntimeError: out of memory\n- two, ringleader: wrong: 3 times" in text
    lines = [line for line in text.splitlines() if line.startswith(("| one", "| two"))]
    assert lines == ["| two | registers | 1,000,000 | - | - | - | 0.50 | - |"]


def test_a_section_says_where_and_how():
    text = page.section("rows", [ONE], [a_result(ONE, [1.0], PyTorch=[2.0])], RUN)
    assert text.startswith(
        "### Norms, softmax, losses, optimiser on NVIDIA H200\n\nMade by `the command` on 2026-11-29, 5 repeats."
    )
    assert "- driver: 1.2\n" in text
    assert "| norms, least share of a copy's rate | - | 85% | not yet measured |" in text


def test_lines_for_the_versions_are_of_what_was_measured():
    results = [
        a_result(a_case("one", flops=4e12), [0.02], PyTorch=[0.01], ringleader_clear=[0.04]),
        a_result(a_case("two", flops=4e12), [0.01], PyTorch=[0.02]),
    ]
    assert page.measured_texts(results, RUN) == [
        'softmax_forward, registers: measured="200 TFLOP/s to 400 TFLOP/s, 1.00 times as fast as PyTorch (geometric mean of 2); '
        'NVIDIA H200, 2026-11-29"',
        'softmax_forward, clear: measured="100 TFLOP/s, 0.25 times as fast as PyTorch (geometric mean of 1); '
        'NVIDIA H200, 2026-11-29"',
    ]


# ---- The command ----------------------------------------------------------------------------------------------------


def test_without_a_gpu_it_says_what_is_missing_and_how_to_get_it():
    done = subprocess.run(
        [sys.executable, "-m", "ringleader.bench.kernels"], cwd=ROOT, capture_output=True, text=True, timeout=100,
        env={"PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "cannot be measured here:\n- " in done.stderr
    assert "CuPy" in done.stderr or "no GPU is visible" in done.stderr or "driver" in done.stderr
    assert "PyTorch" in done.stderr
    assert "Traceback" not in done.stderr and not done.stdout


def test_not_measured_writes_every_goal_as_open_and_no_number(tmp_path, capsys):
    path = tmp_path / "page.md"
    path.write_text("mine\n")
    assert kernels.main(["--not-measured", "-o", str(path)]) == 0
    text = path.read_text()
    assert text.startswith("mine\n\n<!-- kernels -->\n\n## CUDA kernels\n")
    rows = re.findall(r"^\| (.*) \| (.*) \| .* \| (.*) \|$", text, re.MULTILINE)
    open_goals = [row for row in rows if row[0] not in ("goal", "---")]
    assert [row[0] for row in open_goals] == [goal.what for goal in GOALS]
    assert {row[1:] for row in open_goals} == {("-", NOT_YET)}
    assert capsys.readouterr().out.count("not yet measured |") == len(GOALS)


def test_a_group_that_is_measured_leaves_the_others_sections(tmp_path):
    path = tmp_path / "page.md"
    kernels.main(["--not-measured", "-o", str(path)])
    before = path.read_text()
    kernels.write(path, {"rows": "### Rows\n\nmeasured"})
    after = path.read_text()
    assert "measured\n\n<!-- end of kernels rows -->" in after
    assert before.split("<!-- kernels rows -->")[0] == after.split("<!-- kernels rows -->")[0]


def test_the_page_in_the_repository_has_the_sections():
    text = (ROOT / "bench" / "RESULTS.md").read_text()
    for group in kernels.GROUPS:
        assert f"<!-- kernels {group} -->" in text
    assert page.METHOD in text


def test_cases_are_selected_by_parts_of_their_names(capsys):
    assert kernels.main(["--list", "--only", "LSTM forward, Adam"]) == 0
    names = capsys.readouterr().out.splitlines()
    assert {name.split(":")[0] for name in names} == {"recurrent", "rows"}
    assert all("LSTM forward" in name or "Adam" in name for name in names)


@pytest.mark.parametrize(("arguments", "message"), [
    (["--only", "pooling"], "--only 'pooling': no such case; --list names them all"),
    (["--repeats", "0"], "--repeats must be at least 1, it is 0"),
])  # fmt: skip
def test_wrong_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        kernels.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


class Card:
    """In the place of a device; ``lost_after``: how many cases it survives."""

    def __init__(self, lost_after=100):
        self.left = lost_after

    def free(self):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("an illegal memory access was encountered")


def test_a_lost_device_ends_the_measuring_not_the_page(monkeypatch):
    monkeypatch.setattr(kernels, "measured", lambda case, *rest: a_result(case, [1.0]))
    results = list(
        kernels.measure_all([a_case(str(i)) for i in range(4)], Card(1), None, 1, False, lambda: 1.0)
    )
    assert [NOT_BEGUN in result.failed for result in results] == [False, False, True, True]
    assert "the device was lost in rows: 1 (an illegal memory access" in results[2].failed[NOT_BEGUN]


def test_when_the_time_is_over_no_case_is_begun(monkeypatch):
    monkeypatch.setattr(kernels, "measured", lambda case, *rest: a_result(case, [1.0]))
    left = iter([2.0, 1.0, 0.0])
    results = list(
        kernels.measure_all([a_case(str(i)) for i in range(4)], Card(), None, 1, False, lambda: next(left))
    )
    assert [result.failed.get(NOT_BEGUN) for result in results] == [
        None,
        None,
        *["the time of --minutes was over"] * 2,
    ]


def test_a_whole_run_measures_prints_and_writes(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(
        kernels,
        "measured",
        lambda case, *rest: a_result(case, [1e-3] * 5, PyTorch=[2e-3] * 5, copy=[1e-3] * 5),
    )
    monkeypatch.setattr(kernels.here, "copied", lambda *given: 4e12)
    monkeypatch.setattr(kernels.here, "about", lambda *given: {"driver": "580.1"})
    path = tmp_path / "page.md"
    options = kernels.parsed(["--only", "softmax,Adam", "--repeats", "5", "-o", str(path)])
    assert kernels.run(options, Card(), None, "NVIDIA H200") == 0
    out, text = capsys.readouterr().out, path.read_text()
    assert "rows: softmax forward, 16,384 x 1,024: 1000.0 us, 2.00x PyTorch\n" in out
    assert 'adam, registers: measured="' in out
    assert "Made by `python -m ringleader.bench.kernels --only softmax,Adam --repeats 5 -o " in text
    assert (
        "| softmax, least share of a copy's rate | 100% (softmax forward, 16,384 x 1,024) | 85% | met |"
        in text
    )
    assert "| norms, least share of a copy's rate | - | 85% | not yet measured |" in text
    assert "<!-- kernels attention -->" not in text  # of which nothing was asked
    monkeypatch.setattr(kernels, "measured", lambda case, *rest: Result(case, failed={OURS: "wrong"}))
    assert kernels.run(options, Card(), None, "NVIDIA H200") == 1
