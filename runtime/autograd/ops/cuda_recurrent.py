"""RNN, LSTM and GRU by CUDA kernels: all steps of a layer in one direction by one call, forward and backward.

Products with the inputs' weights are one each for all steps, and go to the array module: cuBLAS on a GPU.
"""

from __future__ import annotations

from math import prod

from ringleader.csrc.cuda import recurrent
from ringleader.runtime.autograd.cuda import cuda, kernel_device, laid_out, takes
from ringleader.runtime.autograd.op import Array
from ringleader.runtime.autograd.ops.cuda_elements import sum_rows
from ringleader.runtime.autograd.ops.recurrent import GRU, LSTM, RNN, Recurrent


class CudaRecurrent(Recurrent):
    """In front of an array-module op. The kernels know of lengths and directions: no row has to move."""

    sum_rows = staticmethod(sum_rows)
    layer: recurrent.Layer | None = None  # forward went to the kernel, and backward has to

    def cell(self) -> str:
        return self.name

    def forward(self, x: Array, *rest: Array) -> Array:
        if not takes(x, *rest):
            return super().forward(x, *rest)
        xp, states, (w_ih, w_hh, *biases) = self.xp, rest[: self.state_count], rest[self.state_count :]
        t, n = (x if self.tokens is None else self.tokens).shape[:2]
        self.x, self.w_ih, self.biased = x.reshape(prod(x.shape[:-1]), x.shape[-1]), w_ih, bool(biases)
        inputs = self.x @ w_ih.T  # (T N, I) (I, G H), or of each row of a table
        own, of_product = self._biases(biases)
        if own is not None:
            inputs += own
        if self.tokens is not None:
            inputs = inputs[self.tokens]
        inputs = laid_out(inputs.astype(x.dtype, copy=False).reshape(t, n, w_hh.shape[0]))  # products widen bfloat16
        h, *c = (laid_out(state) for state in states)
        outputs, last, self.layer = recurrent.forward(
            kernel_device(xp), self.cell(), inputs, h, c[0] if c else None, laid_out(w_hh), of_product,
            self.lengths, self.reverse,
        )  # fmt: skip
        return xp.concatenate([outputs, *(state[None] for state in last)])

    def _biases(self, biases: list[Array]) -> tuple[Array | None, Array | None]:
        """What is added to the inputs' part, and what the kernel adds to that of the state before."""
        return (biases[0] + biases[1] if biases else None), None

    def backward(self, g: Array) -> tuple[Array | None, ...]:
        if self.layer is None:
            return super().backward(g)
        g = laid_out(g)
        t, gates = len(g) - self.state_count, len(self.w_ih)
        d = recurrent.backward(kernel_device(self.xp), self.layer, g[:t], *g[t:])
        rows = d.inputs.reshape(prod(d.inputs.shape[:2]), gates)  # (T N, G H)
        if self.tokens is not None:
            rows = self.sum_rows(rows, self.tokens.reshape(-1), len(self.x))
        needs = self.needs[1 + self.state_count :]
        dx = rows @ self.w_ih if self.needs[0] else None
        dw_ih = rows.T @ self.x if needs[0] else None
        states = [d.h_first, d.c_first][: self.state_count]
        dx = None if dx is None else dx.reshape(self.input_shapes[0])
        db = self._bias_gradients(rows.sum(axis=0), d) if self.biased else []
        return (dx, *states, dw_ih, d.weights, *db)

    def _bias_gradients(self, of_inputs: Array, d: recurrent.Gradients) -> list[Array]:
        return [of_inputs, of_inputs]


@cuda("rnn")
class CudaRNN(CudaRecurrent, RNN):
    def cell(self) -> str:
        return f"rnn_{self.nonlinearity}"


@cuda("lstm")
class CudaLSTM(CudaRecurrent, LSTM):
    pass


@cuda("gru")
class CudaGRU(CudaRecurrent, GRU):
    """The kernel adds the state's bias of gate n, which the reset gate multiplies; those of r and z go along with the
    inputs'."""

    def _biases(self, biases: list[Array]) -> tuple[Array | None, Array | None]:
        if not biases:
            return None, None
        own, of_product = biases[0].copy(), biases[1]
        gates = 2 * len(own) // 3  # r and z
        own[:gates] += of_product[:gates]
        return own, laid_out(of_product[gates:])

    def _bias_gradients(self, of_inputs: Array, d: recurrent.Gradients) -> list[Array]:
        of_product = of_inputs.copy()
        of_product[2 * len(of_product) // 3 :] = d.bias
        return [of_inputs, of_product]
