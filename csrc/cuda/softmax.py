"""Softmax and its logarithm along the last axis, forward and backward (softmax.cu).

The versions, best first: ``registers``, up to 32 KB a row, which is a multiple of 16 bytes; ``long``, rows of any length
in aligned arrays; ``clear``, all.
"""

from __future__ import annotations

import numpy as np
from ringleader.csrc.cuda.device import Array, Device, c_type
from ringleader.csrc.cuda.rows import (
    CLEAR_BLOCK,
    LONG_BLOCK,
    check_rows,
    fits_registers,
    fits_walk,
    layout,
    register_grid,
    row_instances,
    shape_of,
)
from ringleader.csrc.cuda.versions import Draw, Version, choose, example, instances, versions

FILE = "softmax.cu"

VERSIONS = versions(
    *(
        version
        for operator in ("softmax_forward", "softmax_backward")
        for version in (
            Version(operator, "registers", fits=fits_registers),
            Version(operator, "long", fits=fits_walk),
            Version(operator, "clear"),
        )
    )
)
INSTANCES = instances(*row_instances(FILE, "softmax_forward softmax_backward", (", false", ", true")))


def softmax(device: Device, x: Array, version: str | None = None) -> Array:
    """exp(x) / sum exp(x) along the last axis of x (..., columns). NaN where all of a row is -inf.

    TypeError, ValueError: x is not C-contiguous, has no axis or a dtype that kernels do not take; so for all functions here.
    """
    return _forward(device, "softmax", x, False, version)


def log_softmax(device: Device, x: Array, version: str | None = None) -> Array:
    """x - log sum exp(x) along the last axis of x (..., columns)."""
    return _forward(device, "log_softmax", x, True, version)


def softmax_backward(device: Device, g: Array, y: Array, version: str | None = None) -> Array:
    """The gradient of softmax's input, from that of its output, g, and its output y, both (..., columns)."""
    return _backward(device, "softmax_backward", g, y, False, version)


def log_softmax_backward(device: Device, g: Array, y: Array, version: str | None = None) -> Array:
    """The gradient of log_softmax's input, from that of its output, g, and its output y, both (..., columns)."""
    return _backward(device, "log_softmax_backward", g, y, True, version)


def _forward(device: Device, name: str, x: Array, log: bool, version: str | None) -> Array:
    rows, columns = check_rows(name, "x", x)
    y = device.xp.empty(x.shape, x.dtype)
    _launch(device, "softmax_forward", [x, y], rows, columns, log, version)
    return y


def _backward(device: Device, name: str, g: Array, y: Array, log: bool, version: str | None) -> Array:
    rows, columns = check_rows(name, "y", y)
    check_rows(name, "g", g, like=y)
    dx = device.xp.empty(y.shape, y.dtype)
    _launch(device, "softmax_backward", [g, y, dx], rows, columns, log, version)
    return dx


def _launch(
    device: Device,
    operator: str,
    arrays: list[Array],
    rows: int,
    columns: int,
    log: bool,
    version: str | None,
) -> None:
    """The kernel of one version of the operator. The arrays are its first parameters."""
    shape = shape_of(rows, columns, *arrays)
    chosen = choose(operator, device.architecture, arrays[0].dtype, version=version, **shape).name
    if rows == 0 or columns == 0:
        return
    dtype, flag = c_type(arrays[0].dtype), str(log).lower()
    if chosen == "registers":
        threads, packs = layout(shape["row_bytes"])
        grid, block = register_grid(device, rows, threads)
        expression = f"{operator}_registers<{dtype}, {threads}, {packs}, {flag}>"
        device.launch(FILE, expression, grid, block, [*arrays, np.int64(rows), np.int32(columns)])
    else:
        suffix, block = ("_long", LONG_BLOCK) if chosen == "long" else ("", CLEAR_BLOCK)
        device.launch(FILE, f"{operator}{suffix}<{dtype}, {flag}>", rows, block, [*arrays, np.int32(columns)])


@example("softmax_forward", shape="ROWS,COLUMNS", default=(5, 304))
def forward_example(device: Device, draw: Draw, version: str | None, rows: int, columns: int) -> Array:
    return softmax(device, draw(rows, columns), version=version)


@example("softmax_backward", shape="ROWS,COLUMNS", default=(5, 304))
def backward_example(device: Device, draw: Draw, version: str | None, rows: int, columns: int) -> Array:
    y = softmax(device, draw(rows, columns))
    return softmax_backward(device, draw(rows, columns), y, version=version)
