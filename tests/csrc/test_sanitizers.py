"""The engine under ThreadSanitizer, AddressSanitizer and UndefinedBehaviorSanitizer: csrc/stress makes random calls.

RINGLEADER_STRESS_SECONDS=60 makes each run that long, RINGLEADER_STRESS_SEED chooses the draws.
"""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGINE, STRESS = ROOT / "csrc" / "cpu", Path(__file__).parent / "stress"
SANITIZERS = ("thread", "address,undefined")
RANKS = (1, 2, 3, 5)
SECONDS = float(os.environ.get("RINGLEADER_STRESS_SECONDS", "3"))
SEED = int(os.environ.get("RINGLEADER_STRESS_SEED", "1"))
PARTS = (
    "arena",
    "device",
    "node",
    "program",
    "group",
    "ways",
    "fold",
    "fold_baseline",
    "fold_avx2",
    "fold_avx512",
)
# One line of the engine made wrong; the sanitizer must tell.
FAULTS = [
    pytest.param(
        "thread", "ways.cpp", "cell.turn.store(turn, std::memory_order_release)",
        "cell.turn.store(turn, std::memory_order_relaxed)", "ThreadSanitizer: data race", id="array-shown-too-early",
    ),
    pytest.param(
        "thread", "device.cpp", "slot.turn.store(++peer.sent, std::memory_order_seq_cst)",
        "slot.turn.store(++peer.sent, std::memory_order_relaxed)", "ThreadSanitizer: data race", id="slot-filled-too-early",
    ),
    pytest.param(
        "address,undefined", "device.cpp", "if (header.note + send.total <= kInline) {",
        "if (header.note + send.total <= kInline + 1) {",
        "AddressSanitizer: heap-buffer-overflow", id="message-longer-than-its-slot",
    ),
]  # fmt: skip

pytestmark = pytest.mark.timeout(900)


def unavailable(reason):
    """CI must have what these tests need; elsewhere they skip."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


def run(command, seconds, **environment):
    variables = {**os.environ, "RINGLEADER_CPU": "baseline", **environment}
    return subprocess.run(
        [str(word) for word in command], env=variables, timeout=seconds, check=False, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def compile_part(source, sanitizer, target):
    # kernels that RINGLEADER_CPU=baseline never calls need not be watched
    watch = [] if "avx" in source.name else [f"-fsanitize={sanitizer}"]
    warnings = ["-Wall", "-Wextra"] if source.parent == STRESS else []
    flags = ["-std=c++17", "-O1", "-g1", "-ffp-contract=off", f"-I{ENGINE}", *watch, *warnings]
    done = run(["g++", *flags, "-c", source, "-o", target], 600)
    assert done.returncode == 0, done.stdout
    assert not warnings or not done.stdout, done.stdout


def link(parts, sanitizer, target):
    done = run(["g++", f"-fsanitize={sanitizer}", "-pthread", *parts, "-o", target], 120)
    assert done.returncode == 0, done.stdout
    return target


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    """launcher(sanitizer): what to put before a command so that it runs with this sanitizer; [] if nothing."""
    if shutil.which("g++") is None:
        unavailable("needs g++")
    folder = tmp_path_factory.mktemp("trial")
    (folder / "trial.cpp").write_text("int main() {}\n")

    def find(sanitizer):
        trial = folder / sanitizer
        built = run(["g++", f"-fsanitize={sanitizer}", folder / "trial.cpp", "-o", trial], 120)
        if built.returncode != 0:
            unavailable(f"g++ has no {sanitizer} sanitizer: {built.stdout[-300:]}")
        # some kernels place memory more randomly than older sanitizers can bear
        for before in ([], ["setarch", "-R"]):
            if (not before or shutil.which(before[0])) and run([*before, trial], 60).returncode == 0:
                return before
        return unavailable(f"programs with the {sanitizer} sanitizer do not run here")

    return find


@pytest.fixture(scope="module")
def built(tmp_path_factory, launcher):
    """built(sanitizer): the folder with the engine's and the stress test's objects, each compiled once."""
    folders = {}

    def build(sanitizer):
        launcher(sanitizer)
        if sanitizer not in folders:
            folder = tmp_path_factory.mktemp("objects")
            sources = [STRESS / "main.cpp", *(ENGINE / f"{part}.cpp" for part in PARTS)]
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda s: compile_part(s, sanitizer, folder / f"{s.stem}.o"), sources))
            folders[sanitizer] = folder
        return folders[sanitizer]

    return build


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Every algorithm's programs for these rank counts, as the stress test reads them."""
    try:
        from helpers.programs_file import write_programs
    except ImportError as error:
        unavailable(f"the engine is not built: {error}")
    path = tmp_path_factory.mktemp("programs") / "programs.txt"
    assert write_programs(path, RANKS) > 1000
    return path


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_the_engine_is_clean(sanitizer, built, launcher, programs, tmp_path):
    stress = link(sorted(built(sanitizer).glob("*.o")), sanitizer, tmp_path / "stress")
    for n in RANKS:
        done = run([*launcher(sanitizer), stress, programs, n, SEED, SECONDS], SECONDS + 300)
        assert done.returncode == 0, done.stdout[-6000:]
        assert done.stdout.count("\n") == 1 and done.stdout.endswith("all right\n"), done.stdout[-6000:]


@pytest.mark.parametrize(("sanitizer", "name", "right", "wrong", "report"), FAULTS)
def test_a_planted_fault_is_found(sanitizer, name, right, wrong, report, built, launcher, programs, tmp_path):
    text = (ENGINE / name).read_text()
    assert text.count(right) == 1, f"{name} has changed: plant the fault elsewhere"
    source = tmp_path / name
    source.write_text(text.replace(right, wrong))
    compile_part(source, sanitizer, tmp_path / "planted.o")
    others = [part for part in sorted(built(sanitizer).glob("*.o")) if part.stem != source.stem]
    stress = link([*others, tmp_path / "planted.o"], sanitizer, tmp_path / "stress")
    found = ""
    for seed in range(1, 6):  # which draws reach the fault is chance
        done = run([*launcher(sanitizer), stress, programs, 3, seed, 4], 300, TSAN_OPTIONS="halt_on_error=1")
        found += done.stdout
        if report in found:
            return
    pytest.fail(found[-6000:])
