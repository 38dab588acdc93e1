"""One rank of a job: ``python -m ringleader.bench.leader.worker SOCKET``; does what the orchestrator's orders say.

An order goes to all ranks. Their answers say when it began and ended there, "span". Those that have no part in it answer
None at once and sleep on, so that dedicated servers take no core from an AllReduce of the workers. All arrays that are
exchanged lie in memory that the node's ranks share.

Each runs as it runs best: collectives and copies with every rank on a core of its own, as far as there are cores (see
``stay`` in bench/worker.py), the parameter server wherever the system puts them (measured: half the time).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ringleader.bench.leader import training
from ringleader.bench.worker import contents, handing, obey, shared_file, stay
from ringleader.collectives import Schedule, build
from ringleader.runtime.comm import Communicator, init
from ringleader.runtime.comm.leader import ParameterServer

DTYPE = np.dtype(np.float32)
WARM_UP = 2  # calls before those that are timed
Arrays = tuple[NDArray[Any], NDArray[Any]]


class Rank:
    def __init__(self) -> None:
        self.world = init()
        self.rank, self.size = self.world.rank, self.world.size
        self.cores = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else None
        self.groups: dict[int, Communicator | None] = {}
        self.arrays: dict[str, tuple[int, Arrays]] = {}

    def hello(self) -> dict[str, Any]:
        return {"transport": self.world.transport, "numpy": np.__version__, "python": sys.version.split()[0]}

    def push_pull(
        self, ranks: int, servers: int, colocated: bool, nbytes: int, iterations: int
    ) -> dict[str, Any]:
        """Start and end of ``iterations`` of: push ``nbytes``, pull what the sum of all workers' is, clock; by the first
        ``ranks`` ranks. And how many elements of the last sum were wrong."""
        group = self._group(ranks)
        if group is None:
            return {"span": None}
        self._stay(False)
        server = ParameterServer(group, servers, reduction="sum", colocated=colocated)
        span, wrong = None, 0
        if server.is_worker:
            count, number = len(server.workers), server.workers.index(self.rank)
            gradient, out = self._pair("exchanged", nbytes)
            code = contents(0, 0, gradient.size, DTYPE.name)
            gradient[...] = code + number
            server.init({"w": gradient})

            def iterate() -> None:
                server.push_pull("w", gradient, out=out).wait()
                server.clock()

            span = _timed(iterate, iterations, server.barrier)
            wrong = int(np.count_nonzero(out != count * code + count * (count - 1) // 2))
        server.close()
        return {"span": span, "wrong": wrong}

    def collective(self, name: str, algorithm: str, options: dict[str, int], ranks: int, nbytes: int, iterations: int,
                   ) -> dict[str, Any]:  # fmt: skip
        """Start and end of so many calls on the first ``ranks`` ranks; a rank gives ``nbytes``, or a block of ``nbytes``
        where it gives or gets one of each rank."""
        group = self._group(ranks)
        if group is None:
            return {"span": None}
        self._stay(True)
        how = algorithm if algorithm == "auto" else build(name, algorithm, ranks, **options)
        call = self._call(group, name, how, nbytes)
        return {"span": _timed(call, iterations, group.barrier)}

    def copy(self, nbytes: int, iterations: int) -> dict[str, Any]:
        """Start and end of copying ``nbytes`` so many times, on all ranks at once."""
        self._stay(True)
        source, target = self._private(nbytes)
        source[...] = 1
        return {"span": _timed(partial(np.copyto, target, source), iterations, self.world.barrier)}

    def share(self, nbytes: int) -> dict[str, Any]:
        """Rank 0 makes memory that all ranks can map, ``nbytes`` for each, and says where it is."""
        return {"path": None if self.rank else shared_file(self.size * nbytes)}

    def hand(self, path: str, nbytes: int, iterations: int) -> dict[str, Any]:
        """Start and end of so many turns of ``handing``, of ``nbytes`` a rank, in the memory that ``share`` made."""
        self._stay(True)
        shared = np.memmap(path, DTYPE, "r+", shape=(self.size, nbytes // DTYPE.itemsize))
        return {
            "span": _timed(handing(shared, self.rank, self.world.barrier), iterations, self.world.barrier)
        }

    def fold(self, nbytes: int, iterations: int) -> dict[str, Any]:
        """Start and end of as many sums of two arrays, on rank 0 alone."""
        if self.rank:
            return {"span": None}
        total, other = self._private(nbytes)
        total[...] = other[...] = 0
        return {"span": _timed(partial(np.add, total, other, out=total), iterations)}

    def train(self, mode: str, staleness: int | None, **options: Any) -> dict[str, Any]:
        """See ``by_server``; mode "ring": ``by_allreduce``, on all ranks but the last."""
        self._stay(False)
        if mode != "ring":
            return training.by_server(self.world, mode, staleness, **options)
        group = self._group(self.size - 1)
        if group is None:
            return {"ends": [], "start": 0.0, "at": [], "losses": []}
        return training.by_allreduce(group, **options)

    # Behind them

    def _stay(self, on_one_core: bool) -> None:
        if self.cores and on_one_core:
            stay(self.rank)
        elif self.cores:
            os.sched_setaffinity(0, self.cores)

    def _call(self, group: Communicator, name: str, how: str | Schedule, nbytes: int) -> Callable[[], Any]:
        n = group.size
        one, other = self._pair("exchanged", nbytes * n if name != "allreduce" else nbytes)
        one[...] = other[...] = 0
        block = one.size // n
        if name == "allgather":
            return partial(group.allgather, one[:block], out=other, algorithm=how)
        if name == "gather":
            got = other if group.rank == 0 else None
            return partial(group.gather, one[:block], out=got, algorithm=how)
        if name == "reduce_scatter":
            return partial(group.reduce_scatter, one, out=other[:block], algorithm=how)
        return partial(group.allreduce, one, out=other, algorithm=how)

    def _group(self, ranks: int) -> Communicator | None:
        if ranks not in self.groups:
            self.groups[ranks] = self.world.split(0 if self.rank < ranks else None)
        return self.groups[ranks]

    def _pair(self, name: str, nbytes: int) -> Arrays:
        """Two arrays that all can read; the memory of the last pair of that name is free if it was of another size."""
        if self.arrays.get(name, (-1,))[0] != nbytes:
            self.arrays.pop(name, None)
            shape = (nbytes // DTYPE.itemsize,)
            self.arrays[name] = nbytes, (self.world.empty(shape, DTYPE), self.world.empty(shape, DTYPE))
        return self.arrays[name][1]

    def _private(self, nbytes: int) -> Arrays:
        if self.arrays.get("private", (-1,))[0] != nbytes:
            count = nbytes // DTYPE.itemsize
            self.arrays["private"] = nbytes, (np.empty(count, DTYPE), np.empty(count, DTYPE))
        return self.arrays["private"][1]


def _timed(call: Callable[[], object], iterations: int, together: Callable[[], object] = lambda: None
) -> list[int]:  # fmt: skip
    """When so many calls began and ended, after some that warm up, in nanoseconds of a clock that all ranks of this node
    share. ``together``: begin when all ranks do."""
    for _ in range(WARM_UP):
        call()
    together()
    start = time.perf_counter_ns()
    for _ in range(iterations):
        call()
    return [start, time.perf_counter_ns()]


if __name__ == "__main__":
    obey(sys.argv[1], Rank, pinned=False)
