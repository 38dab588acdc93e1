"""Recurrent networks: each direction is one call of ours, whose gates are in PyTorch's order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ringleader.runtime.autograd import Tensor
from ringleader.runtime.autograd import functional as F

from helpers.onnx_nodes.table import node

DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def recurrent(
    ours: Callable[..., tuple[Tensor, ...]], order: list[int], x: Tensor, w: Tensor, r: Tensor, b: Tensor | None,
    lengths: Tensor | None, states: list[Tensor | None], hidden: int, direction: str, layout: int,
    **options: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    """x (T, N, I), w (D, G H, I), r (D, G H, H), b (D, 2 G H), states (D, N, H) -> (T, D, N, H) and last states.

    ``order``: where each of our gates is among ONNX's. ``layout`` 1 has the batch in front in all but weights.
    """
    if layout:
        x, states = x.swapaxes(0, 1), [s if s is None else s.swapaxes(0, 1) for s in states]
    empty = Tensor(np.zeros((len(w), x.shape[1], hidden), x.dtype))
    states = [empty if state is None else state for state in states]

    def sorted_gates(rows: Tensor) -> Tensor:
        return F.cat([rows.split(hidden)[gate] for gate in order])

    runs = []
    for d, reverse in enumerate(DIRECTIONS[direction]):
        biases = [] if b is None else [sorted_gates(half) for half in b[d].chunk(2)]
        weights = [sorted_gates(w[d]), sorted_gates(r[d]), *biases]
        run = ours(x, *(state[d] for state in states if state is not None), *weights, reverse=reverse,
                   lengths=lengths, **options)  # fmt: skip
        runs.append(run)
    output, *last = [F.stack(parts, 1 if i == 0 else 0) for i, parts in enumerate(zip(*runs))]
    if layout:
        return output.permute(2, 0, 1, 3), *(state.swapaxes(0, 1) for state in last)
    return output, *last


@node("RNN")
def rnn(
    x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, lengths: Tensor | None = None, h: Tensor | None = None,
    *, hidden_size: int, direction: str = "forward", layout: int = 0,
) -> tuple[Tensor, ...]:  # fmt: skip
    return recurrent(F.rnn, [0], x, w, r, b, lengths, [h], hidden_size, direction, layout)


@node("LSTM")
def lstm(
    x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, lengths: Tensor | None = None, h: Tensor | None = None,
    c: Tensor | None = None, *, hidden_size: int, direction: str = "forward", layout: int = 0,
) -> tuple[Tensor, ...]:  # fmt: skip
    """ONNX: i, o, f, c."""
    return recurrent(F.lstm, [0, 2, 3, 1], x, w, r, b, lengths, [h, c], hidden_size, direction, layout)


@node("GRU")
def gru(
    x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, lengths: Tensor | None = None, h: Tensor | None = None,
    *, hidden_size: int, direction: str = "forward", layout: int = 0, linear_before_reset: int = 0,
) -> tuple[Tensor, ...]:  # fmt: skip
    """ONNX: z, r, h. ``linear_before_reset`` is our form, with the reset gate behind the product with h. Where the
    one state that goes in is 0 both forms agree, if the second bias of h goes where it does not meet the gate."""
    if not linear_before_reset:
        if h is not None or x.shape[layout] > 1:
            raise NotImplementedError("the reset gate before the product")
        if b is not None:
            inner = [0] * (2 * hidden_size) + [1] * hidden_size  # the rows of h
            first, second = b.chunk(2, 1)
            moved = second * Tensor(np.array(inner, b.dtype))
            b = F.cat([first + moved, second - moved], 1)
    return recurrent(F.gru, [1, 0, 2], x, w, r, b, lengths, [h], hidden_size, direction, layout)
