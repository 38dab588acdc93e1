"""Multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

import numpy as np
from numpy.typing import DTypeLike
from ringleader.runtime.autograd import Flatten, Linear, Module, ReLU, Sequential, Tanh, Tensor

ACTIVATIONS = {"tanh": Tanh, "relu": ReLU}


class MLP(Module):
    """x (N, ...) with ``in_features`` numbers per sample -> (N, outputs): layers that are linear, an activation after
    each but the last.

    The sizes 300-100 are the best fully connected network with two hidden layers of LeCun, Bottou, Bengio and Haffner
    1998 (Section III.C.4). Initial weights are uniform with variance 1/fan-in for "tanh" (LeCun, Bottou, Orr and
    Müller, "Efficient BackProp", 1998) and 2/fan-in for "relu" (He, Zhang, Ren and Sun 2015), biases zero.
    ValueError: an unknown activation, or a size below 1.
    """

    def __init__(
        self, generator: np.random.Generator, dtype: DTypeLike = np.float32, *,
        in_features: int = 32 * 32, outputs: int = 10, hidden: Sequence[int] = (300, 100), activation: str = "tanh",
    ) -> None:  # fmt: skip
        if activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {activation!r}; known: {', '.join(ACTIVATIONS)}")
        if min(hidden, default=1) < 1:
            raise ValueError(f"hidden sizes must be at least 1, they are {tuple(hidden)}")
        layers: list[Module] = [Flatten()]
        for fan_in, fan_out in pairwise([in_features, *hidden, outputs]):
            layer = Linear(fan_in, fan_out, generator=generator, dtype=dtype)
            bound = sqrt((6 if activation == "relu" else 3) / fan_in)
            layer.weight.data[...] = generator.uniform(-bound, bound, layer.weight.shape)
            if layer.bias is not None:
                layer.bias.data[...] = 0
            layers += [layer, ACTIVATIONS[activation]()]
        self.layers = Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits
