"""Initial values, in place; names are those of torch.nn.init.

Each function fills a tensor (a Parameter) and returns it. Numbers are drawn in float64 and then rounded, so
that both dtypes start from the same values. Fan-in and fan-out of a weight (out, in, *kernel) are the
elements of in x kernel and out x kernel.
"""

from __future__ import annotations

from math import prod, sqrt

import numpy as np
from ringleader.runtime.autograd.op import Array, array_module
from ringleader.runtime.autograd.tensor import Tensor

Generator = np.random.Generator
GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": sqrt(2)}


def zeros_(tensor: Tensor) -> Tensor:
    return constant_(tensor, 0)


def ones_(tensor: Tensor) -> Tensor:
    return constant_(tensor, 1)


def constant_(tensor: Tensor, value: float) -> Tensor:
    return _fill(tensor, value)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, *, generator: Generator) -> Tensor:
    """Uniform in [a, b)."""
    return _fill(tensor, generator.uniform(a, b, tensor.shape))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator) -> Tensor:
    return _fill(tensor, generator.normal(mean, std, tensor.shape))


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    *,
    generator: Generator,
) -> Tensor:
    """Normal, given that it lies in [a, b]: the inverse of its distribution function at uniform numbers."""
    from scipy.special import ndtr, ndtri  # take a while to import, and only this needs them

    uniform = generator.uniform(ndtr((a - mean) / std), ndtr((b - mean) / std), tensor.shape)
    return _fill(tensor, np.clip(mean + std * ndtri(uniform), a, b))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, *, generator: Generator) -> Tensor:
    """Variance gain^2 2 / (fan-in + fan-out) (Glorot, Bengio, "Understanding the difficulty of training deep
    feedforward neural networks", 2010, Eq. 16). ValueError: fewer than 2 axes."""
    bound = sqrt(3) * _xavier(tensor, gain)
    return uniform_(tensor, -bound, bound, generator=generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, *, generator: Generator) -> Tensor:
    """The same variance, normal."""
    return normal_(tensor, 0, _xavier(tensor, gain), generator=generator)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", *,
    generator: Generator,
) -> Tensor:  # fmt: skip
    """Variance gain^2 / fan, 2 / ((1 + a^2) fan) before a leaky relu of slope a (He, Zhang, Ren, Sun, "Delving
    deep into rectifiers", 2015, Eq. 10 and 15). ``mode``: "fan_in" or "fan_out". ValueError."""
    bound = sqrt(3) * _kaiming(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator=generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", *,
    generator: Generator,
) -> Tensor:  # fmt: skip
    """The same variance, normal."""
    return normal_(tensor, 0, _kaiming(tensor, a, mode, nonlinearity), generator=generator)


def orthogonal_(tensor: Tensor, gain: float = 1.0, *, generator: Generator) -> Tensor:
    """As a matrix (out, rest): orthonormal rows, or columns if there are more rows, times ``gain`` (Saxe,
    McClelland, Ganguli 2014). Signs of R make Q of the QR decomposition uniform (Mezzadri 2007)."""
    _fans(tensor)
    rows, columns = tensor.shape[0], prod(tensor.shape[1:])
    q, r = np.linalg.qr(generator.normal(size=(max(rows, columns), min(rows, columns))))
    q *= np.where(np.diag(r) < 0, -1, 1)
    return _fill(tensor, (gain * (q if rows >= columns else q.T)).reshape(tensor.shape))


def calculate_gain(nonlinearity: str, a: float = 0.0) -> float:
    """What a weight's standard deviation is multiplied by because of what follows it; ``a``: a leaky relu's
    slope. ValueError: unknown nonlinearity."""
    if nonlinearity == "leaky_relu":
        return sqrt(2 / (1 + a * a))
    if nonlinearity not in GAINS:
        raise ValueError(f"nonlinearity {nonlinearity!r} is unknown; known: {', '.join(GAINS)}, leaky_relu")
    return GAINS[nonlinearity]


def _fill(tensor: Tensor, values: Array) -> Tensor:
    tensor.data[...] = array_module(tensor.device).asarray(values)
    tensor.mark_changed()
    return tensor


def _fans(tensor: Tensor) -> tuple[int, int]:
    if tensor.ndim < 2:
        raise ValueError(f"fan-in and fan-out need at least 2 axes, the tensor has shape {tensor.shape}")
    kernel = prod(tensor.shape[2:])
    return max(1, tensor.shape[1] * kernel), max(1, tensor.shape[0] * kernel)


def _xavier(tensor: Tensor, gain: float) -> float:
    return gain * sqrt(2 / sum(_fans(tensor)))


def _kaiming(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode must be 'fan_in' or 'fan_out', not {mode!r}")
    return calculate_gain(nonlinearity, a) / sqrt(_fans(tensor)[mode == "fan_out"])
