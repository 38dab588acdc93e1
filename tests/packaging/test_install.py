"""Folder ``X/`` is ``ringleader.X`` in a checkout, an editable install and a wheel, and nothing else is anything.

The venvs made here borrow the packages of the running interpreter (numpy, pip, setuptools, ...) by links, all
but a ringleader that may be installed there, so nothing is downloaded; every probe says where it found its
modules, so that no other ringleader can pass for the one under test.
"""

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest

from ringleader.launch import mpirun_command

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("bench", "collectives", "csrc", "models", "runtime")
DATA_FILE = "csrc/cpu_probe/table.json"
NO_COMPILER = {"CC": "false", "CXX": "false"}
COMPILING = 600  # seconds: half a minute of one core, but tests may share it with others

PROBE = """
import importlib, json, sys
places = {name: importlib.import_module("ringleader." + name).__file__ for name in sys.argv[1:]}
refusals = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError as error:
        refusals[name] = str(error)
print(json.dumps({"places": places, "refusals": refusals}))
"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command that must succeed; PYTHONPATH is only what the caller gives."""
    seconds = 100 if environment.items() >= NO_COMPILER.items() else COMPILING
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_rooms(python: Path, cwd: Path, home: Path, **environment: str) -> None:
    """Every room imports as ringleader.X, from beneath ``home``, and refuses its bare name."""
    answer = json.loads(run(python, "-c", PROBE, *ROOMS, cwd=cwd, **environment))
    for room, place in answer["places"].items():
        assert Path(place).resolve().is_relative_to(home.resolve()), f"ringleader.{room} came from {place}"
    assert set(answer["refusals"]) == set(ROOMS)
    if cwd == home:
        for room in ROOMS:
            assert f"write 'import ringleader.{room}'" in answer["refusals"][room]


def fresh_venv(folder: Path) -> tuple[Path, Path]:
    """An interpreter and its site-packages, which come before the borrowed ones."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    )
    for folder in (Path(entry) for entry in sys.path if entry.endswith("-packages")):
        for package in folder.iterdir():
            ours = package.name.startswith(("ringleader", "__editable__"))
            if not ours and not (site / package.name).exists():
                (site / package.name).symlink_to(package)
    return python, site


def install(python: Path, *what: str | Path) -> None:
    """A wheel, or an editable checkout without the engine, which would take long and matters elsewhere."""
    flags = ("--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed", "--quiet")
    run(python, "-m", "pip", "install", *flags, *what, cwd=python.parent, **NO_COMPILER)


def sources() -> set[str]:
    """Every Python and C++ file of the packages, relative to the root."""
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("ringleader", *ROOMS)
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".cpp", ".h", ".inc")
    }
    assert {Path(name).suffix for name in found} == {".py", ".cpp", ".h", ".inc"}
    return found


def installed_name(source: str) -> str:
    return source if source.startswith("ringleader/") else f"ringleader/{source}"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, because building leaves build/ and *.egg-info behind; with one data file in a folder. And with what
    looks like an engine that was built for another machine."""
    copy_of_root = tmp_path_factory.mktemp("checkout")
    for folder in ("ringleader", *ROOMS):
        copytree(ROOT / folder, copy_of_root / folder, ignore=ignore_patterns("__pycache__", "*.so"))
    for path in ROOT.iterdir():
        if path.is_file():
            copy(path, copy_of_root)
    data = copy_of_root / DATA_FILE
    data.parent.mkdir()
    data.write_text("{}")
    (copy_of_root / "csrc" / "cpu" / "_engine.so").write_text("of another machine")
    return copy_of_root


@pytest.fixture(scope="module")
def built(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel built from that sdist."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, checkout, cwd=out)
    return next(out.glob("*.tar.gz")), next(out.glob("*.whl"))


def test_checkout(checkout: Path, tmp_path: Path) -> None:
    check_rooms(Path(sys.executable), cwd=checkout, home=checkout)
    check_rooms(Path(sys.executable), cwd=tmp_path, home=checkout, PYTHONPATH=str(checkout))


def test_editable_install(checkout: Path, tmp_path: Path) -> None:
    python, _ = fresh_venv(tmp_path / "venv")
    install(python, "--editable", checkout)
    check_rooms(python, cwd=tmp_path, home=checkout)
    check_rooms(python, cwd=checkout, home=checkout)


@pytest.mark.timeout(COMPILING)
def test_wheel(built: tuple[Path, Path], tmp_path: Path) -> None:
    python, site = fresh_venv(tmp_path / "venv")
    install(python, built[1])
    check_rooms(python, cwd=tmp_path, home=site)
    landed = {path.name for path in site.iterdir() if not path.is_symlink()}
    assert len(landed) == 2, landed
    assert {name.partition("-")[0] for name in landed} == {"ringleader"}, landed


@pytest.mark.timeout(COMPILING)
def test_nothing_is_left_out(built: tuple[Path, Path]) -> None:
    sdist, wheel = built
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    wanted = sources() | {"ringleader/py.typed", DATA_FILE}
    assert not wanted - in_sdist
    assert not {name for name in in_sdist if name.endswith(".so")}
    assert not {installed_name(name) for name in wanted} - in_wheel


def test_extending_twice_adds_one_finder(tmp_path: Path) -> None:
    probe = (
        "import importlib, sys; import ringleader, ringleader._rooms as rooms; rooms.extend(ringleader.__file__);"
        "importlib.reload(rooms); importlib.reload(ringleader);"
        "print(sum(hasattr(finder, 'rooms_root') for finder in sys.meta_path))"
    )
    assert run(sys.executable, "-c", probe, cwd=tmp_path, PYTHONPATH=str(ROOT)) == "1\n"


def test_a_checkout_is_itself_beside_an_editable_install_of_another(checkout: Path, tmp_path: Path) -> None:
    python, _ = fresh_venv(tmp_path / "venv")
    other = Path(copytree(checkout, tmp_path / "other"))
    install(python, "--editable", other)
    check_rooms(python, cwd=tmp_path, home=other)
    check_rooms(python, cwd=checkout, home=checkout)


# With and without a compiler

SUM = """
import numpy as np, ringleader as rl
world = rl.init(timeout=30)
for size in (0, 1, 5_000, 300_000):
    x = np.arange(size) * 10 + world.rank
    world.allreduce(x)
    assert (x == np.arange(size) * 30 + 3).all()
from importlib import import_module
try:
    engine = import_module("ringleader.csrc.cpu._engine").cpu_level()
except ImportError:
    engine = "none"
print(f"right over {world.transport}, engine {engine}, from {rl.__file__}")
"""


def sum_on_three_ranks(python: Path, cwd: Path, **environment: str) -> str:
    alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **environment}
    mpirun = mpirun_command(3, [sys.executable])[:-1]  # beside this Python, not among the links
    return run(*mpirun, str(python), "-c", SUM, cwd=cwd, **alone)


def engine_of(wheel: Path) -> list[str]:
    return [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".so")]


@pytest.mark.usefixtures("needs_mpi")
@pytest.mark.parametrize("how", ["it fails", "there is none"])
def test_without_a_compiler_it_installs_and_runs_on_windows(how: str, checkout: Path, tmp_path: Path) -> None:
    failing = NO_COMPILER if how == "it fails" else {"PATH": str(tmp_path / "nothing")}
    options = ("--wheel", "--no-isolation", "--outdir", tmp_path)
    source = copytree(checkout, tmp_path / "source", ignore=ignore_patterns("build", "*.egg-info"))
    printed = run(sys.executable, "-m", "build", *options, source, cwd=tmp_path, **failing)
    wheel = next(tmp_path.glob("*.whl"))
    assert "ringleader.csrc.cpu._engine" in printed
    assert engine_of(wheel) == []
    python, site = fresh_venv(tmp_path / "venv")
    install(python, wheel)
    told = sum_on_three_ranks(python, tmp_path)
    assert told.count(f"right over windows, engine none, from {site}") == 3, told


@pytest.mark.timeout(COMPILING)
@pytest.mark.usefixtures("needs_mpi")
def test_the_wheel_runs_on_any_processor_of_its_kind(built: tuple[Path, Path], tmp_path: Path) -> None:
    """Without the newer instructions it may find."""
    if engine_of(built[1]) == []:
        pytest.skip("needs a C++ compiler")
    python, site = fresh_venv(tmp_path / "venv")
    install(python, built[1])
    told = sum_on_three_ranks(python, tmp_path, RINGLEADER_CPU="baseline")
    assert told.count(f"right over shm, engine baseline, from {site}") == 3, told
