"""What the tests of kernels of rows and elements share: inputs, versions that fit, and bounds on errors.

References are computed in long double from the very numbers that the kernels get, so that the bounds, multiples of the unit
roundoff, hold for float64 as for the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
from ringleader.csrc.cuda.device import Device
from ringleader.csrc.cuda.versions import VERSIONS, unfit

DTYPES = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
LENGTHS = (
    1,
    3,
    31,
    32,
    33,
    127,
    1000,
    4097,
)  # of rows: fewer and more than a warp, a pack, a block; odd ones


def draw(dtype: str, *shape: int, seed: int = 0, scale: float = 1.0) -> Any:
    """Normally distributed, rounded to dtype; begins at a multiple of 16 bytes."""
    values = np.random.default_rng([seed, *shape]).standard_normal(shape) * scale
    return at_multiple(values.astype(DTYPES[dtype]), 0)


def at_multiple(x: Any, behind: int) -> Any:
    """A copy that begins that many elements behind a multiple of 16 bytes."""
    memory = np.empty(x.size + 32, x.dtype)
    start = -memory.ctypes.data // x.itemsize % (16 // x.itemsize) + behind
    placed = memory[start : start + x.size].reshape(x.shape)
    placed[...] = x
    return placed


def exact(x: Any) -> Any:
    return x.astype(np.float64).astype(np.longdouble)


def roundoff(dtype: Any) -> float:
    """Largest relative error of rounding to dtype."""
    return float(ml_dtypes.finfo(dtype).eps) / 2


def compute(dtype: Any) -> Any:
    """The dtype of a kernel's arithmetic."""
    return np.dtype(np.float64 if np.dtype(dtype) == np.float64 else np.float32)


def fitting(device: Device, operator: str, dtype: Any, **shape: Any) -> Iterator[str]:
    """The names of an operator's versions that take the dtype and the shape."""
    for version in VERSIONS[operator]:
        if not unfit(version, device.architecture, np.dtype(dtype).name, shape):
            yield version.name


def within(got: Any, want: Any, bound: Any) -> None:
    """|got - want| <= bound, and the rounding of the result, element by element; NaN where NaN is wanted."""
    assert got.shape == want.shape
    finfo = ml_dtypes.finfo(got.dtype)
    least = (
        float(finfo.tiny) * float(finfo.eps) if got.dtype.itemsize == 2 else float(finfo.tiny)
    )  # subnormals are 0
    allowed = bound + roundoff(got.dtype) * np.abs(want) + least
    difference, nan = np.abs(exact(got) - want), np.isnan(want)
    assert (np.isnan(exact(got)) == nan).all()
    same = exact(got) == want  # infinities
    bad = ~(nan | same | (difference <= allowed))
    assert not bad.any(), (
        f"{bad.sum()} of {bad.size} beyond the bound, such as {got[bad][0]} for {want[bad][0]}"
    )


def summing(count: int) -> float:
    """Roundoffs in a sum of so many terms by threads, then by warps and blocks: one for each addition on a term's way."""
    return count / 32 + 32


def slope(f: Any, x: Any, step: float = 1e-5) -> Any:
    """The gradient of the number f(x) to x, by central differences; x is changed and changed back."""
    gradient = np.empty_like(x)
    for i in np.ndindex(x.shape):
        value = x[i]
        x[i] = value + step
        more = f(x)
        x[i] = value - step
        gradient[i] = (more - f(x)) / (2 * step)
        x[i] = value
    return gradient
