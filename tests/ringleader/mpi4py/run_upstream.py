"""Run mpi4py's own test modules with ``mpi4py.MPI`` replaced by ours; started under mpirun by test_upstream.py.

usage: run_upstream.py TESTS REPORT STRIDE MODULE...

TESTS: the folder of mpi4py's tests. STRIDE: every STRIDE-th typecode of each kind of array is tried, each kind
beginning with another. Rank r writes to REPORT.r what unittest found, what the counter counted and how many programs
the runtime really ran.
"""

import json
import sys
import unittest
from pathlib import Path

import mpi4py
from ringleader.runtime.comm.caller import Caller

from ringleader.mpi4py import MPI, counter
from ringleader.mpi4py.communicators import queue_of

ran = {"programs": 0, "vendor": 0}


def count(owner: type, method: str, key: str) -> None:
    original = getattr(owner, method)

    def counted(self, *args, **kwargs):
        ran[key] += 1
        return original(self, *args, **kwargs)

    setattr(owner, method, counted)


def thin_out(stride: int) -> None:
    import arrayimpl

    for i, kind in enumerate(arrayimpl.ArrayBackends):
        kind.TypeMap = {code: kind.TypeMap[code] for code in list(kind.TypeMap)[i % stride :: stride]}


def main(tests: str, report: str, stride: str, modules: list[str]) -> None:
    count(Caller, "_start", "programs")
    count(Caller, "_native", "programs")
    count(Caller, "_vendor", "vendor")
    if queue_of(MPI.COMM_WORLD).world.transport.startswith("shm"):
        from ringleader.runtime.comm.engine import Engine

        count(Engine, "start", "programs")
    sys.modules["mpi4py.MPI"] = mpi4py.MPI = MPI
    sys.path.insert(0, tests)
    thin_out(int(stride))
    suite = unittest.defaultTestLoader.loadTestsFromNames(modules)
    result = unittest.TextTestRunner(verbosity=0).run(suite)
    found = {
        "ran": result.testsRun,
        "failed": [f"{test}\n{text}" for test, text in result.failures + result.errors],
        "skipped": {str(test): reason for test, reason in result.skipped},
        "routed": dict(counter.routed),
        "passed": dict(counter.passed),
        "runtime": ran,
    }
    Path(f"{report}.{MPI.COMM_WORLD.rank}").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
