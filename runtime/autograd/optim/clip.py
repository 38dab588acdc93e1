"""Gradient clipping, and the norms of gradients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf, isfinite

import numpy as np
from ringleader.runtime.autograd.op import Array, module_of
from ringleader.runtime.autograd.tensor import Tensor

BLOCK = 1 << 16  # elements that are turned into float64 at a time: they stay in the cache


def norm(*arrays: Array, p: float = 2.0) -> float:
    """The p-norm of all elements, summed in float64; inf: the largest size, 0: how many are not 0."""
    parts = [_part(part.astype(np.float64, copy=False), p)
             for array in arrays for part in _blocks(array.reshape(-1))]  # fmt: skip
    if p == inf:
        return float(np.max(parts, initial=0.0))
    total = float(np.sum(parts))
    return total if p == 0 else total ** (1 / p)


def _blocks(x: Array) -> Iterator[Array]:
    """Of a device's array there is one: each costs a call, and the cache is not the host's."""
    block = BLOCK if isinstance(x, np.ndarray) else max(1, x.size)
    return (x[at : at + block] for at in range(0, x.size, block))


def _part(x: Array, p: float) -> float:
    """One block's part in the sum; for p = inf, in the maximum."""
    if p == 2:
        return float(x @ x)
    if p == inf:
        return float(abs(x).max())
    return float((x != 0).sum() if p == 0 else (abs(x) ** p).sum())


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> float:  # fmt: skip
    """Scale all gradients, in place, so that their norm taken together is at most ``max_norm``; returns the
    norm before (Pascanu et al. 2013).

    They are multiplied by max_norm / (norm + 1e-6) where that is below 1. No gradients: norm 0. ValueError:
    negative ``max_norm`` or ``norm_type``. RuntimeError, before anything is changed: the norm is inf or nan
    and ``error_if_nonfinite``; otherwise it makes gradients nan, as in PyTorch.
    """
    if not max_norm >= 0 or not norm_type >= 0:
        raise ValueError(f"clip_grad_norm_: max_norm and norm_type must not be negative, they are {max_norm} "
                         f"and {norm_type}")  # fmt: skip
    gradients = _gradients(parameters)
    total = norm(*gradients, p=norm_type)
    if error_if_nonfinite and not isfinite(total):
        raise RuntimeError(f"clip_grad_norm_: the norm of the gradients is {total}")
    factor = max_norm / (total + 1e-6)
    if not factor >= 1:  # also nan
        for g in gradients:
            g *= factor
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Cut each element of the gradients, in place, to [-clip_value, clip_value]. ValueError: it is negative."""
    if not clip_value >= 0:
        raise ValueError(f"clip_grad_value_: clip_value must not be negative, it is {clip_value}")
    for g in _gradients(parameters):
        module_of(g).clip(g, -clip_value, clip_value, out=g)


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Array]:
    given = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in given if p.grad is not None]
