"""The ops. Importing this package fills the table."""

from ringleader.runtime.autograd.ops import (
    activation,
    arithmetic,
    convolution,
    loss,
    matmul,
    movement,
    native_activation,
    pooling,
    reduction,
)

__all__ = [
    "activation",
    "arithmetic",
    "convolution",
    "loss",
    "matmul",
    "movement",
    "native_activation",
    "pooling",
    "reduction",
]
