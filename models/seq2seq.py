"""An encoder-decoder Transformer: Vaswani et al., "Attention is all you need", 2017, with the norms before the
sub-layers (Xiong et al., "On layer normalization in the Transformer architecture", 2020)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from ringleader.models.attention import Attention, FeedForward, draw_weights
from ringleader.models.transformer import Block
from ringleader.runtime.autograd import (
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    Module,
    ModuleList,
    Tensor,
    no_grad,
)
from ringleader.runtime.autograd.op import Array, to_host


class DecoderBlock(Module):
    """Causal self-attention, attention to what the encoder made of the source, a network."""

    def __init__(
        self, width: int, heads: int, dropout: float, *, generator: np.random.Generator,
        dropout_generator: np.random.Generator, dtype: DTypeLike,
    ) -> None:  # fmt: skip
        made: dict[str, Any] = {"generator": generator, "dtype": dtype}
        self.norm1, self.norm2 = LayerNorm(width, dtype=dtype), LayerNorm(width, dtype=dtype)
        self.norm3 = LayerNorm(width, dtype=dtype)
        self.attention, self.source = Attention(width, heads, **made), Attention(width, heads, **made)
        self.network = FeedForward(width, **made)
        self.drop = Dropout(dropout, generator=dropout_generator)

    def forward(self, x: Tensor, memory: Tensor, mask: Array) -> Tensor:
        x = x + self.drop(self.attention(self.norm1(x), causal=True))
        x = x + self.drop(self.source(self.norm2(x), memory, mask))
        out: Tensor = x + self.drop(self.network(self.norm3(x)))
        return out


class Seq2Seq(Module):
    """source (N, S), target (N, T) integers -> logits (N, T, vocabulary): row t is what follows target[:, : t + 1].

    ``padding``: the token that fills up sources; nobody looks at it.
    """

    def __init__(
        self, vocabulary: int, context: int = 64, layers: int = 2, heads: int = 4, width: int = 64,
        dropout: float = 0.0, padding: int = 0, *, generator: np.random.Generator,
        dropout_generator: np.random.Generator | None = None, dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        own = dropout_generator or np.random.default_rng(0)
        made: dict[str, Any] = {"generator": generator, "dropout_generator": own, "dtype": dtype}
        self.context, self.padding = context, padding
        self.tokens = Embedding(vocabulary, width, generator=generator, dtype=dtype)
        self.places = Embedding(context, width, generator=generator, dtype=dtype)
        self.encoder = ModuleList(Block(width, heads, dropout, **made) for _ in range(layers))
        self.encoded = LayerNorm(width, dtype=dtype)
        self.decoder = ModuleList(DecoderBlock(width, heads, dropout, **made) for _ in range(layers))
        self.decoded = LayerNorm(width, dtype=dtype)
        self.output = Linear(width, vocabulary, bias=False, generator=generator, dtype=dtype)
        draw_weights(self, 5 * layers, generator)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.decode(target, self.encode(source), self.mask(source))

    def mask(self, source: Tensor) -> Array:
        """(N, 1, 1, S): where the source holds something."""
        held: Array = source.data != self.padding
        return held[:, None, None, :]

    def encode(self, source: Tensor) -> Tensor:
        x, mask = self._embed(source), self.mask(source)
        for block in self.encoder:
            x = block(x, mask=mask, causal=False)
        memory: Tensor = self.encoded(x)
        return memory

    def decode(self, target: Tensor, memory: Tensor, mask: Array) -> Tensor:
        x = self._embed(target)
        for block in self.decoder:
            x = block(x, memory, mask)
        logits: Tensor = self.output(self.decoded(x))
        return logits

    def _embed(self, tokens: Tensor) -> Tensor:
        if tokens.shape[1] > self.context:
            raise ValueError(f"Seq2Seq: {tokens.shape[1]} tokens, but context is {self.context}")
        placed: Tensor = self.tokens(tokens) + self.places(
            Tensor(np.arange(tokens.shape[1]), device=tokens.device)
        )
        return placed

    def translate(self, source: Array, start: int, length: int) -> Array:
        """The likeliest next token, ``length`` times: (N, length), without ``start``."""
        with no_grad():
            device = self.output.weight.device
            given = Tensor(source, device=device)
            memory, mask = self.encode(given), self.mask(given)
            target = np.full((len(source), 1), start, np.int64)
            for _ in range(length):
                logits = to_host(self.decode(Tensor(target, device=device), memory, mask).data[:, -1])
                target = np.concatenate([target, logits.argmax(axis=-1)[:, None]], axis=1)
        return target[:, 1:]
