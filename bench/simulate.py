"""What simulating costs: ``python -m ringleader.bench.simulate [--most RANKS]``.

Each line is a process of its own, so that its peak memory is its own: seconds for building the schedule and
simulating it (median of three), and the peak resident memory of the process, numpy included.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time

from ringleader.collectives import build, registry, simulate, topology

NBYTES = 64 << 20
REPEATS = 3
RUNS: tuple[
    tuple[str, str, dict[str, int], str, tuple[int, ...]], ...
] = (  # model, algorithm, parameters, topology, rank counts
    ("rounds", "hierarchical", {"group": 64}, "fat-tree", (8, 128, 2048, 32768, 131072)),
    ("rounds", "ring", {}, "torus", (8, 128, 2048, 32768, 131072)),
    ("loggp", "hierarchical", {"group": 64}, "fat-tree", (8, 128, 1024, 4096)),
    ("loggp", "ring", {}, "torus", (8, 128, 1024, 4096)),
)


def one(run: int, n: int) -> None:
    """Measure one line and print it."""
    model, algorithm, parameters, where, _ = RUNS[run]
    seconds = []
    for _ in range(REPEATS):
        registry._build.cache_clear()
        start = time.perf_counter()
        done = simulate(
            build("allreduce", algorithm, n, **parameters), NBYTES, topology(where, ranks=n), model=model
        )
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    name = f"{algorithm} on {done.topology.name}"
    print(
        f"{model:<7}{n:>8}  {name:<34}{done.total * 1e3:>12.3f}{statistics.median(seconds):>10.2f}{peak:>9.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--most", type=int, default=1 << 30, metavar="RANKS", help="leave out what is larger")
    parser.add_argument("--one", type=int, nargs=2, metavar=("RUN", "RANKS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(*options.one)
        return
    print(
        f"{'model':<7}{'ranks':>8}  {'AllReduce of 64 MiB':<34}{'simulated ms':>12}{'takes s':>10}{'peak MB':>9}"
    )
    for number, run in enumerate(RUNS):
        for n in run[-1]:
            if n <= options.most:
                command = [sys.executable, "-m", "ringleader.bench.simulate", "--one", str(number), str(n)]
                subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
