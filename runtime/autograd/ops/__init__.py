"""The ops. Importing this package fills the table."""

from ringleader.runtime.autograd.ops import (
    activation,
    arithmetic,
    comparison,
    convolution,
    einsum,
    elementwise,
    indexing,
    loss,
    matmul,
    movement,
    pooling,
    reduction,
)

__all__ = [
    "activation", "arithmetic", "comparison", "convolution", "einsum", "elementwise", "indexing", "loss", "matmul",
    "movement", "pooling", "reduction",
]  # fmt: skip
