"""Padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ringleader.runtime.autograd.op import ShapeError
from ringleader.runtime.autograd.tensor import Tensor, apply

NUMPY_MODES: dict[str, Any] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(x: Tensor, pad: Sequence[int], mode: str = "constant", value: float = 0) -> Tensor:
    """More of x around it. ``pad``: (before, after) of the last axis, then of the one before it, and so on.

    ``mode``: "constant", which is ``value``; "reflect", mirrored at the outermost elements, which are not doubled;
    "replicate", the outermost element; "circular", from the other end. ValueError: negative, an odd number of them,
    another mode. ShapeError: more than x has axes, or "reflect" or "circular" by more than an axis holds.
    """
    if mode != "constant" and mode not in NUMPY_MODES:
        raise ValueError(f"pad: unknown mode {mode!r}; known: constant, {', '.join(NUMPY_MODES)}")
    if len(pad) % 2:
        raise ValueError(f"pad: {tuple(pad)} has an odd number of widths")
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    if len(pairs) > x.ndim:
        raise ShapeError(f"pad: shape {x.shape}: widths for {len(pairs)} axes")
    widths = ((0, 0),) * (x.ndim - len(pairs)) + tuple(pairs[::-1])
    return apply("pad", x, widths=widths, value=value) if mode == "constant" else _copied(x, widths, mode)


def _copied(x: Tensor, widths: tuple[tuple[int, int], ...], mode: str) -> Tensor:
    """One axis after the other, by the places that the new elements come from."""
    if any(n < 0 for pair in widths for n in pair):
        raise ValueError(f"pad: widths {widths} must not be negative; slice the tensor instead")
    for axis, (pair, size) in enumerate(zip(widths, x.shape)):
        most = {"reflect": size - 1, "circular": size, "replicate": max(pair) if size else 0}[mode]
        if max(pair) > most:
            raise ShapeError(f"pad: shape {x.shape}: {mode} by {pair} along axis {axis} of size {size}")
        if pair != (0, 0):
            x = x.index_select(axis, np.pad(np.arange(size), pair, NUMPY_MODES[mode]))
    return x
