"""Run the commands that README.md, CONTRIBUTING.md and docs/ show, so that docs and CI cannot drift apart.

A fenced block behind a line ``<!-- ci:NAME -->`` is run with bash, from the root of a fresh clone and in
the virtual environment NAME, which is made empty the first time its name comes up. A Python block is
written to a file and run there. An output block (no language) behind ``<!-- ci:NAME expect -->`` must be
what the block before it printed.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"<!-- ci:(\w+)( expect)? -->\n```(\w*)\n(.*?)```", re.S)
SECONDS = 4000  # the longest is the whole test suite: 40 minutes of work for one core, half as long on two


def clone(folder: Path) -> Path:
    """What is committed, plus what is not yet (so that the checks can be tried before a commit)."""
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True,
    ).stdout.decode().split("\0")  # fmt: skip
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
            (folder / name).chmod((ROOT / name).stat().st_mode)
    return folder


def plain_environment(text: str) -> dict[str, str]:
    """A reader's environment; who types mpirun as root (CI does) must have said that it is meant."""
    root = ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM") if text.startswith("mpirun") else ()
    hidden = ("PYTHONPATH", "OMP_NUM_THREADS")
    return {k: v for k, v in os.environ.items() if k not in hidden} | dict.fromkeys(root, "1")


def run(language: str, text: str, name: str, work: Path) -> str:
    environment, checkout = work / name, work / f"{name}-clone"
    if not environment.exists():
        venv.create(environment, with_pip=True)
        clone(checkout)
    if language == "python":
        (work / "example.py").write_text(text)
        text = f"python {work / 'example.py'}"
    script = f"set -euo pipefail\n. {environment}/bin/activate\n{text}"
    print(f"\n--- {name}: {text}", flush=True)
    done = subprocess.Popen(
        ["bash", "-c", script], cwd=checkout, env=plain_environment(text), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    assert done.stdout is not None
    end = threading.Timer(SECONDS, os.killpg, (done.pid, signal.SIGTERM))
    end.start()
    printed = []
    try:
        for line in done.stdout:
            print(line, end="", flush=True)
            printed.append(line)
        done.wait()
    finally:
        end.cancel()
        if done.poll() is None:  # Ctrl-C
            os.killpg(done.pid, signal.SIGTERM)
    if done.returncode == -signal.SIGTERM:
        sys.exit(f"not done after {SECONDS} s: {text}")
    if done.returncode:
        sys.exit(f"exit code {done.returncode} of: {text}")
    return "".join(printed)


def main() -> None:
    work = Path(sys.argv[1]).resolve()
    work.mkdir(parents=True)
    printed = ""
    blocks = 0
    for doc in DOCS:
        for name, expect, language, text in BLOCK.findall((ROOT / doc).read_text()):
            blocks += 1
            if expect:
                if printed.strip() != text.strip():
                    sys.exit(f"{doc} shows\n{text}\nbut the command printed\n{printed}")
            else:
                printed = run(language, text, name, work)
    if not blocks:
        sys.exit("no commands found: the docs have lost their <!-- ci:NAME --> marks")


if __name__ == "__main__":
    main()
