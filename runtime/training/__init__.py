"""Data sets, tasks, the training loop, metrics."""

from ringleader.runtime.training.config import TrainConfig
from ringleader.runtime.training.data import (
    Data,
    Dataset,
    Description,
    global_batches,
    load,
    load_digits,
    load_mnist,
    shard,
)
from ringleader.runtime.training.loop import Metrics, Result, StepInfo, evaluate, run, train
from ringleader.runtime.training.optimizers import make_optimizer, make_schedule
from ringleader.runtime.training.sample import sample
from ringleader.runtime.training.tasks import Scores, Task

__all__ = [
    "Data", "Dataset", "Description", "Metrics", "Result", "Scores", "StepInfo", "Task", "TrainConfig", "evaluate",
    "global_batches", "load", "load_digits", "load_mnist", "make_optimizer", "make_schedule", "run", "sample", "shard",
    "train",
]  # fmt: skip
