"""``ringleader doctor``: the report, and what it says where something is missing or broken."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ringleader.csrc.cuda import nvrtc
from ringleader.csrc.cuda.bindings import CudaBindings

from ringleader import __version__, doctor

ROOT = Path(__file__).parents[2]
CLEAN = {
    k: v
    for k, v in os.environ.items()
    if not k.startswith(("OMPI_", "PMI", "PRTE_", "SLURM_", "RINGLEADER_"))
}
CLEAN["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])


def run(*arguments, hide="", **environment):
    """``hide``: a module that cannot be imported."""
    code = f"import sys; sys.modules[{hide!r}] = None; from ringleader.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, "doctor", *arguments], env={**CLEAN, **environment}, text=True,
        capture_output=True, timeout=110, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def findings(*arguments, code=0, **options):
    done = run(*arguments, "--json", **options)
    assert done.returncode == code, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] == (code == 0)
    return {f["name"]: f for f in told["findings"]}


def test_the_report_of_this_machine():
    found = findings()
    assert found["ringleader"]["text"].startswith(f"{__version__}, in ")
    assert found["python"]["text"].startswith(sys.version.split()[0])
    assert {"numpy", "engine", "mpi", "mpirun", "limits", "memory", "cores", "gpu"} <= set(found)
    assert all(f["state"] in ("ok", "less") for f in found.values())
    text = run().stdout
    assert all(f["text"] in text for name, f in found.items() if name != "memory")


def test_without_the_engine_it_says_what_is_slower_and_how_to_get_it():
    engine = findings(hide="ringleader.csrc.cpu._engine")["engine"]
    assert engine["state"] == "less"
    assert engine["text"].startswith("not built: ")
    slower, remedy = engine["remedies"]
    assert "about 10 times at 64 KiB" in slower
    assert "pip install" in remedy
    assert "g++" in remedy


def test_an_engine_that_is_switched_off():
    pytest.importorskip("ringleader.csrc.cpu._engine", reason="needs the engine: a C++ compiler")
    engine = findings(RINGLEADER_TRANSPORT="mpi", RINGLEADER_CPU="baseline")["engine"]
    assert engine["state"] == "less"
    assert engine["text"] == "built; its kernels here: baseline"
    assert "RINGLEADER_TRANSPORT=mpi keeps ranks from using it" in engine["remedies"][0]


@pytest.mark.usefixtures("needs_mpi")
@pytest.mark.parametrize("hide", ["", "ringleader.csrc.cpu._engine"], ids=["engine-or-not", "windows"])
def test_ranks_are_started_and_measured(hide):
    transport = {"RINGLEADER_TRANSPORT": "windows"} if hide else {}
    ranks = findings("-n", "2", hide=hide, **transport)["2 ranks"]
    assert ranks["text"].startswith("transport windows, barrier " if hide else "transport ")
    assert "AllReduce of 1 MiB" in ranks["text"]


@pytest.mark.usefixtures("needs_mpi")
def test_ranks_that_fail_are_broken():
    ranks = findings("-n", "2", code=1, RINGLEADER_TRANSPORT="pigeons")["2 ranks"]
    assert ranks["state"] == "broken"
    assert "RINGLEADER_TRANSPORT='pigeons': use one of" in ranks["text"]


def test_an_mpi_that_does_not_start_is_broken(monkeypatch):
    pytest.importorskip("mpi4py")
    monkeypatch.setattr(doctor, "LOOK_AT_MPI", "raise RuntimeError('cannot load MPI library')")
    (found,) = doctor._mpi()
    assert found.state == "broken"
    assert "RuntimeError: cannot load MPI library" in found.text


def test_memory_that_others_cannot_map(monkeypatch):
    monkeypatch.setattr(doctor, "MAP_OURS", "raise PermissionError(13, 'Permission denied')")
    (found,) = doctor._sharing()
    assert found.state == "less"
    assert "Permission denied" in found.text


def test_what_does_not_answer_is_ended(monkeypatch):
    monkeypatch.setattr(doctor, "PATIENCE", 0.5)
    code, text = doctor._output([sys.executable, "-c", "import time; time.sleep(600)"])
    assert (code, text) == (1, "no answer within 0.5 s")


@pytest.mark.parametrize(
    ("arguments", "environment", "part"),
    [
        (["-n", "0"], {}, "-n 0: from 1 to 1024"),
        (["-n", "2"], {"PMI_SIZE": "2", "PMI_RANK": "0"}, "without a launcher"),
        (["--jsn"], {}, "unknown option --jsn; known: -h, --help, -n, --ranks, --json"),
    ],
)
def test_wrong_usage_is_one_line(arguments, environment, part):
    done = run(*arguments, **environment)
    assert done.returncode == 2
    assert part in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_compiles_kernels_for_a_gpu(monkeypatch):
    monkeypatch.setattr(nvrtc, "nvrtc_version", lambda: "13.0")
    monkeypatch.setattr(nvrtc, "binding", lambda: CudaBindings)
    monkeypatch.setattr(nvrtc, "toolkit_headers", lambda: Path("/cuda/include"))
    found = {f.name: f for f in doctor._kernels()}["nvrtc"]
    assert (found.state, found.text) == ("ok", "13.0 by cuda.bindings, headers in /cuda/include")

    def none():
        raise nvrtc.NoCompiler("no NVRTC: pip install 'ringleader[kernels]'")

    monkeypatch.setattr(nvrtc, "toolkit_headers", none)
    found = {f.name: f for f in doctor._kernels()}["nvrtc"]
    assert (found.state, found.remedies) == ("less", ("no NVRTC: pip install 'ringleader[kernels]'",))


def test_what_runs_kernels_without_a_gpu():
    emulator = findings(CXX="/no/compiler")["emulator"]
    assert emulator["state"] == "less"
    assert "the emulator compiles kernels with /no/compiler, and there is none" in emulator["remedies"][0]


def test_a_gpu(monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda name: name)
    monkeypatch.setattr(doctor, "LOOK_AT_GPU", "print('NVIDIA H200, 132 multiprocessors')")
    (found,) = doctor._gpu()
    assert (found.state, found.text) == ("ok", "NVIDIA H200, 132 multiprocessors")
    refuse = (
        "from ringleader.csrc.cuda.gpu import NoGpu; raise NoGpu('no GPU is visible: look at nvidia-smi')"
    )
    monkeypatch.setattr(doctor, "LOOK_AT_GPU", refuse)
    (found,) = doctor._gpu()
    assert (found.state, found.text) == ("less", "no GPU is visible: look at nvidia-smi")
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    (found,) = doctor._gpu()
    assert "pip install 'ringleader[cuda13]'" in found.remedies[0]
