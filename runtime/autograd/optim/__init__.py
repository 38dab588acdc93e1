"""Optimisers, gradient clipping and learning-rate schedules, with PyTorch's names, defaults and formulas."""

from ringleader.runtime.autograd.optim.adagrad import Adagrad
from ringleader.runtime.autograd.optim.adam import Adam, AdamW
from ringleader.runtime.autograd.optim.clip import clip_grad_norm_, clip_grad_value_
from ringleader.runtime.autograd.optim.flat import flatten_parameters
from ringleader.runtime.autograd.optim.lamb import LAMB
from ringleader.runtime.autograd.optim.optimizer import Optimizer
from ringleader.runtime.autograd.optim.schedule import (
    ConstantLR,
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    Schedule,
    StepLR,
    Warmup,
)
from ringleader.runtime.autograd.optim.sgd import SGD

__all__ = [
    "LAMB", "SGD", "Adagrad", "Adam", "AdamW", "ConstantLR", "CosineAnnealingLR", "LambdaLR", "LinearLR",
    "Optimizer", "Schedule", "StepLR", "Warmup", "clip_grad_norm_", "clip_grad_value_", "flatten_parameters",
]  # fmt: skip
