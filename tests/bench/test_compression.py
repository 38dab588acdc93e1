"""The benchmark of compressed gradients: its verdicts, and a whole run of a tiny case on two ranks."""

import pytest
from ringleader.bench.compression import CASES, SCHEMES, Compared, cells, main
from ringleader.bench.quality import Case, Row
from ringleader.runtime.comm.compression import check_spec
from ringleader.runtime.comm.wire import Wire
from ringleader.runtime.training import Metrics, Result

TINY = """
import sys
from ringleader.bench import compression
from ringleader.bench.quality import Case

settings = {"data": "digits", "steps": 3}
compression.CASES = {"digits": compression.Compared(Case("lenet5", settings, "accuracy", None, "", 1), 1.0)}
sys.exit(compression.main(sys.argv[1:]))
"""


def row(measure, score, wire=None):
    case = Case("lenet5", {}, measure, None, "", 1)
    return Row("x", case, [1], [Result(Metrics(10, 1, 2.0, 0.0, wire), {measure: score}, True)], 1.0)


@pytest.mark.parametrize(("measure", "exact", "score", "difference", "verdict"), [
    ("accuracy", 0.99, 0.985, "-0.50 points", "met"), ("accuracy", 0.99, 0.979, "-1.10 points", "NOT MET"),
    ("accuracy", 0.98, 0.99, "+1.00 points", "met"), ("loss", 0.001, 0.01, "+0.0090", "met"),
    ("loss", 0.001, 0.012, "+0.0110", "NOT MET"), ("loss", 0.001, float("nan"), "+nan", "NOT MET"),
])  # fmt: skip
def test_verdicts(measure, exact, score, difference, verdict):
    found = cells("x", "sign", row(measure, score, Wire(1000, 20_000)), row(measure, exact), 0.01)
    assert (found[2], found[3], found[6], found[8]) == ("100", "20.0", difference, verdict)


def test_the_schemes_are_all_that_there_are():
    for scheme in SCHEMES:
        check_spec(scheme)
    kinds = {scheme.partition(":")[0] for scheme in SCHEMES}
    assert kinds == {"fp16", "bf16", "int8", "sign", "topk", "randomk", "powersgd"}
    assert {case.case.model for case in CASES.values()} == {"lenet5", "lstm"}
    case = Compared(Case("lenet5", {"data": "digits"}, "accuracy", None, "", 1), 0.1)
    assert case.with_scheme("sign").settings == {"data": "digits", "compression": "sign"}
    assert "compression" not in case.with_scheme(None).settings
    served = case.with_scheme("sign", "ps").settings
    assert served == {"data": "digits", "compression": "sign", "sync": "ps", "colocated": True}


def test_a_tiny_case_on_two_ranks(tmp_path, mpi_job):
    page = tmp_path / "page.md"
    done = mpi_job(2, "-c", TINY, "--schemes", "sign,topk:0.01", "-o", page)
    assert done.returncode == 0, done.stdout[-3000:]
    lines = [line for line in page.read_text().splitlines() if line.startswith("| digits")]
    assert [line.split(" | ")[1] for line in lines] == ["none", "sign", "topk:0.01"]
    assert [line.split(" | ")[3] for line in lines] == ["", "19.4", "31.0"]
    assert all(line in done.stdout for line in lines)


@pytest.mark.parametrize(("options", "message"), [
    (["--schemes", "zip"], "unknown compression 'zip'"), (["--only", "nothing"], "no such case"),
    (["--data", "nowhere"], "it must have the four IDX files of MNIST"),
])  # fmt: skip
def test_what_it_refuses(options, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(options)
    assert message in capsys.readouterr().err


def test_one_rank_has_nothing_to_send(capsys):
    assert main(["--only", "lstm"]) == 2
    assert "one rank sends no gradients: start several" in capsys.readouterr().err
