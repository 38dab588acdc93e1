"""Recurrent layers on a device: RNN (tanh, relu), LSTM and GRU over whole sequences, forward and backward.

T steps, N sequences, H hidden units, G gates: 1 of an RNN, 4 of an LSTM (i, f, g, o), 3 of a GRU (r, z, n). The formulas
stand in recurrent_cells.cuh. What the inputs contribute, x = inputs W_x^T + b (T, N, G H), is a matrix product outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ringleader.csrc.cuda.device import Array, Device, c_type, ceil_div
from ringleader.csrc.cuda.recurrent_versions import (
    CELLS,
    GROUP,
    K_MULTIPLE,
    SHARED,
    TILE,
    WARPS,
    expression,
    plan,
)
from ringleader.csrc.cuda.versions import ALL, Draw, choose, example


@dataclass(frozen=True)
class Layer:
    """What ``backward`` needs of a forward pass: its arguments, and what it computed."""

    cell: str
    h_first: Array  # (N, H)
    c_first: Array | None
    weights: Array  # (G H, H)
    lengths: Array | None  # (N,), int32, on the host
    reverse: bool
    biased: bool
    outputs: Array  # (T, N, H)
    gates: Array  # (T, N, G H), the gates' values; of an RNN, outputs
    kept: Array | None  # (T, N, H), of at least float32. LSTM: c of each step; GRU: W h + b of the gate n

    def shape(self, device: Device) -> dict[str, Any]:
        """What a version is chosen by."""
        _, sequences, hidden = self.outputs.shape
        return {
            "cell": self.cell,
            "sequences": sequences,
            "hidden": hidden,
            "itemsize": self.outputs.dtype.itemsize,
            "multiprocessors": device.multiprocessors,
            "shared": SHARED.get(device.architecture, 99) * 1024,
        }

    def extents(self) -> tuple[np.int32, ...]:
        """steps, sequences, hidden, reverse, as the kernels take them."""
        return tuple(np.int32(n) for n in (*self.outputs.shape, self.reverse))


@dataclass(frozen=True)
class Gradients:
    """inputs (T, N, G H), the first states (N, H), weights (G H, H) and b (H,); dtypes as of what they belong to."""

    inputs: Array
    h_first: Array
    c_first: Array | None
    weights: Array
    bias: Array | None


def forward(
    device: Device,
    cell: str,
    inputs: Array,
    h_first: Array,
    c_first: Array | None,
    weights: Array,
    bias: Array | None = None,
    lengths: Array | None = None,
    reverse: bool = False,
    version: str | None = None,
) -> tuple[Array, tuple[Array, ...], Layer]:
    """The outputs (T, N, H), the last states (h, and c of an LSTM), and what ``backward`` takes.

    inputs: x (T, N, G H), all biases but b included. c_first: of an LSTM alone. weights: W (G H, H). bias: b (H,), which a
    GRU adds to W h of its gate n, or None. lengths: integers 0..T (N,) on the host: a sequence's states stay as they are
    behind its end, where outputs are 0. reverse: from each sequence's own end to its start.
    """
    lengths = _check(cell, inputs, h_first, c_first, weights, bias, lengths)
    xp, dtype = device.xp, inputs.dtype
    steps, sequences, _ = inputs.shape
    hidden = weights.shape[1]
    is_rnn = CELLS[cell].gates == 1
    empty = xp.empty if lengths is None else xp.zeros  # no step writes behind the end of a sequence
    outputs = empty((steps, sequences, hidden), dtype)
    gates = outputs if is_rnn else xp.empty(inputs.shape, dtype)
    kept = None if is_rnn else xp.empty(outputs.shape, _compute(dtype))
    layer = Layer(cell, h_first, c_first, weights, lengths, reverse, bias is not None, outputs, gates, kept)
    last = [
        state.copy() for state in (h_first, c_first) if state is not None
    ]  # how sequences of length 0 end
    chosen = choose(f"{cell}_forward", device.architecture, dtype, version, **layer.shape(device)).name
    if outputs.size == 0:
        return outputs, tuple(last), layer
    args = [inputs, h_first, c_first, weights, bias, _on_device(xp, lengths), outputs, gates, kept]
    args += [*last, None][:2]
    steps_, *rest = layer.extents()
    if chosen == "clear":
        grid = ceil_div(hidden, TILE), ceil_div(sequences, TILE)
        kernel = f"recurrent_step<{CELLS[cell].name}, {c_type(dtype)}>"
        for step in range(steps):
            device.launch("recurrent.cu", kernel, grid, (TILE, TILE), [*args, np.int32(step), steps_, *rest])
    else:
        exchange = _exchange(xp, sequences, 1, hidden, dtype)
        exchange[0, :sequences, :hidden] = h_first
        _launch(device, "forward", chosen, layer, [*args, exchange])
    return outputs, tuple(last), layer


def backward(
    device: Device,
    layer: Layer,
    doutputs: Array,
    dh_last: Array,
    dc_last: Array | None = None,
    version: str | None = None,
) -> Gradients:
    """The gradients, given those of the outputs (T, N, H) and of the last states (N, H)."""
    _check_gradients(layer, doutputs, dh_last, dc_last)
    xp, cell, dtype, outputs = device.xp, CELLS[layer.cell], doutputs.dtype, layer.outputs
    steps, sequences, hidden = outputs.shape
    empty = xp.empty if layer.lengths is None else xp.zeros
    dinputs = empty((steps, sequences, cell.gates * hidden), dtype)
    dproducts = empty(dinputs.shape, dtype) if layer.cell == "gru" else dinputs
    dhidden = dh_last.astype(_compute(dtype))  # a copy: it becomes the gradient of h_first
    dcell = None if dc_last is None else dc_last.astype(_compute(dtype))
    chosen = choose(f"{layer.cell}_backward", device.architecture, dtype, version, **layer.shape(device)).name
    args = [layer.h_first, layer.c_first, layer.weights, _on_device(xp, layer.lengths), outputs, layer.gates]
    args += [layer.kept, doutputs, dinputs, dproducts, dhidden, dcell]
    if outputs.size == 0:
        pass
    elif chosen == "clear":
        grid = ceil_div(hidden, TILE), ceil_div(sequences, TILE)
        kernel = f"recurrent_step_backward<{cell.name}, {c_type(dtype)}>"
        for step in range(steps - 1, -2, -1):
            device.launch(
                "recurrent.cu", kernel, grid, (TILE, TILE), [*args, np.int32(step), *layer.extents()]
            )
    else:
        exchange = _exchange(xp, sequences, cell.gates, hidden, dtype)
        _launch(device, "backward", chosen, layer, [*args, exchange])
    rows = dproducts.reshape(steps * sequences, cell.gates * hidden)
    dbias = rows[:, -hidden:].sum(axis=0, dtype=_compute(dtype)).astype(dtype) if layer.biased else None
    dc_first = None if dcell is None else dcell.astype(dtype)
    return Gradients(dinputs, dhidden.astype(dtype), dc_first, _weight_gradient(xp, layer, rows), dbias)


def _launch(device: Device, direction: str, version: str, layer: Layer, args: list[Any]) -> None:
    """A persistent kernel, which takes a counter of the grid's barriers and the units of a block besides."""
    how = plan(direction, version, layer.shape(device))
    assert how is not None  # the version fits
    kernel = expression(direction, version, CELLS[layer.cell], layer.outputs.dtype, how.rows)
    args = [*args, device.xp.zeros(1, np.uint32), *layer.extents(), np.int32(how.units)]
    device.launch("recurrent_persistent.cu", kernel, how.blocks, 32 * WARPS, args, shared=how.shared)


def _exchange(xp: Any, sequences: int, gates: int, hidden: int, dtype: Any) -> Array:
    """Where the blocks of a persistent kernel leave their part of a step for the others, of two steps in turn."""
    padded = ceil_div(hidden, K_MULTIPLE) * K_MULTIPLE
    return xp.zeros((2, ceil_div(sequences, GROUP) * GROUP, gates * padded), dtype)


def _weight_gradient(xp: Any, layer: Layer, dproducts: Array) -> Array:
    """The sum over all steps and sequences of dproducts (T N, G H) times h of the step before: (G H, H)."""
    outputs, dtype = layer.outputs, layer.outputs.dtype
    steps, sequences, hidden = outputs.shape
    before = xp.zeros_like(outputs)
    if outputs.size and layer.reverse:
        before[:-1] = outputs[1:]
        starts = steps - 1 if layer.lengths is None else xp.asarray(layer.lengths) - 1
        before[starts, xp.arange(sequences)] = layer.h_first  # of length 0: in a row whose dproducts are 0
    elif outputs.size:
        before[1:], before[0] = outputs[:-1], layer.h_first
    before = before.reshape(steps * sequences, hidden)
    if xp is np and dtype.itemsize == 2:  # as cuBLAS, which sums 16-bit numbers in float32
        return (dproducts.astype(np.float32).T @ before.astype(np.float32)).astype(dtype)
    return dproducts.T @ before


def _compute(dtype: Any) -> np.dtype[Any]:
    """What a kernel computes in: Compute<T> of common.cuh."""
    return np.dtype(np.float64 if dtype.itemsize == 8 else np.float32)


def _on_device(xp: Any, lengths: Array | None) -> Array | None:
    return None if lengths is None else xp.asarray(lengths)


def _check(
    cell: str,
    inputs: Array,
    h_first: Array,
    c_first: Array | None,
    weights: Array,
    bias: Array | None,
    lengths: Array | None,
) -> Array | None:
    """The lengths as the kernels take them. ValueError, TypeError: an argument does not fit the others."""
    if cell not in CELLS:
        raise ValueError(f"recurrent: unknown cell {cell!r}; known: {', '.join(CELLS)}")
    gates = CELLS[cell].gates
    if inputs.dtype.name not in ALL:
        raise TypeError(f"recurrent: inputs must be {', '.join(ALL)}, not {inputs.dtype}")
    if weights.ndim != 2 or weights.shape[0] != gates * weights.shape[1]:
        raise ValueError(f"recurrent: weights of a {cell} must be ({gates} H, H), not {weights.shape}")
    hidden = weights.shape[1]
    if inputs.ndim != 3 or inputs.shape[2] != gates * hidden:
        raise ValueError(f"recurrent: inputs must be (T, N, {gates * hidden}), not {inputs.shape}")
    steps, sequences, _ = inputs.shape
    if (c_first is None) == (cell == "lstm"):
        raise ValueError(f"recurrent: c_first is for an lstm, which needs it; this is: {cell}")
    if bias is not None and cell != "gru":
        raise ValueError(f"recurrent: bias is for a gru; that of a {cell} belongs to inputs")
    _check_array("weights", weights, (gates * hidden, hidden), inputs.dtype)
    _check_array("inputs", inputs, inputs.shape, inputs.dtype)
    _check_array("h_first", h_first, (sequences, hidden), inputs.dtype)
    if c_first is not None:
        _check_array("c_first", c_first, (sequences, hidden), inputs.dtype)
    if bias is not None:
        _check_array("bias", bias, (hidden,), inputs.dtype)
    return None if lengths is None else _check_lengths(np.asarray(lengths), steps, sequences)


def _check_lengths(lengths: Array, steps: int, sequences: int) -> Array:
    if lengths.dtype.kind not in "iu":
        raise TypeError(f"recurrent: lengths must be integers, not {lengths.dtype}")
    if lengths.shape != (sequences,):
        raise ValueError(f"recurrent: lengths must be ({sequences},), not {lengths.shape}")
    wrong = lengths[(lengths < 0) | (lengths > steps)]
    if wrong.size:
        raise ValueError(f"recurrent: lengths must be 0..{steps}, not {wrong[0]}")
    return lengths.astype(np.int32)


def _check_gradients(layer: Layer, doutputs: Array, dh_last: Array, dc_last: Array | None) -> None:
    shape, dtype = layer.outputs.shape, layer.outputs.dtype
    if (dc_last is None) == (layer.cell == "lstm"):
        raise ValueError(f"recurrent: dc_last is for an lstm, which needs it; this is: {layer.cell}")
    _check_array("doutputs", doutputs, shape, dtype)
    _check_array("dh_last", dh_last, shape[1:], dtype)
    if dc_last is not None:
        _check_array("dc_last", dc_last, shape[1:], dtype)


def _check_array(name: str, array: Array, shape: tuple[int, ...], dtype: Any) -> None:
    if array.shape != shape:
        raise ValueError(f"recurrent: {name} must be {shape}, not {array.shape}")
    if array.dtype != dtype:
        raise TypeError(f"recurrent: {name} must be {dtype}, not {array.dtype}")
    if not array.flags.c_contiguous:
        raise ValueError(f"recurrent: {name} must be C-contiguous; its strides are {array.strides} bytes")


def _examples(cell: str) -> None:
    def layer(
        device: Device, draw: Draw, version: str | None, steps: int, sequences: int, hidden: int
    ) -> tuple[Array, tuple[Array, ...], Layer]:
        gates = CELLS[cell].gates
        inputs = draw(steps, sequences, gates * hidden)
        weights = draw(gates * hidden, hidden, scale=max(hidden, 1) ** -0.5)
        h_first, c_first, bias = draw(sequences, hidden), draw(sequences, hidden), draw(hidden)
        return forward(device, cell, inputs, h_first, c_first if cell == "lstm" else None, weights,
                       bias if cell == "gru" else None, version=version)  # fmt: skip

    @example(f"{cell}_forward", shape="T,N,H", default=(5, 3, 27))
    def forward_example(device: Device, draw: Draw, version: str | None, *shape: int) -> tuple[Array, ...]:
        outputs, last, _ = layer(device, draw, version, *shape)
        return (outputs, *last)

    @example(f"{cell}_backward", shape="T,N,H", default=(5, 3, 27))
    def backward_example(device: Device, draw: Draw, version: str | None, *shape: int) -> tuple[Array, ...]:
        _, _, kept = layer(device, draw, None, *shape)
        doutputs, dh_last = draw(*shape), draw(*shape[1:])
        dc_last = draw(*shape[1:]) if cell == "lstm" else None
        d = backward(device, kept, doutputs, dh_last, dc_last, version)
        return tuple(a for a in (d.inputs, d.h_first, d.c_first, d.weights, d.bias) if a is not None)


for _cell in CELLS:
    _examples(_cell)
