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
    """weight (out, ...) and bias (out,) or None, both uniform in +-1/sqrt(fan-in)."""

    def __init__(
        self, shape: tuple[int, ...], bias: bool, generator: np.random.Generator, dtype: DTypeLike
    ) -> None:
        bound = 1 / max(1, prod(shape[1:])) ** 0.5
        self.weight = Parameter(uniform(generator, bound, shape, dtype))
        self.bias = Parameter(uniform(generator, bound, shape[:1], dtype)) if bias else None
