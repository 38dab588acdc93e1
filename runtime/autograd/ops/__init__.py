"""The ops. Importing this package fills the table."""

from ringleader.runtime.autograd.ops import (
    activation,
    arithmetic,
    attention,
    convolution,
    loss,
    matmul,
    movement,
    pooling,
    recurrent,
    reduction,
)

__all__ = [
    "activation", "arithmetic", "attention", "convolution", "loss", "matmul", "movement", "pooling", "recurrent",
    "reduction",
]  # fmt: skip
