"""Activations, softmax and dropout."""

from __future__ import annotations

import numpy as np
from ringleader.runtime.autograd.tensor import Tensor, apply


def tanh(x: Tensor) -> Tensor:
    return apply("tanh", x)


def scaled_tanh(x: Tensor, alpha: float, beta: float) -> Tensor:
    """alpha tanh(beta x), the squashing function of LeCun et al. 1998, Appendix A. ValueError: alpha is 0."""
    return apply("scaled_tanh", x, alpha=alpha, beta=beta)


def sigmoid(x: Tensor) -> Tensor:
    return apply("sigmoid", x)


def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return apply("relu", x)


def relu6(x: Tensor) -> Tensor:
    """min(max(x, 0), 6)."""
    return apply("relu6", x)


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, else negative_slope x."""
    return apply("leaky_relu", x, negative_slope=negative_slope)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha (exp(x) - 1)."""
    return apply("elu", x, alpha=alpha)


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta; x itself where beta x > threshold. ValueError: beta is not positive."""
    return apply("softplus", x, beta=beta, threshold=threshold)


def silu(x: Tensor) -> Tensor:
    """x sigmoid(x)."""
    return apply("silu", x)


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """x Phi(x), Phi the normal distribution's function; ``approximate="tanh"`` for its approximation."""
    return apply("gelu", x, approximate=approximate)


def softmax(x: Tensor, dim: int) -> Tensor:
    """exp(x) / sum exp(x) along ``dim``. ShapeError: there is no such axis."""
    return apply("softmax", x, dim=dim)


def log_softmax(x: Tensor, dim: int) -> Tensor:
    """log(softmax(x)), exact for small probabilities too."""
    return apply("log_softmax", x, dim=dim)


def dropout(x: Tensor, p: float = 0.5, training: bool = True, *, generator: np.random.Generator) -> Tensor:
    """Each element becomes 0 with probability p, the others are divided by 1 - p.

    x itself, with nothing drawn, if not ``training`` or p = 0. The mask depends on the generator and the
    shape, not on the dtype. ValueError: p is not in 0..1.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be in 0..1, it is {p}")
    if not training or p == 0:
        return x
    keep = generator.random(x.shape, dtype=np.float32) >= p
    return apply("dropout", x, keep=x.beside(keep), scale=1 / (1 - p) if p < 1 else 0.0)
