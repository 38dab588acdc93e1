"""Types (mypy) and layers (import-linter) of the package as users get it.

With mapped folders both tools see nothing in a checkout or an editable install and report success, so they
run on the unpacked wheel; and to know that they look, a type error and upward imports (of a higher floor, of
the front door) are planted in copies of it, and each must be found.
"""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def types(folder: Path) -> subprocess.CompletedProcess[str]:
    config = ROOT / "pyproject.toml"
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), "ringleader"]
    return subprocess.run(command, cwd=folder, text=True, capture_output=True, check=False)


def layers(folder: Path) -> subprocess.CompletedProcess[str]:
    config = ROOT / ".ci" / "layers.ini"
    command = ["lint-imports", "--config", str(config), "--no-cache"]
    return subprocess.run(command, cwd=folder, text=True, capture_output=True, check=False)


def planted(wheel: Path, work: Path, name: str, line: str) -> Path:
    """A copy of the wheel with one more line in collectives/registry.py."""
    shutil.copytree(wheel, work / name)
    with open(work / name / "ringleader" / "collectives" / "registry.py", "a") as module:
        module.write(f"\n{line}\n")
    return work / name


def main() -> None:
    work = Path(sys.argv[1]).resolve()
    work.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(work), str(ROOT)]
    subprocess.run(command, check=True)
    (built,) = work.glob("*.whl")
    wheel = work / "unpacked"
    zipfile.ZipFile(built).extractall(wheel)

    failed = False
    for check in (types, layers):
        done = check(wheel)
        print(done.stdout, done.stderr)
        failed |= done.returncode != 0
    for check, name, line, trace in (
        (types, "wrong-type", 'planted: int = "a type error"', "registry.py"),
        (layers, "upward-import", "import ringleader.runtime.comm.errors", "registry -> ringleader.runtime"),
        (layers, "front-door", "from ringleader import verify", "registry -> ringleader (l."),
    ):
        folder = planted(wheel, work, name, line)
        done = check(folder)
        found = done.returncode != 0 and trace in done.stdout
        print(f"{name}: {'found' if found else 'NOT FOUND: ' + done.stdout}")
        failed |= not found
    sys.exit(failed)


if __name__ == "__main__":
    main()
