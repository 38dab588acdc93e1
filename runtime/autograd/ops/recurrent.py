"""Recurrent networks: one op for one layer in one direction, over the whole of each sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from ringleader.runtime.autograd.op import Array, Function, Shape, op, to_host
from ringleader.runtime.autograd.ops import recurrent_steps as steps
from ringleader.runtime.autograd.ops.embedding import check_indices, sum_rows
from ringleader.runtime.autograd.ops.matmul import product
from ringleader.runtime.autograd.ops.recurrent_time import Rows

NONLINEARITIES = {
    "tanh": (steps.tanh_step, steps.tanh_step_backward),
    "relu": (steps.relu_step, steps.relu_step_backward),
}


@dataclass(eq=False)
class Recurrent(Function):
    """x (T, N, I), states (N, H), w_ih (G H, I), w_hh (G H, H), b_ih and b_hh (G H,) -> (T + states, N, H).

    The result holds the hidden state of each step, then the last of each state: h, and c of an LSTM. The two
    biases may be left out together. ``lengths`` (N,), integers 0..T in any order: a sequence's states stay as
    they are behind its end, where the result is 0. ``reverse`` runs from each sequence's own end to its start.

    ``tokens`` (T, N), integers of 0..V-1: x is then a table (V, I), of which each step reads the row of its token. That is
    an embedding and the layer in one: a one-hot vector times a matrix is a row of it, so the inputs' part is computed once
    for each row of the table, and its gradient is summed by rows before any product. Less work where V < T N.

    What the inputs contribute is one product for all steps, before the loop over time, and so are dx and the
    gradients of the weights, after it (Appleyard, Kocisky, Blunsom 2016); in the loop is only what needs the
    step before. A subclass says what a step does, with the functions of ``recurrent_steps``.
    """

    matmul, sum_rows = staticmethod(product), staticmethod(sum_rows)
    gate_count: ClassVar[int]
    state_count: ClassVar[int] = 1

    lengths: Array | None = None
    reverse: bool = False
    tokens: Array | None = None

    def shape(self, x: Shape, *rest: Shape) -> Shape:
        if self.tokens is not None:
            if len(x) != 2 or self.tokens.ndim != 2:
                raise self.refuse("the table must be (V, I) and tokens (T, N)", x, self.tokens.shape)
            check_indices(self.name, self.tokens, x[0])
            x = (*self.tokens.shape, x[1])
        states, (w_ih, w_hh, *biases) = rest[: self.state_count], rest[self.state_count :]
        if len(x) != 3 or len(w_hh) != 2:
            raise self.refuse("input must be (T, N, I) and w_hh (G H, H)", x, w_hh)
        (t, n, i), hidden = x, w_hh[1]
        if w_hh[0] != self.gate_count * hidden or w_ih != (w_hh[0], i):
            raise self.refuse(
                f"w_ih must be ({self.gate_count} H, {i}), w_hh ({self.gate_count} H, H)", w_ih, w_hh
            )
        if any(state != (n, hidden) for state in states):
            raise self.refuse(f"a state must be ({n}, {hidden})", x, *states)
        if len(biases) not in (0, 2) or any(bias != w_hh[:1] for bias in biases):
            raise self.refuse(f"biases must be two of ({w_hh[0]},), or none", w_hh, *biases)
        if self.lengths is not None:
            self.lengths = to_host(self.lengths)  # they say which steps there are
            self._check_lengths(self.lengths, t, n)
        return (t + self.state_count, n, hidden)

    def _check_lengths(self, lengths: Array, t: int, n: int) -> None:
        if lengths.dtype.kind not in "iu":
            raise TypeError(f"{self.name}: lengths must be integers, not {lengths.dtype}")
        if lengths.shape != (n,):
            raise self.refuse(f"lengths must be ({n},)", lengths.shape)
        wrong = lengths[(lengths < 0) | (lengths > t)]
        if wrong.size:
            raise ValueError(f"{self.name}: length {wrong[0]} is not one of 0..{t}")

    def forward(self, x: Array, *rest: Array) -> Array:
        first, (w_ih, w_hh, *biases) = rest[: self.state_count], rest[self.state_count :]
        (t, n, *_), hidden, dtype = (
            (x if self.tokens is None else self.tokens).shape,
            w_hh.shape[1],
            np.result_type(*(a.dtype for a in (x, *rest))),
        )
        self.rows = Rows(t, n, self.lengths, self.reverse, self.xp)
        self.w_ih, self.w_hh = w_ih, w_hh
        self.first = [self.rows.sort(state) for state in first]
        y = self.xp.empty((t + self.state_count, n, hidden), dtype)
        self.gates = self._of_inputs(x, w_ih, self._bias(biases)).astype(dtype, copy=False)  # (rows, G H)
        count = len(self.gates)
        h = y[:t].reshape(count, hidden) if self.lengths is None else self.xp.empty((count, hidden), dtype)
        self.states = [h, *(self.xp.empty_like(h) for _ in first[1:])]  # each state after each step
        self._start(biases)
        self._run()
        if self.lengths is not None:
            y[:t] = self.rows.unpack(h)
        for i, (state, before) in enumerate(zip(self.states, self.first)):
            y[t + i] = self.rows.unsort(self.rows.last(state, before))
        return y

    def _of_inputs(self, x: Array, w_ih: Array, bias: Array | None) -> Array:
        """What the inputs contribute to the gates (rows, G H): an array of its own."""
        if self.tokens is None:
            self.x = self.rows.pack(x)
            return self.matmul(self.x, w_ih.T, bias)
        self.x, self.places = x, self.rows.pack(self.tokens[:, :, None])[:, 0]
        return self.matmul(x, w_ih.T, bias)[self.places]

    def _bias(self, biases: list[Array]) -> Array | None:
        """What is added to the inputs' part."""
        return biases[0] + biases[1] if biases else None

    def _start(self, biases: list[Array]) -> None:
        """Before the first step: room for what the steps make."""
        self.product = self.xp.empty((self.rows.size[1], self.gates.shape[1]), self.gates.dtype)

    def _run(self) -> None:
        """Fill gates and states."""
        w = self.xp.ascontiguousarray(self.w_hh.T)  # as (H, G H): products of few rows are faster so
        before = self.first
        for rows, n in self.rows.steps:
            before = [state[:n] for state in before]
            product = self._product(rows, n)
            self.xp.matmul(before[0], w, out=product)
            self._step(rows, before, product)
            before = [state[rows] for state in self.states]

    def _product(self, rows: slice, n: int) -> Array:
        """Where this step's w_hh h goes."""
        return self.product[:n]

    def _step(self, rows: slice, before: list[Array], product: Array) -> None:
        raise NotImplementedError

    def backward(self, g: Array) -> tuple[Array | None, ...]:
        t = self.rows.size[0]
        dh = self.rows.pack(g[:t])
        dstates = [
            self.rows.sort(last) for last in g[t:]
        ]  # goes back in time; a short sequence's waits there
        dgates = self.xp.empty_like(self.gates)
        dproduct = self._dproduct(dgates)
        self._run_backward(dh, dstates, dgates, dproduct)
        needs = self.needs[1 + self.state_count :]
        dw_hh = self.matmul(dproduct.T, self._earlier()) if needs[1] else None
        dinputs = dgates if self.tokens is None else self.sum_rows(dgates, self.places, len(self.x))
        dx = self.matmul(dinputs, self.w_ih) if self.needs[0] else None
        if dx is not None and self.tokens is None:
            dx = self.rows.unpack(dx)
        dw_ih = self.matmul(dinputs.T, self.x) if needs[0] else None
        db = [dinputs.sum(axis=0)] * len(needs[2:])
        if needs[2:] and dproduct is not dgates:
            db[1] = dproduct.sum(axis=0)
        return (dx, *(self.rows.unsort(d) for d in dstates), dw_ih, dw_hh, *db)

    def _earlier(self) -> Array:
        """The h before each step (rows, H)."""
        (h, *_), (before, *_) = self.states, self.first
        earlier = self.xp.empty_like(h)
        for rows, n in self.rows.steps:
            earlier[rows] = before[:n]
            before = h[rows]
        return earlier

    def _run_backward(self, dh: Array, dstates: list[Array], dgates: Array, dproduct: Array) -> None:
        """Fill dgates and dproduct; dstates turn from the last states' into the first ones'."""
        for i in reversed(range(len(self.rows.steps))):
            rows, n = self.rows.steps[i]
            back = self.rows.steps[i - 1][0] if i else slice(None)
            before = [state[back][:n] for state in (self.states if i else self.first)]
            running = [state[:n] for state in dstates]
            running[0] += dh[rows]
            self._step_backward(rows, before, running, dgates[rows], dproduct[rows])

    def _dproduct(self, dgates: Array) -> Array:
        return dgates  # where the product is added to what the input contributes

    def _step_backward(
        self, rows: slice, before: list[Array], dstates: list[Array], dgates: Array, dproduct: Array
    ) -> None:
        """Fill dgates and dproduct; dstates turn from the states after the step into those before it."""
        raise NotImplementedError


@op("rnn")
@dataclass(eq=False)
class RNN(Recurrent):
    """h' = f(w_ih x + b_ih + w_hh h + b_hh), f being "tanh" or "relu" (Elman 1990, whose f is a sigmoid and who
    has one bias)."""

    gate_count = 1

    nonlinearity: str = "tanh"

    def shape(self, x: Shape, *rest: Shape) -> Shape:
        if self.nonlinearity not in NONLINEARITIES:
            raise ValueError(
                f"rnn: unknown nonlinearity {self.nonlinearity!r}; known: {', '.join(NONLINEARITIES)}"
            )
        return super().shape(x, *rest)

    def _step(self, rows: slice, before: list[Array], product: Array) -> None:
        step, _ = NONLINEARITIES[self.nonlinearity]
        step(self.xp, self.gates[rows], product, self.states[0][rows])

    def _step_backward(
        self, rows: slice, before: list[Array], dstates: list[Array], dgates: Array, dproduct: Array
    ) -> None:
        _, step_backward = NONLINEARITIES[self.nonlinearity]
        step_backward(self.xp, self.states[0][rows], dstates[0], dgates)
        self.xp.matmul(dproduct, self.w_hh, out=dstates[0])


@op("lstm")
@dataclass(eq=False)
class LSTM(Recurrent):
    """c' = f c + i g, h' = o tanh(c'), with the gates i, f, o = sigmoid and g = tanh of w_ih x + w_hh h.

    Hochreiter and Schmidhuber 1997, with the forget gate f of Gers, Schmidhuber and Cummins 2000, and without
    their peepholes. Rows of the weights, as in PyTorch: i, f, g, o.
    """

    gate_count = 4
    state_count = 2
    step, step_backward = staticmethod(steps.lstm_step), staticmethod(steps.lstm_step_backward)

    def _start(self, biases: list[Array]) -> None:
        super()._start(biases)
        self.tanh_c = self.xp.empty_like(self.states[1])

    def _step(self, rows: slice, before: list[Array], product: Array) -> None:
        h, c = self.states
        self.step(self.xp, self.gates[rows], product, before[1], c[rows], self.tanh_c[rows], h[rows])

    def _step_backward(
        self, rows: slice, before: list[Array], dstates: list[Array], dgates: Array, dproduct: Array
    ) -> None:
        dh, dc = dstates
        self.step_backward(self.xp, self.gates[rows], before[1], self.tanh_c[rows], dh, dc, dgates)
        self.xp.matmul(dproduct, self.w_hh, out=dh)


@op("gru")
@dataclass(eq=False)
class GRU(Recurrent):
    """h' = (1 - z) n + z h, with r, z = sigmoid(w_ih x + b_ih + w_hh h + b_hh) and, in the rows of n,
    n = tanh(w_ih x + b_ih + r (w_hh h + b_hh)).

    Cho et al. 2014, who write w_hh (r h) and swap z with 1 - z; this is the form of PyTorch and cuDNN, whose
    product with w_hh is one for all gates. Rows of the weights: r, z, n.
    """

    gate_count = 3
    step, step_backward = staticmethod(steps.gru_step), staticmethod(steps.gru_step_backward)

    def _bias(self, biases: list[Array]) -> Array | None:
        return biases[0] if biases else None

    def _start(self, biases: list[Array]) -> None:
        self.b_hh = biases[1] if biases else None
        self.product = self.xp.empty_like(self.gates)  # of all steps: the gradient of r needs it
        self.room = self.xp.empty_like(self.first[0])

    def _product(self, rows: slice, n: int) -> Array:
        return self.product[rows]

    def _step(self, rows: slice, before: list[Array], product: Array) -> None:
        if self.b_hh is not None:
            product += self.b_hh
        self.step(self.xp, self.gates[rows], product, before[0], self.states[0][rows])

    def _dproduct(self, dgates: Array) -> Array:
        return self.xp.empty_like(dgates)

    def _step_backward(
        self, rows: slice, before: list[Array], dstates: list[Array], dgates: Array, dproduct: Array
    ) -> None:
        (dh,), room = dstates, self.room[: len(dstates[0])]
        self.step_backward(self.xp, self.gates[rows], self.product[rows], before[0], dh, dgates, dproduct)
        self.xp.matmul(dproduct, self.w_hh, out=room)
        dh += room
