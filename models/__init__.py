"""Models, as their papers give them."""

if __name__ != "ringleader.models":
    raise ImportError("this folder is the package ringleader.models: write 'import ringleader.models'")

import numpy as np
from numpy.typing import DTypeLike
from ringleader.models.lenet5 import LeNet5
from ringleader.models.logistic import LogisticRegression
from ringleader.runtime.autograd import Module

MODELS: dict[str, type[LeNet5] | type[LogisticRegression]] = {
    "lenet5": LeNet5,
    "logistic": LogisticRegression,
}


def build(name: str, generator: np.random.Generator, dtype: DTypeLike = np.float32) -> Module:
    """A new model, by name, its weights drawn from ``generator``. ValueError: unknown name."""
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(sorted(MODELS))}")
    return MODELS[name](generator, dtype)


__all__ = ["MODELS", "LeNet5", "LogisticRegression", "build"]
