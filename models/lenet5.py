"""LeNet-5: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE 86 (11), 1998."""

from __future__ import annotations

from math import prod, sqrt

import numpy as np
from numpy.typing import DTypeLike
from ringleader.runtime.autograd import AvgPool2d, Conv2d, Flatten, Linear, Module, Tensor, scaled_tanh


class LeNet5(Module):
    """x (N, 1, 32, 32), background -0.1 and ink 1.175 -> logits (N, 10).

    As in the paper: the layers and their sizes, and the squashing function 1.7159 tanh(2x/3) after each
    of them (Appendix A).

    Otherwise than in the paper:
    - C3: each of its maps sees all 6 maps of S2; the paper's Table I leaves out 36 of the 96 connections.
    - S2, S4: the mean of 2x2 pixels; the paper multiplies it by a trainable coefficient, adds a trainable
      bias, and squashes the result.
    - Output: a linear layer with softmax cross-entropy; the paper has Euclidean radial basis functions
      with fixed 7x12 bitmaps as centres, and its own loss (Eq. 9).
    - Initial weights: uniform with standard deviation 1/sqrt(fan-in), biases zero, as in LeCun, Bottou,
      Orr, Müller, "Efficient BackProp", 1998. The paper's +-2.4 / fan-in is so small here that learning
      takes many epochs to start unless each weight has its own learning rate, as the paper's have
      (stochastic diagonal Levenberg-Marquardt, Appendix C).
    """

    def __init__(self, generator: np.random.Generator, dtype: DTypeLike = np.float32) -> None:
        self.c1 = Conv2d(1, 6, 5, generator=generator, dtype=dtype)
        self.s2 = AvgPool2d(2)
        self.c3 = Conv2d(6, 16, 5, generator=generator, dtype=dtype)
        self.s4 = AvgPool2d(2)
        self.c5 = Conv2d(16, 120, 5, generator=generator, dtype=dtype)
        self.flatten = Flatten()
        self.f6 = Linear(120, 84, generator=generator, dtype=dtype)
        self.output = Linear(84, 10, generator=generator, dtype=dtype)
        for layer in (self.c1, self.c3, self.c5, self.f6, self.output):
            bound = sqrt(3 / prod(layer.weight.shape[1:]))  # a standard deviation of 1/sqrt(fan-in)
            layer.weight.data[...] = generator.uniform(-bound, bound, layer.weight.shape)
            if layer.bias is not None:
                layer.bias.data[...] = 0

    def forward(self, x: Tensor) -> Tensor:
        x = self.s2(squash(self.c1(x)))  # (N, 1, 32, 32) -> (N, 6, 28, 28) -> (N, 6, 14, 14)
        x = self.s4(squash(self.c3(x)))  # (N, 16, 10, 10) -> (N, 16, 5, 5)
        x = self.flatten(squash(self.c5(x)))  # (N, 120, 1, 1) -> (N, 120)
        x = squash(self.f6(x))  # (N, 84)
        logits: Tensor = self.output(x)  # (N, 10)
        return logits


def squash(x: Tensor) -> Tensor:
    """1.7159 tanh(2x/3): f(1) = 1, f(-1) = -1, and the second derivative is largest there."""
    return scaled_tanh(x, 1.7159, 2 / 3)
