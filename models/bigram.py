"""The simplest language model: how often each token follows each other token."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike
from ringleader.runtime.autograd import Module, Parameter, Tensor
from ringleader.runtime.autograd.op import array_module


class Bigram(Module):
    """Tokens (N, T) -> logits (N, T, tokens) of the next token: row of a table, whatever came before.

    What it learns is the logarithm of the frequencies in which pairs occur (Shannon, "A mathematical theory of
    communication", 1948, Section 3: the second-order approximation). It starts at zero: the loss is convex.
    """

    def __init__(self, generator: np.random.Generator, dtype: DTypeLike = np.float32, *, tokens: int) -> None:
        self.table = Parameter(np.zeros((tokens, tokens), dtype))

    def forward(self, x: Tensor) -> Tensor:
        xp = array_module(x.device)
        one_hot = xp.eye(len(self.table), dtype=self.table.dtype)[x.data.reshape(-1)]  # (N T, tokens)
        return (Tensor(one_hot, device=x.device) @ self.table).reshape(*x.shape, len(self.table))
