"""Losses."""

from __future__ import annotations

import numpy as np
from ringleader.runtime.autograd.op import Array
from ringleader.runtime.autograd.tensor import Tensor, apply


def cross_entropy(x: Tensor, target: Array | Tensor, reduction: str = "mean") -> Tensor:
    """-log softmax(x)[target]: logits x (N, C), integer target (N,).

    A number for reduction "mean" (NaN if N = 0) or "sum" (0 if N = 0), (N,) for "none". ShapeError;
    ValueError: a target that is no class, unknown reduction; TypeError: targets that are not integers.
    """
    labels = target.data if isinstance(target, Tensor) else np.asarray(target)
    return apply("cross_entropy", x, target=labels, reduction=reduction)
