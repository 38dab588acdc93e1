"""Gradients against central differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ringleader.runtime.autograd.op import Array, to_host
from ringleader.runtime.autograd.tensor import Tensor


class GradientError(AssertionError):
    """A gradient differs from the difference quotient; the message says of which input and where."""


def gradcheck(
    function: Callable[..., Tensor],
    *arrays: Array,
    eps: float = 1e-6, rtol: float = 1e-6, atol: float = 1e-7,
    device: str = "cpu",
) -> None:  # fmt: skip
    """Compare the gradient of ``function(*tensors)`` with central differences, for every element.

    ``arrays``: float64, any shape and layout; used as they are, never changed. The output, of any shape,
    is contracted with fixed random numbers. ``device``: where the function computes. TypeError: not float64.
    GradientError: they differ.
    """
    if any(a.dtype != np.float64 for a in arrays):
        raise TypeError(f"gradcheck needs float64, got {[str(a.dtype) for a in arrays]}")
    tensors = [Tensor(a, requires_grad=True, device=device) for a in arrays]
    out = function(*tensors)
    weights = np.random.default_rng(0).standard_normal(out.shape)
    out.backward(weights)
    for number, (array, tensor) in enumerate(zip(arrays, tensors)):
        wanted = _differences(function, list(arrays), number, weights, eps, device)
        got = np.zeros_like(array) if tensor.grad is None else to_host(tensor.grad)
        if got.shape != array.shape:
            raise GradientError(f"input {number}: gradient has shape {got.shape}, input {array.shape}")
        wrong = ~np.isclose(got, wanted, rtol=rtol, atol=atol)
        if wrong.any():
            at = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise GradientError(f"input {number}, shape {array.shape}, at {at}: gradient {got[at]}, central "
                                f"difference {wanted[at]}; {wrong.sum()} of {wrong.size} differ")  # fmt: skip


def _differences(
    function: Callable[..., Tensor], arrays: list[Array], number: int, weights: Array, eps: float, device: str
) -> Array:  # fmt: skip
    def value(shifted: Array) -> float:
        inputs = [Tensor(shifted if i == number else a, device=device) for i, a in enumerate(arrays)]
        return float((to_host(function(*inputs).data) * weights).sum())

    quotients = np.zeros(arrays[number].shape)
    for at in np.ndindex(quotients.shape):
        up, down = np.array(arrays[number]), np.array(arrays[number])
        up[at] += eps
        down[at] -= eps
        quotients[at] = (value(up) - value(down)) / (2 * eps)
    return quotients
