"""A decoder Transformer as a language model: Vaswani et al., "Attention is all you need", 2017, in the pre-norm form
of GPT-2 (Radford et al. 2019; Xiong et al. 2020 say why it trains without warm-up)."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike
from ringleader.models.attention import Attention, FeedForward, draw_weights
from ringleader.runtime.autograd import (
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    Module,
    ModuleList,
    RotaryEmbedding,
    Tensor,
)
from ringleader.runtime.autograd.op import Array

POSITIONS = ("learned", "rotary")


class Block(Module):
    """x + attention(norm(x)), then x + network(norm(x)): (N, T, width) -> the same. ``mask``, ``turn``: see Attention."""

    def __init__(
        self, width: int, heads: int, dropout: float = 0.0, *, generator: np.random.Generator,
        dropout_generator: np.random.Generator, dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        self.norm1 = LayerNorm(width, dtype=dtype)
        self.attention = Attention(width, heads, generator=generator, dtype=dtype)
        self.norm2 = LayerNorm(width, dtype=dtype)
        self.network = FeedForward(width, generator=generator, dtype=dtype)
        self.drop = Dropout(dropout, generator=dropout_generator)

    def forward(
        self, x: Tensor, turn: RotaryEmbedding | None = None, mask: Array | None = None, causal: bool = True
    ) -> Tensor:
        x = x + self.drop(self.attention(self.norm1(x), mask=mask, causal=causal, turn=turn))
        out: Tensor = x + self.drop(self.network(self.norm2(x)))
        return out


class Transformer(Module):
    """tokens (N, T) integers, T at most ``context`` -> logits (N, T, vocabulary).

    ``positions``: "learned", one vector for each place, added to the embedding, or "rotary" (Su et al. 2021), which
    turns queries and keys. ValueError: longer than ``context``, unknown ``positions``.
    """

    def __init__(
        self, vocabulary: int, context: int = 64, layers: int = 4, heads: int = 4, width: int = 128,
        dropout: float = 0.0, positions: str = "learned", *, generator: np.random.Generator,
        dropout_generator: np.random.Generator | None = None, dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        if positions not in POSITIONS:
            raise ValueError(f"unknown positions {positions!r}; known: {', '.join(POSITIONS)}")
        own = dropout_generator or np.random.default_rng(0)
        self.context = context
        self.tokens = Embedding(vocabulary, width, generator=generator, dtype=dtype)
        learned = positions == "learned"
        self.places = Embedding(context, width, generator=generator, dtype=dtype) if learned else None
        self.turn = None if learned else RotaryEmbedding(width // heads)
        self.drop = Dropout(dropout, generator=own)
        self.blocks = ModuleList(
            Block(width, heads, dropout, generator=generator, dropout_generator=own, dtype=dtype)
            for _ in range(layers)
        )
        self.norm = LayerNorm(width, dtype=dtype)
        self.output = Linear(width, vocabulary, bias=False, generator=generator, dtype=dtype)
        draw_weights(self, 2 * layers, generator)

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        if length > self.context:
            raise ValueError(f"Transformer: {length} tokens, but context is {self.context}")
        x = self.tokens(tokens)  # (N, T, width)
        if self.places is not None:
            x = x + self.places(Tensor(np.arange(length), device=tokens.device))
        x = self.drop(x)
        for block in self.blocks:
            x = block(x, self.turn)
        logits: Tensor = self.output(self.norm(x))
        return logits
