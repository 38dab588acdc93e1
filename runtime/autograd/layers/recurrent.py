"""Recurrent layers, several deep and in both directions. Names of the parameters are PyTorch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike
from ringleader.runtime.autograd import functional
from ringleader.runtime.autograd.functional import cat, dropout
from ringleader.runtime.autograd.functional.recurrent import Lengths, Tokens
from ringleader.runtime.autograd.layers.weighted import uniform
from ringleader.runtime.autograd.module import Module, Parameter
from ringleader.runtime.autograd.op import ShapeError
from ringleader.runtime.autograd.ops.recurrent import NONLINEARITIES
from ringleader.runtime.autograd.tensor import Tensor


class RecurrentLayers(Module):
    """What RNN, LSTM and GRU share.

    x (T, N, input_size), or (N, T, input_size) if ``batch_first``, -> output (T, N, H), twice as wide if
    ``bidirectional``, and the last states (layers, N, H), with two of a layer one after the other then; states
    are so also if batch_first. ``hx``: the first states, zeros if None. ``lengths`` (N,): see
    functional.recurrent. ``tokens`` (T, N), or (N, T) if batch_first: x is a table (V, input_size), whose rows they name; see
    there, too. ``dropout`` is between the layers, in training. Weights and biases are uniform in
    +-1/sqrt(hidden_size); ``generator`` is kept for dropout. ShapeError; ValueError: dropout not in 0..1.
    """

    gate_count: ClassVar[int]
    state_count: ClassVar[int] = 1

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, *, generator: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        if num_layers < 1 or hidden_size < 1:
            raise ValueError(f"num_layers {num_layers} and hidden_size {hidden_size} must be positive")
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout must be in 0..1, it is {dropout}")
        self.hidden_size, self.num_layers, self.batch_first = hidden_size, num_layers, batch_first
        self.dropout, self.generator = dropout, generator
        self.suffixes = ("", "_reverse") if bidirectional else ("",)
        width, gates = input_size, self.gate_count * hidden_size
        for layer in range(num_layers):
            for suffix in self.suffixes:
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (gates, width),
                    "weight_hh": (gates, hidden_size),
                }
                shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)} if bias else {}
                for name, shape in shapes.items():
                    drawn = uniform(generator, 1 / hidden_size**0.5, shape, dtype)
                    setattr(self, f"{name}_l{layer}{suffix}", Parameter(drawn))
            width = hidden_size * len(self.suffixes)

    def _weights(self, layer: int, suffix: str) -> list[Tensor]:
        names = (f"{name}_l{layer}{suffix}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        return [getattr(self, name) for name in names if hasattr(self, name)]

    def _one(
        self, x: Tensor, states: list[Tensor], weights: list[Tensor], **options: Any
    ) -> tuple[Tensor, ...]:
        """One layer in one direction: the output and the last states."""
        raise NotImplementedError

    def _all(self, x: Tensor, hx: Sequence[Tensor] | None, lengths: Lengths, tokens: Tokens) -> list[Tensor]:
        """The output, and the last states of all layers and directions."""
        if tokens is None:
            if x.ndim != 3:
                raise ShapeError(f"{type(self).__name__}: shape {x.shape}: input must have 3 axes")
            x = x.transpose(0, 1) if self.batch_first else x
            first = self._first(x.shape[1], hx)
        else:
            if tokens.ndim != 2:
                raise ShapeError(f"{type(self).__name__}: shape {tokens.shape}: tokens must have 2 axes")
            tokens = tokens.T if self.batch_first else tokens
            first = self._first(tokens.shape[1], hx)
        last: list[list[Tensor]] = [[] for _ in range(self.state_count)]
        for layer in range(self.num_layers):
            x = dropout(x, self.dropout, self.training and layer > 0, generator=self.generator)
            outputs = []
            for suffix in self.suffixes:
                states = first[len(last[0])]
                options = {"lengths": lengths, "reverse": bool(suffix), "tokens": tokens}
                output, *final = self._one(x, states, self._weights(layer, suffix), **options)
                outputs.append(output)
                for states_of_all, state in zip(last, final):
                    states_of_all.append(state.reshape(1, *state.shape))
            x = outputs[0] if len(outputs) == 1 else cat(outputs, dim=2)  # which would copy it
            tokens = None
        return [x.transpose(0, 1) if self.batch_first else x, *(cat(states) for states in last)]

    def _first(self, n: int, hx: Sequence[Tensor] | None) -> list[list[Tensor]]:
        """For each layer and direction its first states (N, H)."""
        count, shape = self.num_layers * len(self.suffixes), (n, self.hidden_size)
        if hx is None:
            like = next(self.parameters())
            zeros = Tensor(np.zeros(shape, like.dtype), device=like.device)
            return [[zeros] * self.state_count] * count
        for state in hx:
            if state.shape != (count, *shape):
                raise ShapeError(
                    f"{type(self).__name__}: a state has shape {state.shape}, not {(count, *shape)}"
                )
        return [[state[i : i + 1].reshape(shape) for state in hx] for i in range(count)]


class RNN(RecurrentLayers):
    """forward(x, hx=None, lengths=None, tokens=None) -> output, h_n, see RecurrentLayers and functional.rnn."""

    gate_count = 1

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, *,
        generator: np.random.Generator, dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, generator=generator, dtype=dtype
        )  # fmt: skip
        if nonlinearity not in NONLINEARITIES:
            raise ValueError(
                f"RNN: unknown nonlinearity {nonlinearity!r}; known: {', '.join(NONLINEARITIES)}"
            )
        self.nonlinearity = nonlinearity

    def _one(
        self, x: Tensor, states: list[Tensor], weights: list[Tensor], **options: Any
    ) -> tuple[Tensor, ...]:
        return functional.rnn(x, *states, *weights, nonlinearity=self.nonlinearity, **options)

    def forward(
        self, x: Tensor, hx: Tensor | None = None, lengths: Lengths = None, tokens: Tokens = None
    ) -> tuple[Tensor, Tensor]:
        output, h = self._all(x, None if hx is None else [hx], lengths, tokens)
        return output, h


class GRU(RecurrentLayers):
    """forward(x, hx=None, lengths=None, tokens=None) -> output, h_n, see RecurrentLayers and functional.gru."""

    gate_count = 3

    def _one(
        self, x: Tensor, states: list[Tensor], weights: list[Tensor], **options: Any
    ) -> tuple[Tensor, ...]:
        return functional.gru(x, *states, *weights, **options)

    def forward(
        self, x: Tensor, hx: Tensor | None = None, lengths: Lengths = None, tokens: Tokens = None
    ) -> tuple[Tensor, Tensor]:
        output, h = self._all(x, None if hx is None else [hx], lengths, tokens)
        return output, h


class LSTM(RecurrentLayers):
    """forward(x, hx=None, lengths=None, tokens=None) -> output, (h_n, c_n); hx is (h_0, c_0). See RecurrentLayers and
    functional.lstm."""

    gate_count = 4
    state_count = 2

    def _one(
        self, x: Tensor, states: list[Tensor], weights: list[Tensor], **options: Any
    ) -> tuple[Tensor, ...]:
        return functional.lstm(x, *states, *weights, **options)

    def forward(
        self,
        x: Tensor,
        hx: tuple[Tensor, Tensor] | None = None,
        lengths: Lengths = None,
        tokens: Tokens = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        output, h, c = self._all(x, hx, lengths, tokens)
        return output, (h, c)
