"""Models, as their papers give them."""

if __name__ != "ringleader.models":
    raise ImportError("this folder is the package ringleader.models: write 'import ringleader.models'")

from ringleader.models.bigram import Bigram
from ringleader.models.lenet5 import LeNet5
from ringleader.models.logistic import LogisticRegression
from ringleader.models.mlp import MLP
from ringleader.models.registry import MODELS, SIZES, build, configure, ignored
from ringleader.models.saved import load_model, save_model

__all__ = [
    "MLP", "MODELS", "SIZES", "Bigram", "LeNet5", "LogisticRegression", "build", "configure", "ignored", "load_model",
    "save_model",
]  # fmt: skip
