"""Inputs: float64, drawn from seeds that depend on the shape."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any
Case = tuple[str, dict[str, Any], list[Array]]


def normal(*shape: int) -> Array:
    return np.random.default_rng(sum(shape) + len(shape)).standard_normal(shape)


def positive(*shape: int) -> Array:
    return np.asarray(np.abs(normal(*shape)) + 0.5)


def distinct(*shape: int) -> Array:
    """No two elements nearer than 0.1, none near 0: maximum and relu are smooth around them."""
    count = int(np.prod(shape))
    order = np.random.default_rng(count).permutation(count).reshape(shape)
    return np.asarray((order - count // 2) * 0.1 + 0.05)


def strided(array: Array) -> Array:
    """The same values, not contiguous: every other element of a transposed larger array."""
    wide = np.repeat(array.T, 2, axis=-1)
    return wide[..., ::2].T
