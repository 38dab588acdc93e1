"""Multi-head attention, and rotary positions."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike
from ringleader.runtime.autograd import functional
from ringleader.runtime.autograd.functional.attention import attention
from ringleader.runtime.autograd.layers.linear import Linear
from ringleader.runtime.autograd.layers.weighted import uniform
from ringleader.runtime.autograd.module import Module, Parameter
from ringleader.runtime.autograd.op import Array, ShapeError, is_floating
from ringleader.runtime.autograd.tensor import Tensor

Mask = Tensor | Array | None


class MultiheadAttention(Module):
    """``num_heads`` attentions side by side, between linear maps (Vaswani et al. 2017, section 3.2.2).

    query (L, N, E), key and value (S, N, E) -> (L, N, E); the batch N comes first if ``batch_first``. Names and
    shapes of the parameters are PyTorch's: in_proj_weight (3 E, E) and in_proj_bias, out_proj.weight and .bias.
    in_proj_weight is Xavier's uniform, the biases are 0; ``generator`` is kept for dropout of the weights of
    attention, in training.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, batch_first: bool = False, *,
        generator: np.random.Generator, dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        if num_heads < 1 or embed_dim % num_heads:
            raise ValueError(f"embed_dim {embed_dim} must be a multiple of num_heads {num_heads}")
        self.embed_dim, self.num_heads, self.batch_first = embed_dim, num_heads, batch_first
        self.dropout, self.generator = dropout, generator
        shape = (3 * embed_dim, embed_dim)
        self.in_proj_weight = Parameter(uniform(generator, (6 / sum(shape)) ** 0.5, shape, dtype))
        self.in_proj_bias = Parameter(np.zeros(shape[:1], dtype)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, generator=generator, dtype=dtype)
        if self.out_proj.bias is not None:
            self.out_proj.bias.data[...] = 0

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Mask = None, *, attn_mask: Mask = None,
        is_causal: bool = False, need_weights: bool = False,
    ) -> Tensor:  # fmt: skip
        """As PyTorch's, the masks too: booleans say True where a key is to be **ignored**, the opposite of
        functional.scaled_dot_product_attention. ``key_padding_mask`` (N, S) boolean; ``attn_mask`` (L, S) or
        (N num_heads, L, S), boolean, or floats that are added. ``is_causal`` needs no mask here. A query whose
        keys are all ignored gets the bias of out_proj (in PyTorch NaN).

        The weights of attention are not returned: they never exist as a whole. ShapeError; ValueError:
        need_weights; TypeError: a mask of other numbers.
        """
        if need_weights:
            raise ValueError("MultiheadAttention: need_weights must be False: the weights are never formed")
        for x in (query, key, value):
            if x.ndim != 3 or x.shape[2] != self.embed_dim:
                raise ShapeError(
                    f"MultiheadAttention: shape {x.shape}: must have 3 axes, the last {self.embed_dim}"
                )
        q, k, v = (self._heads(x, i) for i, x in enumerate((query, key, value)))
        allowed, bias = self._masks(key_padding_mask, attn_mask, q.shape[0], q.device)
        p = self.dropout if self.training else 0.0
        y = attention(q, k, v, allowed, bias, p, is_causal, generator=self.generator)
        y = y.permute((0, 2, 1, 3) if self.batch_first else (2, 0, 1, 3))
        out: Tensor = self.out_proj(y.reshape(-1, self.embed_dim))
        return out.reshape(query.shape)

    def _heads(self, x: Tensor, which: int) -> Tensor:
        """x through its third of in_proj, one matrix product, as (N, heads, L, E / heads)."""
        (a, b, e), third = x.shape, slice(which * self.embed_dim, (which + 1) * self.embed_dim)
        bias = None if self.in_proj_bias is None else self.in_proj_bias[third]
        y = functional.linear(x.reshape(a * b, e), self.in_proj_weight[third], bias)
        y = y.reshape(a, b, self.num_heads, e // self.num_heads)
        return y.permute((0, 2, 1, 3) if self.batch_first else (1, 2, 0, 3))

    def _masks(
        self, key_padding_mask: Mask, attn_mask: Mask, n: int, device: str
    ) -> tuple[Array | None, Tensor | None]:
        """What attention wants: booleans that say where a key takes part, and floats to add."""
        padding, mask = (
            None if m is None else m if isinstance(m, Tensor) else Tensor(m, device=device)
            for m in (key_padding_mask, attn_mask)
        )
        if padding is not None and (padding.dtype != np.bool_ or padding.ndim != 2):
            raise TypeError(f"MultiheadAttention: key_padding_mask must be (N, S) booleans, not {padding.dtype} "
                            f"{padding.shape}")  # fmt: skip
        allowed = None if padding is None else ~padding.data[:, None, None]  # (N, 1, 1, S)
        if mask is None:
            return allowed, None
        if mask.ndim == 3:
            if mask.shape[0] != n * self.num_heads:
                raise ShapeError(f"MultiheadAttention: attn_mask has shape {mask.shape}, its first size must be "
                                 f"{n * self.num_heads}")  # fmt: skip
            mask = mask.reshape(n, self.num_heads, *mask.shape[1:])
        if is_floating(mask.dtype):
            return allowed, mask
        if mask.dtype.kind != "b":
            raise TypeError(f"MultiheadAttention: attn_mask must be boolean or floats, not {mask.dtype}")
        return ~mask.data if allowed is None else allowed & ~mask.data, None


class RotaryEmbedding(Module):
    """x (..., T, dim) turned by its positions: pair i at position t by the angle t base^(-2 i / dim).

    Su et al. 2021, section 3.2.2; for queries and keys, head by head. ``forward(x, offset)``: the first
    position is ``offset``, as when a sequence is continued. No parameters. ValueError: odd dim, offset < 0.
    """

    def __init__(self, dim: int, base: float = 10000.0) -> None:
        if dim % 2:
            raise ValueError(f"RotaryEmbedding: dim must be even, it is {dim}")
        self.dim = dim
        self.frequencies = base ** (-np.arange(0, dim, 2) / max(1, dim))
        self.cos = self.sin = np.empty((0, dim // 2))  # of the positions so far; float64, whatever x is

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        if x.ndim < 2 or x.shape[-1] != self.dim:
            raise ShapeError(f"RotaryEmbedding: shape {x.shape}: must be (..., T, {self.dim})")
        if offset < 0:
            raise ValueError(f"RotaryEmbedding: offset must not be negative, it is {offset}")
        end = offset + x.shape[-2]
        if end > len(self.cos):
            angles = np.arange(max(end, 2 * len(self.cos)))[:, None] * self.frequencies
            self.cos, self.sin = np.cos(angles), np.sin(angles)
        return functional.rotary(x, self.cos[offset:end], self.sin[offset:end])
