"""Multinomial logistic regression."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike
from ringleader.runtime.autograd import Flatten, Linear, Module, Tensor


class LogisticRegression(Module):
    """One linear map; its softmax is the probability of each class (it is in the loss, cross_entropy).

    x (N, ...) with ``in_features`` numbers per sample -> logits (N, classes). Weights start at zero: the
    loss is convex, so no symmetry has to be broken, and every seed gives the same model.
    """

    def __init__(
        self, generator: np.random.Generator, dtype: DTypeLike = np.float32, *,
        in_features: int = 32 * 32, classes: int = 10,
    ) -> None:  # fmt: skip
        self.flatten = Flatten()
        self.linear = Linear(in_features, classes, generator=generator, dtype=dtype)
        for parameter in self.parameters():
            parameter.data[...] = 0

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.flatten(x))
        return logits
