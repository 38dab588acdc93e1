"""What layers with a weight and a bias share."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import DTypeLike
from ringleader.runtime.autograd.init import uniform_
from ringleader.runtime.autograd.module import Module, Parameter


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

        def drawn(*shape: int) -> Parameter:
            parameter = Parameter(np.empty(shape, dtype))
            uniform_(parameter, -bound, bound, generator=generator)
            return parameter

        self.weight = drawn(*shape)
        self.bias = drawn(features) if bias else None
