"""Attention, and the positions that go with it."""

from __future__ import annotations

import numpy as np
from ringleader.runtime.autograd.op import Array, ShapeError, is_floating
from ringleader.runtime.autograd.tensor import Tensor, apply


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | Array | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False, *,
    generator: np.random.Generator | None = None,
) -> Tensor:  # fmt: skip
    """softmax(query key^T scale + attn_mask) value: (..., L, E), (..., S, E), (..., S, Ev) -> (..., L, Ev).

    ``attn_mask`` broadcasts to (..., L, S): boolean, True where a key takes part, or floats that are added.
    ``is_causal``: query i sees the keys 0..i, whatever L and S; both may be given, and then both hold
    (PyTorch refuses that). A query whose keys are all masked gives 0 and has gradient 0 (in PyTorch 0 or
    NaN, by version). ``scale`` is 1 / sqrt(E) if not given. ``enable_gqa``: query (..., H, L, E) may have a multiple
    of the heads of key and value, which neighbouring heads share. ``dropout_p`` > 0 always drops, and needs
    a ``generator``. The (L, S) scores are never held as a whole, see ops.attention.Attention.

    ShapeError; ValueError: dropout_p not in 0..1, or no generator; TypeError: a mask of other numbers.
    """
    groups = _groups(query, key) if enable_gqa else 1
    allowed, bias = _mask(attn_mask, query)
    return attention(query, key, value, allowed, bias, dropout_p, is_causal, scale, groups, generator)


def attention(
    query: Tensor, key: Tensor, value: Tensor, allowed: Array | None = None, bias: Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None, groups: int = 1,
    generator: np.random.Generator | None = None,
) -> Tensor:  # fmt: skip
    """The same with both kinds of mask at once, and the number of query heads to one of key and value."""
    if not 0 <= dropout_p <= 1:
        raise ValueError(f"scaled_dot_product_attention: dropout_p must be in 0..1, it is {dropout_p}")
    if dropout_p > 0 and generator is None:
        raise ValueError("scaled_dot_product_attention: dropout_p > 0 needs a generator")
    seed = int(generator.integers(2**63)) if generator is not None and dropout_p > 0 else 0
    inputs = (query, key, value) if bias is None else (query, key, value, bias)
    return apply(
        "scaled_dot_product_attention", *inputs,
        scale=1 / max(1, query.shape[-1]) ** 0.5 if scale is None else scale,
        allowed=None if allowed is None else query.beside(allowed),
        groups=groups, is_causal=is_causal, dropout_p=dropout_p, seed=seed,
    )  # fmt: skip


def _groups(query: Tensor, key: Tensor) -> int:
    heads = [t.shape[-3] if t.ndim >= 3 else 0 for t in (query, key)]
    if 0 in heads or heads[0] % heads[1]:
        raise ShapeError(f"scaled_dot_product_attention: shapes {query.shape} and {key.shape}: enable_gqa needs "
                         "(..., H, L, E) whose H is a multiple of key's")  # fmt: skip
    return int(heads[0] // heads[1])


def _mask(attn_mask: Tensor | Array | None, query: Tensor) -> tuple[Array | None, Tensor | None]:
    """As a boolean array or a tensor to add."""
    if attn_mask is None:
        return None, None
    mask = attn_mask if isinstance(attn_mask, Tensor) else Tensor(attn_mask, device=query.device)
    if mask.dtype.kind != "b" and not is_floating(mask.dtype):
        raise TypeError(
            f"scaled_dot_product_attention: attn_mask must be boolean or floats, not {mask.dtype}"
        )
    return (mask.data, None) if mask.dtype.kind == "b" else (None, mask)


def rotary(x: Tensor, cos: Array | Tensor, sin: Array | Tensor) -> Tensor:
    """x (..., T, E) with its pairs (2 i, 2 i + 1) turned by the angles whose cos and sin (T, E / 2) are given.

    Su et al. 2021; pairs of neighbours as there (others pair i with i + E / 2). No gradient for the angles.
    ShapeError: E is odd, or cos and sin do not broadcast.
    """
    return apply("rotary", x, cos=x.beside(cos), sin=x.beside(sin))
