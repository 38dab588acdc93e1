"""How many threads a rank's libraries may use, so that the ranks of a node do not take the cores from each other."""

from __future__ import annotations

import os

from threadpoolctl import threadpool_limits


def threads_per_rank(ranks: int) -> int:
    """An even share of the cores this process may use."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        cores = os.cpu_count() or 1
    return max(1, cores // ranks)


def share_cores(ranks: int, threads: int | None = None) -> None:
    """Give BLAS and OpenMP in this process ``threads``; by default, unless OMP_NUM_THREADS says how many, its share as one
    of ``ranks`` on this node."""
    if threads is None:
        if "OMP_NUM_THREADS" in os.environ:
            return
        threads = threads_per_rank(ranks)
    threadpool_limits(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for what starts its threads later
