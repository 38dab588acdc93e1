"""Padding."""

from __future__ import annotations

from collections.abc import Sequence

from ringleader.runtime.autograd.op import ShapeError
from ringleader.runtime.autograd.tensor import Tensor, apply


def pad(x: Tensor, pad: Sequence[int], mode: str = "constant", value: float = 0) -> Tensor:
    """``value`` around x. ``pad``: (before, after) of the last axis, then of the one before it, and so on.

    ValueError: negative, an odd number of them, a mode other than "constant". ShapeError: more than x has axes.
    """
    if mode != "constant":
        raise ValueError(f"pad: unknown mode {mode!r}; known: constant")
    if len(pad) % 2:
        raise ValueError(f"pad: {tuple(pad)} has an odd number of widths")
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    if len(pairs) > x.ndim:
        raise ShapeError(f"pad: shape {x.shape}: widths for {len(pairs)} axes")
    return apply("pad", x, widths=((0, 0),) * (x.ndim - len(pairs)) + tuple(pairs[::-1]), value=value)
