"""LSTM and GRU with the whole loop over time, its products included, in one call of a native kernel."""

from __future__ import annotations

from ringleader.runtime.autograd.native import KERNELS, matmul, native, takes
from ringleader.runtime.autograd.op import Array
from ringleader.runtime.autograd.ops.native_rows import sum_rows
from ringleader.runtime.autograd.ops.recurrent import GRU, LSTM
from ringleader.runtime.autograd.ops.recurrent_time import Rows


def steps_of(rows: Rows) -> list[tuple[int, int]]:
    """First row and number of rows of each step."""
    return [(of.start, n) for of, n in rows.steps]


@native("lstm")
class NativeLSTM(LSTM):
    matmul, sum_rows = staticmethod(matmul), staticmethod(sum_rows)

    def _run(self) -> None:
        (h, c), (h_first, c_first) = self.states, self.first
        if not takes(self.gates, h, self.w_hh, h_first, c_first):
            super()._run()
            return
        KERNELS.lstm(self.gates, c, self.tanh_c, h, self.w_hh, h_first, c_first, steps_of(self.rows))

    def _run_backward(self, dh: Array, dstates: list[Array], dgates: Array, dproduct: Array) -> None:
        if not takes(dgates, dh, *dstates, self.w_hh, self.first[1]):
            super()._run_backward(dh, dstates, dgates, dproduct)
            return
        KERNELS.lstm_backward(dgates, *dstates, dh, self.w_hh, self.gates, self.states[1], self.tanh_c,
                              self.first[1], steps_of(self.rows))  # fmt: skip


@native("gru")
class NativeGRU(GRU):
    matmul, sum_rows = staticmethod(matmul), staticmethod(sum_rows)

    def _run(self) -> None:
        (h,), (first,) = self.states, self.first
        if not takes(self.gates, h, self.w_hh, first, *([] if self.b_hh is None else [self.b_hh])):
            super()._run()
            return
        KERNELS.gru(self.gates, self.product, h, self.w_hh, self.b_hh, first, steps_of(self.rows))

    def _run_backward(self, dh: Array, dstates: list[Array], dgates: Array, dproduct: Array) -> None:
        if not takes(dgates, dh, *dstates, self.w_hh, self.first[0]):
            super()._run_backward(dh, dstates, dgates, dproduct)
            return
        KERNELS.gru_backward(dgates, dproduct, *dstates, dh, self.w_hh, self.gates, self.product, self.states[0],
                             self.first[0], steps_of(self.rows))  # fmt: skip
