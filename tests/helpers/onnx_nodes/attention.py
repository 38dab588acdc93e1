"""Attention and rotary positions."""

from __future__ import annotations

import numpy as np
from ringleader.runtime.autograd import Tensor
from ringleader.runtime.autograd import functional as F
from ringleader.runtime.autograd.functional.attention import attention as ours
from ringleader.runtime.autograd.op import Array

from helpers.onnx_nodes.table import node


def heads(x: Tensor, count: int | None) -> Tensor:
    """(N, T, heads E) -> (N, heads, T, E); one with its heads apart stays as it is."""
    return x.reshape(*x.shape[:2], count, -1).swapaxes(1, 2) if x.ndim == 3 and count else x


@node("Attention")
def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, past_k: Tensor | None = None,
    past_v: Tensor | None = None, lengths: Tensor | None = None, *, is_causal: int = 0,
    q_num_heads: int | None = None, kv_num_heads: int | None = None, scale: float | None = None,
    softmax_precision: int = 1, softcap: float = 0.0, qk_matmul_output_mode: int = 0, left_window_size: int = -1,
    right_window_size: int = -1, outputs: int = 1,
) -> tuple[Tensor, ...]:  # fmt: skip
    """``lengths`` (N,): only so many keys hold something; queries are then the last of those."""
    if outputs > 3 or softcap:
        raise NotImplementedError("the scores are never held as a whole, and have no cap")
    together = q.ndim == 3
    q, k, v = heads(q, q_num_heads), heads(k, kv_num_heads), heads(v, kv_num_heads)
    if past_k is not None and past_v is not None:
        k, v = F.cat([past_k, k], 2), F.cat([past_v, v], 2)
    shift = np.array(past_k.shape[2] if past_k is not None else 0)
    if lengths is not None:
        shift = (lengths.data - q.shape[2]).reshape(-1, 1, 1, 1)
    allowed = window(q.shape[2], k.shape[2], shift, left_window_size, 0 if is_causal else right_window_size)
    if lengths is not None:
        allowed = allowed & (np.arange(k.shape[2]) < lengths.data.reshape(-1, 1, 1, 1))
    causal = bool(is_causal) and left_window_size < 0 and not shift.any()
    bias = None
    if mask is not None:
        missing = [0, k.shape[2] - mask.shape[-1]]
        if mask.dtype.kind == "b":
            allowed = allowed & F.pad(mask, missing, value=False).data
        else:
            bias = F.pad(mask, missing, value=-np.inf)
    plain = (
        causal and lengths is None and (mask is None or bias is not None)
    )  # the op's own option says it all
    y = ours(q, k, v, None if plain or allowed.all() else allowed, bias, is_causal=plain, scale=scale,
             groups=q.shape[1] // k.shape[1])  # fmt: skip
    return y.swapaxes(1, 2).flatten(2) if together else y, k, v


def window(queries: int, keys: int, shift: Array, left: int, right: int) -> Array:
    """Which keys a query sees that stands ``shift`` later among them: ``left`` before it and ``right`` after it."""
    apart = np.arange(keys) - (np.arange(queries)[:, None] + shift)
    return ((left < 0) | (apart >= -left)) & ((right < 0) | (apart <= right))


@node("RotaryEmbedding")
def rotary(
    x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None, *, interleaved: int = 0,
    num_heads: int | None = None, rotary_embedding_dim: int = 0,
) -> Tensor:  # fmt: skip
    """Ours pairs neighbours: the halves that ONNX pairs, unless ``interleaved``, are interleaved and parted again."""
    together = x.ndim == 3
    x = heads(x, num_heads)
    angles = [(t if positions is None else t[positions]).unsqueeze(1) for t in (cos, sin)]
    turned, rest = x[..., : rotary_embedding_dim or None], x[..., rotary_embedding_dim or x.shape[-1] :]
    if interleaved:
        turned = F.rotary(turned, *angles)
    else:
        halves = turned.reshape(*turned.shape[:-1], 2, -1)
        pairs = F.rotary(halves.swapaxes(-1, -2).reshape(turned.shape), *angles)
        turned = pairs.reshape(*turned.shape[:-1], -1, 2).swapaxes(-1, -2).reshape(turned.shape)
    y = F.cat([turned, rest], -1)
    return y.swapaxes(1, 2).flatten(2) if together else y
