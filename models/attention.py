"""What Transformers are made of: attention, the feed-forward network, positions (Vaswani et al. 2017)."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike
from ringleader.runtime.autograd import Linear, Module, RotaryEmbedding, Tensor, functional
from ringleader.runtime.autograd.op import Array


class Attention(Module):
    """Multi-head attention: queries from x (N, T, width), keys and values from ``memory`` (N, S, width) or, as
    self-attention, from x itself -> (N, T, width).

    ``kv_heads``: that many heads of keys and values, each for a group of query heads (Ainslie et al. 2023, "GQA").
    """

    def __init__(
        self, width: int, heads: int, kv_heads: int | None = None, *, generator: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        kv_heads = heads if kv_heads is None else kv_heads
        if width % heads or heads % kv_heads:
            raise ValueError(
                f"width {width} must be a multiple of heads {heads}, heads of kv_heads {kv_heads}"
            )
        self.heads, self.kv_heads, self.size = heads, kv_heads, width // heads
        self.query = Linear(width, width, generator=generator, dtype=dtype)
        self.key_value = Linear(width, 2 * kv_heads * self.size, generator=generator, dtype=dtype)
        self.project = Linear(width, width, generator=generator, dtype=dtype)

    def forward(
        self, x: Tensor, memory: Tensor | None = None, mask: Array | None = None, causal: bool = False,
        turn: RotaryEmbedding | None = None,
    ) -> Tensor:  # fmt: skip
        """``mask``: True where a query may look at a key, broadcast to (N, heads, T, S). ``turn``: of
        queries and keys, by their positions."""
        n, t, width = x.shape
        memory = x if memory is None else memory
        q = _split(self.query(x), self.heads)
        k, v = self._keys_and_values(memory)
        if turn is not None:
            q, k = turn(q), turn(k)
        seen = functional.scaled_dot_product_attention(
            q, k, v, mask, is_causal=causal, enable_gqa=self.kv_heads < self.heads
        )
        out: Tensor = self.project(seen.permute(0, 2, 1, 3).reshape(n, t, width))
        return out

    def _keys_and_values(self, memory: Tensor) -> tuple[Tensor, ...]:
        """(N, kv_heads, S, size) each, by the halves of one map: it is cheaper to put the gradient of its parameters
        together from halves than that of its output."""
        size, weight, bias = self.kv_heads * self.size, self.key_value.weight, self.key_value.bias
        assert bias is not None
        halves = zip(weight.split(size), bias.split(size))
        return tuple(_split(functional.linear(memory, *half), self.kv_heads) for half in halves)


def _split(x: Tensor, heads: int) -> Tensor:
    """(N, T, width) -> (N, heads, T, width / heads)."""
    n, t, width = x.shape
    return x.reshape(n, t, heads, width // heads).permute(0, 2, 1, 3)


class FeedForward(Module):
    """Two affine maps with a GELU (Hendrycks and Gimpel 2016) between them, four times as wide inside."""

    def __init__(
        self, width: int, *, generator: np.random.Generator, dtype: DTypeLike = np.float32
    ) -> None:  # fmt: skip
        self.widen = Linear(width, 4 * width, generator=generator, dtype=dtype)
        self.narrow = Linear(4 * width, width, generator=generator, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.narrow(functional.gelu(self.widen(x)))
        return out


def draw_weights(model: Module, layers: int, generator: np.random.Generator) -> None:
    """Initial weights as in GPT-2 (Radford et al. 2019): normal with standard deviation 0.02, biases zero; of the last
    map of each of the ``layers`` residual branches by 1/sqrt(layers) less, since their outputs add up."""
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            if name.endswith("bias"):
                parameter.data[...] = 0
            continue
        last = name.endswith(("project.weight", "narrow.weight"))
        parameter.data[...] = generator.normal(0, 0.02 / (layers**0.5 if last else 1), parameter.shape)
