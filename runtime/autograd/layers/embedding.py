"""A table of vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike
from ringleader.runtime.autograd import functional
from ringleader.runtime.autograd.init import normal_
from ringleader.runtime.autograd.module import Module, Parameter
from ringleader.runtime.autograd.tensor import Tensor


class Embedding(Module):
    """Integer indices (...) -> rows of weight (num_embeddings, embedding_dim), at first normal (0, 1).

    The row ``padding_idx`` starts as zeros and gets no gradient.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, *,
        generator: np.random.Generator, dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(f"embedding: padding_idx {padding_idx} is not one of the {num_embeddings} rows")
        self.weight, self.padding_idx = (
            Parameter(np.empty((num_embeddings, embedding_dim), dtype)),
            padding_idx,
        )
        normal_(self.weight, generator=generator)
        if padding_idx is not None:
            self.weight.data[padding_idx] = 0

    def forward(self, x: Tensor) -> Tensor:
        return functional.embedding(x, self.weight, self.padding_idx)
