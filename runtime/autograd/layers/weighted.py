"""What layers with a weight and a bias share."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import DTypeLike
from ringleader.runtime.autograd.module import Module, Parameter
from ringleader.runtime.autograd.op import Array


def uniform(generator: np.random.Generator, bound: float, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Uniform in [-bound, bound). Drawn in float64, so that both dtypes start from the same weights."""
    drawn: Array = generator.uniform(-bound, bound, shape).astype(dtype)
    return drawn


class Weighted(Module):
    """weight of ``shape`` and bias (features,) or None, both uniform in +-1/sqrt(product of shape[1:])."""

    def __init__(
        self,
        shape: tuple[int, ...],
        features: int,
        bias: bool,
        generator: np.random.Generator,
        dtype: DTypeLike,
    ) -> None:
        bound = 1 / max(1, prod(shape[1:])) ** 0.5
        self.weight = Parameter(uniform(generator, bound, shape, dtype))
        self.bias = Parameter(uniform(generator, bound, (features,), dtype)) if bias else None
