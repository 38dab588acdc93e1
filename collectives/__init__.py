"""What to communicate: schedules, algorithms, their proof and their price. Pure Python and numpy."""

if __name__ != "ringleader.collectives":
    raise ImportError(
        "this folder is the package ringleader.collectives: write 'import ringleader.collectives'"
    )

from ringleader.collectives import library as _library  # noqa: F401  (its algorithms register)
from ringleader.collectives.collective import COLLECTIVES, Collective, Promise
from ringleader.collectives.count import Count, count
from ringleader.collectives.lower import lower
from ringleader.collectives.program import Program
from ringleader.collectives.registry import algorithm, algorithms, build, find, variants
from ringleader.collectives.schedule import Round, Schedule, Transfers, copy, fold, fragment, together
from ringleader.collectives.verify import Verdict, VerificationError, verify
from ringleader.collectives.verify_programs import verify_programs

__all__ = [
    "COLLECTIVES", "Collective", "Count", "Program", "Promise", "Round", "Schedule", "Transfers", "Verdict",
    "VerificationError", "algorithm", "algorithms", "build", "copy", "count", "find", "fold", "fragment",
    "lower", "together", "variants", "verify", "verify_programs",
]  # fmt: skip
