"""Which algorithm to run: candidates, what they are predicted to take, and tables of the best."""

from ringleader.collectives.tuning.choice import VENDOR, Choice, Key, Range, Timed, candidates
from ringleader.collectives.tuning.model import Model, Prediction, Predictor
from ringleader.collectives.tuning.rank import choose, ranked
from ringleader.collectives.tuning.simulated import Simulated
from ringleader.collectives.tuning.table import Found, Table, Why, tune

__all__ = [
    "VENDOR", "Choice", "Found", "Key", "Model", "Prediction", "Predictor", "Range", "Simulated", "Table", "Timed",
    "Why", "candidates", "choose", "ranked", "tune",
]  # fmt: skip
