"""AllReduce side by side with the MPI library's own: ``mpirun -n 2 python -m ringleader.bench.allreduce``.

All algorithms are timed in turn within each repeat, so that noise of the machine hits all alike; shown are
medians over repeats of the slowest rank's time. busbw is the bus bandwidth of nccl-tests: bytes x 2(n-1)/n
over time. The ratio is the vendor's median over ours: above 1 we are faster. The vendor is called directly
through mpi4py, without our checks.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
from ringleader.collectives import algorithms
from ringleader.runtime.comm import Communicator, init

SIZES = [4 << (2 * i) for i in range(12)]  # bytes: 4 B ... 16 MB
REPEATS = 7
BUDGET = 0.02  # seconds that one measurement should last


def measure(world: Communicator, call: Callable[[], object], iterations: int) -> float:
    """Seconds a call, on the slowest rank."""
    world.barrier()
    start = time.perf_counter()
    for _ in range(iterations):
        call()
    elapsed = np.array([(time.perf_counter() - start) / iterations])
    return float(world.allreduce(elapsed, "max")[0])


def calls(world: Communicator, x: np.ndarray) -> dict[str, Callable[[], object]]:
    from mpi4py import MPI

    ours = {name: (lambda name=name: world.allreduce(x, algorithm=name)) for name in algorithms("allreduce")}
    return {"vendor": lambda: MPI.COMM_WORLD.Allreduce(MPI.IN_PLACE, x), **ours}


def main() -> None:
    world = init()
    if world.size == 1:
        raise SystemExit("start it on several ranks: mpirun -n 2 python -m ringleader.bench.allreduce")
    if world.rank == 0:
        print(f"{'bytes':>9} {'algorithm':<20} {'time us':>10} {'busbw GB/s':>10} {'ratio':>6}")
    for size in SIZES:
        x = np.zeros(size // 4, np.float32)
        timed = calls(world, x)
        first = {name: measure(world, call, 1) for name, call in timed.items()}  # also warms up
        counts = {name: max(1, min(1000, int(BUDGET / seconds))) for name, seconds in first.items()}
        runs: dict[str, list[float]] = {name: [] for name in timed}
        for _ in range(REPEATS):
            for name, call in timed.items():
                runs[name].append(measure(world, call, counts[name]))
        medians = {name: statistics.median(times) for name, times in runs.items()}
        for name, median in medians.items():
            bus = size * 2 * (world.size - 1) / world.size / median / 1e9
            if world.rank == 0:
                ratio = medians["vendor"] / median
                print(f"{size:>9} {name:<20} {median * 1e6:>10.1f} {bus:>10.2f} {ratio:>6.2f}", flush=True)


if __name__ == "__main__":
    main()
