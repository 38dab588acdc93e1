"""Who is measured: Ringleader, and the libraries it is measured against, each in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

WORKER = Path(__file__).with_name("worker.py")
READY = "ready"  # a file that says that an environment is complete
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
OURS = (
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
)  # variables of our environment that would lead astray in others

Launcher = Callable[[int, list[str]], list[str]]  # what starts a program on so many ranks


@dataclass(frozen=True)
class Contestant:
    """``library``: as worker.py calls it. ``packages``: of its own environment; none: it lives in ours."""

    name: str
    library: str
    packages: tuple[str, ...] = ()

    def python(self, peers: Path) -> Path:
        """Its interpreter; peers' environments are folders of ``peers``."""
        return peers / self.name / "bin" / "python" if self.packages else Path(sys.executable)

    def commands(self, n: int, address: Path, peers: Path, launcher: Launcher) -> list[list[str]]:
        """What starts its ``n`` ranks, which will connect to ``address``."""
        program = [str(self.python(peers)), str(WORKER), str(address), self.library]
        if self.library == "gloo":  # needs no launcher
            return [[*program, str(rank), str(n)] for rank in range(n)]
        return [launcher(n, program)]

    def environment(self) -> dict[str, str]:
        """One thread a rank, so that no library gets more cores than another; and the modules that it should find:
        its own alone, or those of the very Ringleader that asks."""
        made = dict.fromkeys(THREADS, "1") | {"PYTHONSAFEPATH": "1"}  # not those beside worker.py
        if self.packages:
            return {k: v for k, v in os.environ.items() if k not in OURS} | made
        home = str(Path(sys.modules["ringleader"].__path__[0]).parent)
        path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
        return {**os.environ, **made, "PYTHONPATH": path}

    def missing(self, peers: Path) -> str | None:
        """What to do if it is not installed."""
        if not self.packages or (peers / self.name / READY).is_file():
            return None
        return f"not installed in {peers / self.name}; add --setup, which does it by pip"

    def set_up(self, peers: Path) -> None:
        """Make its environment. CalledProcessError if pip fails, which then has said why."""
        if self.missing(peers) is None:
            return
        folder = peers / self.name
        venv.create(folder, clear=True, with_pip=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *self.packages]
        subprocess.run(pip, check=True, stdout=sys.stderr, env=self.environment())
        (folder / READY).touch()


RINGLEADER = Contestant("ringleader", "ringleader")
PEERS = {
    peer.name: peer
    for peer in (
        Contestant("mpi", "mpi"),  # the MPI that mpi4py uses here
        Contestant("mpich", "mpi", ("mpi4py", "mpich", "numpy")),
        Contestant("openmpi", "mpi", ("mpi4py", "openmpi", "numpy")),
        Contestant("gloo", "gloo", ("torch", "numpy")),
    )
}


def default_peers() -> Path:
    """Where the peers' environments are, unless someone says otherwise."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "ringleader" / "peers"


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
