"""Dropout."""

from __future__ import annotations

import numpy as np
from ringleader.runtime.autograd import functional
from ringleader.runtime.autograd.module import Module
from ringleader.runtime.autograd.tensor import Tensor


class Dropout(Module):
    """In training each element becomes 0 with probability p, see functional.dropout; otherwise the identity.

    The ``generator`` should be the layer's own, not that of weights or data: then its masks depend on
    nothing but its seed and how often it was called in training.
    """

    def __init__(self, p: float = 0.5, *, generator: np.random.Generator) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"dropout: p must be in 0..1, it is {p}")
        self.p, self.generator = p, generator

    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.p, self.training, generator=self.generator)
