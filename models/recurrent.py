"""Recurrent networks: language models over tokens, and a network that reads a sequence and then says numbers.

Elman, "Finding structure in time", 1990; Hochreiter and Schmidhuber, "Long short-term memory", 1997; Cho et al.,
"Learning phrase representations using RNN encoder-decoder", 2014.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from ringleader.runtime.autograd import GRU, LSTM, RNN, Embedding, Linear, Module, Tensor
from ringleader.runtime.autograd.op import Array

KINDS: dict[str, Any] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}


def layers_of(
    kind: str, inputs: int, hidden: int, layers: int, memory: int, generator: np.random.Generator, dtype: DTypeLike
) -> Module:  # fmt: skip
    """The recurrent layers, time first: their results need no copy for what follows.

    An LSTM's forget gates start open: their biases are 1 (Gers et al. 2000; Jozefowicz et al. 2015), so that it remembers
    before it has learned to.

    ``memory``: the units of an LSTM or a GRU start by remembering for times of their own, drawn up to so many steps, as
    long as what the data needs (Tallec and Ollivier, "Can recurrent neural networks warp time?", ICLR 2018, Section 2).
    ValueError: unknown kind; a memory of 1, which is none, or of a network without gates.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; known: {', '.join(KINDS)}")
    if memory and (kind == "rnn" or memory < 2):
        raise ValueError(
            f"memory {memory} of {kind}: it is for lstm and gru, at least 2 steps, or 0 for none"
        )
    made: Module = KINDS[kind](inputs, hidden, layers, generator=generator, dtype=dtype)
    for name, bias in made.named_parameters():
        if not name.startswith("bias_ih"):
            continue
        stays = bias.data[hidden : 2 * hidden]  # of gate f of an LSTM, z of a GRU: how much of the state does
        if memory:
            stays[...] = np.log(generator.uniform(1, memory - 1, hidden))
            if kind == "lstm":
                bias.data[:hidden] = -stays  # of gate i: as little comes in
        elif kind == "lstm":
            stays[...] = 1
    return made


class RecurrentLM(Module):
    """tokens (N, T) integers -> logits (N, T, vocabulary).

    The first layer gets the table of the embedding and the tokens, not the rows looked up: what an input contributes to
    the gates is then computed once for each row of the table, which for a vocabulary of letters is far less work.
    """

    def __init__(
        self, kind: str, vocabulary: int, width: int = 128, hidden: int = 256, layers: int = 1, memory: int = 0, *,
        generator: np.random.Generator, dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        self.tokens = Embedding(vocabulary, width, generator=generator, dtype=dtype)
        self.recurrent = layers_of(kind, width, hidden, layers, memory, generator, dtype)
        self.output = Linear(hidden, vocabulary, generator=generator, dtype=dtype)

    def start(self) -> Any:
        """The state before the first token: zeros, for which None stands."""
        return None

    def forward(self, tokens: Tensor) -> Tensor:
        return self.read(tokens, self.start())[0]

    def read(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Logits of tokens (N, T), and the state from which the next tokens go on."""
        hidden, state = self.recurrent(self.tokens.weight, state, tokens=tokens.T)  # (T, N, hidden)
        return self.output(hidden).transpose(0, 1), state

    def step(self, tokens: Array, state: Any) -> tuple[Tensor, Any]:
        """One token each (N,) -> logits (N, vocabulary), and the state after it."""
        logits, state = self.read(Tensor(tokens[:, None]), state)
        return logits[:, 0], state


class RecurrentRegressor(Module):
    """x (N, T, inputs) -> (N, outputs), after the last step."""

    def __init__(
        self, kind: str, inputs: int, outputs: int, hidden: int = 128, layers: int = 1, memory: int = 0, *,
        generator: np.random.Generator, dtype: DTypeLike = np.float32,
    ) -> None:  # fmt: skip
        self.recurrent = layers_of(kind, inputs, hidden, layers, memory, generator, dtype)
        self.output = Linear(hidden, outputs, generator=generator, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        hidden, _ = self.recurrent(x.transpose(0, 1))
        out: Tensor = self.output(hidden[-1])
        return out
