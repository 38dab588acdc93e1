"""Optimisers, with PyTorch's semantics: a parameter whose gradient is None is left alone."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from ringleader.runtime.autograd.op import Array
from ringleader.runtime.autograd.tensor import Tensor


class Optimizer:
    """Holds the parameters; ``step()`` changes them in place by their gradients.

    ValueError: no parameters, or an option below zero.
    """

    def __init__(self, params: Iterable[Tensor], **not_negative: float) -> None:
        self.params = list(params)
        if not self.params:
            raise ValueError(f"{type(self).__name__}: there are no parameters")
        for name, value in not_negative.items():
            if not value >= 0:
                raise ValueError(f"{type(self).__name__}: {name} must not be negative, it is {value}")

    def zero_grad(self) -> None:
        for parameter in self.params:
            parameter.zero_grad()

    def step(self) -> None:
        for i, parameter in enumerate(self.params):
            if parameter.grad is not None:
                self._update(i, parameter, parameter.grad)

    def _update(self, i: int, parameter: Tensor, g: Array) -> None:
        raise NotImplementedError


class SGD(Optimizer):
    """Stochastic gradient descent: g += weight_decay w;  v = momentum v + g;  w -= lr v.

    The first v is the first g. Momentum: Polyak 1964, in the form of Sutskever et al. 2013 as in PyTorch.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float = 1e-3, momentum: float = 0, weight_decay: float = 0
    ) -> None:
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay)
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.velocity: dict[int, Array] = {}

    def _update(self, i: int, parameter: Tensor, g: Array) -> None:
        if self.weight_decay:
            g = g + self.weight_decay * parameter.data
        if self.momentum:
            if i in self.velocity:
                self.velocity[i] *= self.momentum
                self.velocity[i] += g
            else:
                self.velocity[i] = g.copy()
            g = self.velocity[i]
        parameter.data -= self.lr * g


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015), with weight decay added to the gradient.

    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;
    w -= lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps).
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0,
    ) -> None:  # fmt: skip
        super().__init__(params, lr=lr, eps=eps, weight_decay=weight_decay)
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"Adam: betas must be in [0, 1), they are {betas}")
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay
        self.moments: dict[int, tuple[Array, Array]] = {}
        self.steps: dict[int, int] = {}

    def _update(self, i: int, parameter: Tensor, g: Array) -> None:
        if self.weight_decay:
            g = g + self.weight_decay * parameter.data
        m, v = self.moments.setdefault(i, (np.zeros_like(g), np.zeros_like(g)))
        t = self.steps[i] = self.steps.get(i, 0) + 1
        b1, b2 = self.betas
        m *= b1
        m += (1 - b1) * g
        v *= b2
        v += (1 - b2) * (g * g)
        parameter.data -= self.lr / (1 - b1**t) * m / (np.sqrt(v / (1 - b2**t)) + self.eps)
