"""The ops. Importing this package fills the table."""

from ringleader.runtime.autograd.ops import (
    activation,
    arithmetic,
    attention,
    convolution,
    loss,
    matmul,
    movement,
    pieces,
    pooling,
    recurrent,
    reduction,
    rotary,
)

__all__ = [
    "activation", "arithmetic", "attention", "convolution", "loss", "matmul", "movement", "pieces", "pooling",
    "recurrent", "reduction", "rotary",
]  # fmt: skip
