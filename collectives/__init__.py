"""What to communicate: schedules, algorithms, their proof and their price. Pure Python and numpy."""

if __name__ != "ringleader.collectives":
    raise ImportError(
        "this folder is the package ringleader.collectives: write 'import ringleader.collectives'"
    )

from ringleader.collectives import library as _library  # noqa: F401  (its algorithms register)
from ringleader.collectives.bounds import Bounds, bounds
from ringleader.collectives.collective import COLLECTIVES, Collective, Promise
from ringleader.collectives.cost import Cost, cost, cost_of
from ringleader.collectives.count import Count, count
from ringleader.collectives.exchange import export_msccl, export_trace, import_msccl
from ringleader.collectives.lower import lower
from ringleader.collectives.program import Program
from ringleader.collectives.registry import algorithm, algorithms, build, find, variants
from ringleader.collectives.schedule import Round, Schedule, Transfers, copy, fold, fragment, together
from ringleader.collectives.simulate import LogGP, Simulation, simulate
from ringleader.collectives.topology import Topology, topology
from ringleader.collectives.tuning import Model, Table, tune
from ringleader.collectives.verify import Verdict, VerificationError, verify
from ringleader.collectives.verify_programs import verify_programs

__all__ = [
    "COLLECTIVES", "Bounds", "Collective", "Cost", "Count", "LogGP", "Model", "Program", "Promise", "Round",
    "Schedule", "Simulation", "Table", "Topology", "Transfers", "Verdict", "VerificationError", "algorithm",
    "algorithms", "bounds", "build", "copy", "cost", "cost_of", "count", "export_msccl", "export_trace", "find",
    "fold", "fragment", "import_msccl", "lower", "simulate", "together", "topology", "tune", "variants", "verify",
    "verify_programs",
]  # fmt: skip
