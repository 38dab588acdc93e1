"""Ranks, and position-and-rank-coded exact integers: element j of rank r holds j * STRIDE + r, so a lost,
doubled or misplaced chunk fails exact equality.

Under pytest alone ranks are threads; under mpirun (see test_under_mpirun.py) the same tests run on MPI.
"""

import os

import numpy as np
from ringleader.runtime.comm import init, spawn

UNDER_MPI = int(os.environ.get("RINGLEADER_TEST_RANKS", "0"))  # set by test_under_mpirun.py
RANKS = [UNDER_MPI] if UNDER_MPI else [1, 2, 3, 4, 5, 7, 8]
SIZES = [0, 1, 2, 13, 997, 20_000]
STRIDE = 1000


def on_ranks(n, fn):
    """Run fn(world) on n ranks; the results of those that live in this process."""
    if not UNDER_MPI:
        return spawn(n, fn, timeout=30)
    world = init(timeout=30)
    assert world.size == n
    return [fn(world)]


def coded(size, rank, dtype=np.int64):
    return (np.arange(size) * STRIDE + rank).astype(dtype)


def total(size, n):
    return np.arange(size) * STRIDE * n + n * (n - 1) // 2
