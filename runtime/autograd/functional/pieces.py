"""Parts of tensors, tensors joined, and dropout: what recurrent layers and attention need of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ringleader.runtime.autograd.tensor import Tensor, apply


def rows(x: Tensor, start: int, stop: int) -> Tensor:
    """x[start:stop]."""
    return apply("rows", x, start=start, stop=stop)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """One after the other along ``dim``; a single one as it is."""
    return apply("joined", *tensors, dim=dim) if len(tensors) > 1 else tensors[0]


def dropout(x: Tensor, p: float, training: bool, *, generator: np.random.Generator) -> Tensor:
    """Each element becomes 0 with probability p, the others are divided by 1 - p; x itself if not training."""
    if not training or p == 0:
        return x
    kept = generator.random(x.shape, np.float32) >= p
    return x * Tensor(kept * x.dtype.type(0 if p == 1 else 1 / (1 - p)), device=x.device)
