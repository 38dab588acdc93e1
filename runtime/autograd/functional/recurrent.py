"""Recurrent networks over whole sequences: one layer in one direction.

x (T, N, I), states (N, H), w_ih (G H, I), w_hh (G H, H), b_ih and b_hh (G H,) or both None; rows of the weights
in PyTorch's order. ``lengths`` (N,), integers 0..T in any order, for sequences that are padded at the end: the
output is 0 behind a sequence's end, and its last state is that after its own last step. ``reverse`` runs from
each sequence's own end. ``tokens`` (T, N), integers: x is a table (V, I), of which each step reads the row of its
token, as if embedded before; that is quicker where V < T N (ops/recurrent.py says why). ShapeError; ValueError: a
length is not in 0..T; IndexError: a token is not in 0..V-1; TypeError: lengths or tokens of other numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ringleader.runtime.autograd.op import Array, to_host
from ringleader.runtime.autograd.tensor import Tensor, apply

Lengths = Tensor | Array | Sequence[int] | None
Tokens = Tensor | Array | None


def rnn(
    x: Tensor, h0: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None, *,
    nonlinearity: str = "tanh", lengths: Lengths = None, reverse: bool = False, tokens: Tokens = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Output (T, N, H) and last h (N, H) of h' = tanh or relu(w_ih x + b_ih + w_hh h + b_hh) (Elman 1990)."""
    options = {
        "nonlinearity": nonlinearity,
        "lengths": _lengths(lengths),
        "reverse": reverse,
        "tokens": None if tokens is None else x.beside(tokens),
    }
    output, h = _run("rnn", x, [h0], [w_ih, w_hh, b_ih, b_hh], options)
    return output, h


def lstm(
    x: Tensor, h0: Tensor, c0: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None, *, lengths: Lengths = None, reverse: bool = False, tokens: Tokens = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Output (T, N, H), last h and last c (N, H); gates i, f, g, o (Hochreiter and Schmidhuber 1997; Gers et
    al. 2000)."""
    rows = None if tokens is None else x.beside(tokens)
    options = {"lengths": _lengths(lengths), "reverse": reverse, "tokens": rows}
    output, h, c = _run("lstm", x, [h0, c0], [w_ih, w_hh, b_ih, b_hh], options)
    return output, h, c


def gru(
    x: Tensor, h0: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None, *,
    lengths: Lengths = None, reverse: bool = False, tokens: Tokens = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Output (T, N, H) and last h (N, H); gates r, z, n, the reset gate after the product with w_hh (Cho et al.
    2014 in the form of PyTorch and cuDNN)."""
    rows = None if tokens is None else x.beside(tokens)
    options = {"lengths": _lengths(lengths), "reverse": reverse, "tokens": rows}
    output, h = _run("gru", x, [h0], [w_ih, w_hh, b_ih, b_hh], options)
    return output, h


def _lengths(given: Lengths) -> Array | None:
    """Of numpy, wherever the sequences are: they say which steps there are."""
    if given is None:
        return None
    return np.asarray(to_host(given.data if isinstance(given, Tensor) else given))


def _run(
    name: str, x: Tensor, states: list[Tensor], weights: list[Tensor | None], options: dict[str, Any]
) -> list[Tensor]:
    """The op's result, (T + states, N, H), in its parts."""
    if options["tokens"] is not None and options["tokens"].size <= len(x):
        x, options = apply("embedding", x, indices=options["tokens"]), options | {"tokens": None}
    y = apply(name, x, *states, *(w for w in weights if w is not None), **options)
    t = len(y) - len(states)
    last = [y[t + i : t + i + 1].reshape(states[i].shape) for i in range(len(states))]
    return [y[:t], *last]
