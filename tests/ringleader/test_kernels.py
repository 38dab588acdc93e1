"""``ringleader kernels``, as a user types it."""

import json

import numpy as np
import pytest
from ringleader.csrc.cuda import catalogue, resources, versions
from ringleader.csrc.cuda.nvrtc import NoCompiler, nvrtc_version, toolkit_headers
from ringleader.csrc.cuda.versions import Example, Instance, Version
from ringleader.csrc.emulate import CompileError
from ringleader.csrc.emulate.compiler import compiler

from ringleader import arguments
from ringleader.cli import main

SUMS = """
#include "common.cuh"
// Sums of rows of 64, a block each. LATE: without the barrier that it needs.
template <typename T, bool LATE>
__global__ void row_sums(const T* x, T* sums) {
  __shared__ T kept[64];
  kept[threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];
  if (!LATE) __syncthreads();
  if (threadIdx.x == 0) {
    T sum = 0;
    for (int i = 0; i < 64; i++) sum += kept[i];
    sums[blockIdx.x] = sum;
  }
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of the kernel and of caches."""
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture
def operator(folder, monkeypatch):
    """``sums`` of versions late (wrong) and clear, in a file of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    file = folder / "sums.cu"
    file.write_text(SUMS)
    catalogue.fill()
    monkeypatch.setitem(
        versions.VERSIONS,
        "sums",
        [
            Version("sums", "late", least=90, dtypes=("float32",)),
            Version("sums", "clear", dtypes=("float32", "float64")),
        ],
    )
    expressions = [f"row_sums<{of}>" for of in ("float, true", "float, false", "double, false")]
    monkeypatch.setattr(
        catalogue, "INSTANCES", [Instance(str(file), expression) for expression in expressions]
    )

    def run(device, draw, version, rows):
        x, sums = draw(rows, 64), device.xp.empty(rows, draw.dtype)
        chosen = versions.choose("sums", device.architecture, draw.dtype, version=version, rows=rows)
        c_type = {4: "float", 8: "double"}[x.itemsize]
        expression = f"row_sums<{c_type}, {'true' if chosen.name == 'late' else 'false'}>"
        device.launch(str(file), expression, rows, 64, [x, sums])
        return sums

    monkeypatch.setitem(versions.EXAMPLES, "sums", Example("sums", ("ROWS",), (3,), run))
    return file


@pytest.fixture
def emulator():
    try:
        compiler()
    except CompileError as error:
        pytest.skip(str(error))


@pytest.fixture
def nvrtc():
    try:
        toolkit_headers()
    except NoCompiler as error:
        pytest.skip(str(error))


def run(capsys, line, code=0):
    assert main(["kernels", *line.split()]) == code
    return capsys.readouterr().out


def refused(capsys, line):
    with pytest.raises(SystemExit) as stop:
        main(["kernels", *line.split()])
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("action", ["list", "compile", "emulate", "check", "profile"])
def test_help(capsys, action):
    with pytest.raises(SystemExit) as ended:
        main(["kernels", action, "--help"])
    assert ended.value.code == 0
    assert f"usage: ringleader kernels {action}" in capsys.readouterr().out


def test_all_operators_are_listed(capsys):
    listed = json.loads(run(capsys, "list --json"))
    assert [(row["operator"], row["version"]) for row in listed] == [
        (operator, version.name) for operator, of in versions.VERSIONS.items() for version in of
    ]
    assert {"architectures", "dtypes", "measured"} < set(listed[0])


def test_which_version_is_chosen_and_why(capsys, operator):
    told = run(capsys, "list sums --shape 5")
    assert told == (
        "sums of ROWS 5\n"
        "  sums: clear (not yet measured)\n"
        "    not late, which needs compute capability 9.0, this is 8.0\n"
        f"  {operator}: row_sums<float, false>, grid (5, 1, 1), block (64, 1, 1)\n"
    )
    assert "sums: late" in run(capsys, "list sums --arch 90")
    assert "sums: clear" in run(capsys, "list sums --arch 90 --dtype float64")
    assert "sums: clear" in run(capsys, "list sums --arch 90 --version clear")
    (launch,) = json.loads(run(capsys, "list sums --json"))
    assert launch["grid"] == [3, 1, 1]


@pytest.mark.usefixtures("nvrtc")
def test_compiling(capsys, operator, tmp_path):
    rows = json.loads(run(capsys, "compile --arch 80,90a --json"))
    assert [(r["kernel"], r["arch"], r["shared_bytes"]) for r in rows if "float" in r["kernel"]] == [
        ("row_sums<float, false>", "80", 256), ("row_sums<float, false>", "90a", 256),
        ("row_sums<float, true>", "80", 256), ("row_sums<float, true>", "90a", 256),
    ]  # fmt: skip
    assert all(r["registers"] > 0 and r["spill_store_bytes"] == 0 for r in rows)
    assert run(capsys, f"compile --arch 80,90a --table {tmp_path}/page.md") == ""
    compiled_by, cells = resources.parsed((tmp_path / "page.md").read_text())
    assert compiled_by == nvrtc_version()
    assert cells[str(operator), "row_sums<float, true>", "90a"].isdigit()
    operator.write_text(SUMS.replace("sum += kept", "sum += keep"))
    assert main(["kernels", "compile"]) == 1
    assert f'{operator}(11): error: identifier "keep" is undefined' in capsys.readouterr().err


@pytest.mark.usefixtures("nvrtc", "operator")
def test_architectures_are_listed_as_asked_for_whichever_compiles_first(capsys, monkeypatch):
    compile_all = resources.compile_all
    monkeypatch.setattr(
        "ringleader.kernels.compile_all", lambda wanted, jobs: reversed(list(compile_all(wanted)))
    )
    rows = json.loads(run(capsys, "compile --arch 80,90a --json"))
    assert [r["arch"] for r in rows] == ["80", "90a"] * 3


@pytest.mark.usefixtures("emulator")
def test_a_missing_barrier_is_found(capsys, operator):
    assert "row_sums<float, false>: no faults\n" in run(capsys, "check sums")
    found = run(capsys, "check sums --version late --arch 90", code=1)
    assert "row_sums<float, true>: no faults" not in found
    assert "  race at sums.cu:" in found


@pytest.mark.usefixtures("emulator", "operator")
def test_errors_beside_the_clear_version_in_float64(capsys):
    (row,) = json.loads(run(capsys, "emulate sums --shape 7 --seed 3 --json"))
    x = np.random.default_rng(3).standard_normal((7, 64)).astype(np.float32).astype(np.float64)
    assert row["shape"] == "7"
    assert row["largest_value"] == pytest.approx(abs(x.sum(1)).max(), rel=1e-12)
    assert 0 < row["largest_error"] <= 64 * np.finfo(np.float32).eps * abs(x).sum(1).max()
    (row,) = json.loads(run(capsys, "emulate sums --dtype float64 --json"))
    assert row["largest_error"] == 0


@pytest.mark.usefixtures("emulator", "operator")
def test_the_order_of_threads_matters_where_a_barrier_is_missing(capsys):
    (row,) = json.loads(run(capsys, "emulate sums --mode scrambled --seed 3 --json"))
    assert row["same_in_order"] is True
    (row,) = json.loads(run(capsys, "emulate sums --mode scrambled --version late --arch 90 --json"))
    assert row["same_in_order"] is False


@pytest.mark.usefixtures("emulator")
def test_a_profile_shows_the_lines(capsys):
    rows = json.loads(run(capsys, "profile softmax_forward --version clear --shape 2,5 --json"))
    assert {row["memory"] for row in rows} >= {"global"}
    assert all(row["line"].startswith("softmax.cu:") for row in rows)
    text = (arguments.Path(catalogue.cuda.__file__).parent / "softmax.cu").read_text().splitlines()
    for row in rows:
        assert row["source"] == text[int(row["line"].split(":")[1]) - 1].strip() != ""
        assert row["requests"] > 0
        assert row["cost_of_each"] >= row["least"] > 0


def test_what_is_wrong_is_said_in_one_line(capsys, operator):
    assert "sums takes a shape ROWS, like 3, not 2,3" in refused(capsys, "list sums --shape 2,3")
    assert "no kernel example is called 'sum'; known: " in refused(capsys, "check sum")
    assert "sums has no version 'fast'; it has: late, clear" in refused(capsys, "check sums --version fast")
    assert "clear takes float32, float64, not float16" in refused(capsys, "check sums --dtype float16")
    assert "unknown option --shapes 3; known: -h, --help, --shape" in refused(capsys, "check sums --shapes 3")
    assert "the following arguments are required: ACTION" in refused(capsys, "")
    assert "'70' is no architecture; known: 75, 80" in refused(capsys, "compile --arch 70")
    assert "'x' is no whole number" in refused(capsys, "list sums --shape x")
    assert "name it" in refused(capsys, "list --shape 3")


def test_without_a_compiler_for_the_emulator(capsys, operator, monkeypatch):
    monkeypatch.setenv("CXX", "/no/compiler")
    compiler.cache_clear()
    try:
        assert main(["kernels", "check", "sums", "--dtype", "float64"]) == 1
        assert (
            "the emulator compiles kernels with /no/compiler, and there is none: install it"
            in capsys.readouterr().err
        )
    finally:
        compiler.cache_clear()
