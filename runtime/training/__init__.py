"""Data shards, the training loop, metrics."""

from ringleader.runtime.training.config import TrainConfig
from ringleader.runtime.training.data import Dataset, global_batches, load_digits, shard
from ringleader.runtime.training.loop import Metrics, Result, StepInfo, evaluate, make_optimizer, run, train

__all__ = [
    "Dataset", "Metrics", "Result", "StepInfo", "TrainConfig", "evaluate", "global_batches", "load_digits",
    "make_optimizer", "run", "shard", "train",
]  # fmt: skip
