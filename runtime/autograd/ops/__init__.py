"""The ops. Importing this package fills the table."""

from ringleader.runtime.autograd.ops import (
    activation,
    arithmetic,
    convolution,
    dropout,
    embedding,
    linear,
    loss,
    matmul,
    movement,
    normalization,
    pooling,
    reduction,
    softmax,
)

__all__ = [
    "activation", "arithmetic", "convolution", "dropout", "embedding", "linear", "loss", "matmul", "movement",
    "normalization", "pooling", "reduction", "softmax",
]  # fmt: skip
