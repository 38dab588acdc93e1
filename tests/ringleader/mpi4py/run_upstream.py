"""Run mpi4py's own test modules with ``mpi4py.MPI`` replaced by ours; started under mpirun by test_upstream.py.

usage: run_upstream.py TESTS REPORT MODULE...

TESTS: the folder of mpi4py's tests. Rank r writes to REPORT.r what unittest found, what the counter counted and
how many programs the runtime really started.
"""

import json
import sys
import unittest
from pathlib import Path

import mpi4py
from ringleader.mpi4py import MPI, counter
from ringleader.runtime.comm.caller import Caller

started = {"programs": 0, "vendor": 0}


def count(method: str, key: str) -> None:
    original = getattr(Caller, method)

    def counted(self, *args, **kwargs):
        started[key] += 1
        return original(self, *args, **kwargs)

    setattr(Caller, method, counted)


def main(tests: str, report: str, modules: list[str]) -> None:
    count("_start", "programs")
    count("_vendor", "vendor")
    sys.modules["mpi4py.MPI"] = mpi4py.MPI = MPI
    sys.path.insert(0, tests)
    suite = unittest.defaultTestLoader.loadTestsFromNames(modules)
    result = unittest.TextTestRunner(verbosity=0).run(suite)
    found = {
        "run": result.testsRun,
        "failed": [f"{test}\n{text}" for test, text in result.failures + result.errors],
        "skipped": [str(test) for test, _ in result.skipped],
        "routed": dict(counter.routed),
        "passed": dict(counter.passed),
        "started": started,
    }
    Path(f"{report}.{MPI.COMM_WORLD.rank}").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
