"""Layer norm and RMS norm along the last axis, forward and backward (norm.cu has the formulas).

The versions, best first: ``registers``, rows of a multiple of 16 bytes, up to 32 KB forward, 16 KB backward; ``long``, rows
of any length in aligned arrays; ``clear``, all.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from ringleader.csrc.cuda.device import C_TYPES, Array, Device, c_type, ceil_div
from ringleader.csrc.cuda.rows import (
    CLEAR_BLOCK,
    LAYOUTS,
    LONG_BLOCK,
    SHORT_BLOCK,
    check_array,
    check_rows,
    compute_dtype,
    fits_registers,
    fits_walk,
    layout,
    register_grid,
    row_instances,
    shape_of,
)
from ringleader.csrc.cuda.versions import ALL, Draw, Instance, Version, choose, example, instances, versions

FILE = "norm.cu"
BACKWARD = (
    (8, 1),
    (32, 1),
    (32, 2),
    (128, 2),
    (512, 2),
)  # two packs: g, n, dweight and dbias have to fit the registers
PARTS = 64  # blocks of rows in the first stage of dweight and dbias, where it is a kernel of its own
SUM_WARPS = 8  # of a block in the second, as in norm.cu

VERSIONS = versions(
    Version("norm_forward", "registers", fits=fits_registers),
    Version("norm_forward", "long", fits=fits_walk),
    Version("norm_forward", "clear"),
    Version("norm_backward", "registers", fits=partial(fits_registers, layouts=BACKWARD)),
    Version("norm_backward", "long", fits=fits_walk),
    Version("norm_backward", "clear"),
)
INSTANCES = instances(
    *row_instances(FILE, "norm_forward", (", false", ", true"), LAYOUTS),
    *row_instances(FILE, "norm_backward", (", false", ", true"), BACKWARD),
    *(
        Instance(FILE, kernel, production=dtype != "float64")
        for dtype in ALL
        for kernel in (
            f"norm_parameters<{C_TYPES[dtype]}, false>",
            f"norm_parameters<{C_TYPES[dtype]}, true>",
            f"norm_total<{C_TYPES[dtype]}>",
        )
    ),
)


def layer_norm(
    device: Device, x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5,
    version: str | None = None,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """y, of the shape of x (..., columns), and mean and r, one number a row, which the backward pass needs.

    y = (x - mean) r weight + bias, r = 1 / sqrt(variance + eps); weight and bias are (columns,) and of x's dtype, or None.
    mean and r are (rows,), float32 if x has 16 bits.

    TypeError, ValueError: a dtype or a shape is not as said here, an array is not C-contiguous, x has no columns, or eps is
    negative; so for all functions here.
    """
    return _forward(device, "layer_norm", x, weight, bias, eps, True, version)


def rms_norm(
    device: Device, x: Array, weight: Array | None = None, eps: float = 1e-5, version: str | None = None
) -> tuple[Array, Array]:
    """y = x r weight, r = 1 / sqrt(mean(x^2) + eps), and r, as ``layer_norm``."""
    y, _, r = _forward(device, "rms_norm", x, weight, None, eps, False, version)
    return y, r


def layer_norm_backward(
    device: Device, g: Array, x: Array, mean: Array, r: Array, weight: Array | None = None, parameters: bool = True,
    version: str | None = None,
) -> tuple[Array, Array | None, Array | None]:  # fmt: skip
    """The gradients of x, weight and bias, from that of y, g, and what ``layer_norm`` was given and has returned.

    parameters: whether those of weight and bias are wanted; else they are None.
    """
    return _backward(device, "layer_norm_backward", g, x, mean, r, weight, parameters, version)


def rms_norm_backward(
    device: Device, g: Array, x: Array, r: Array, weight: Array | None = None, parameters: bool = True,
    version: str | None = None,
) -> tuple[Array, Array | None]:  # fmt: skip
    """The gradients of x and weight, as ``layer_norm_backward``."""
    return _backward(device, "rms_norm_backward", g, x, None, r, weight, parameters, version)[:2]


def _forward(
    device: Device, name: str, x: Array, weight: Array | None, bias: Array | None, eps: float, centred: bool,
    version: str | None,
) -> tuple[Array, Array, Array]:  # fmt: skip
    rows, columns = _check(name, x, weight, bias)
    if not eps >= 0:
        raise ValueError(f"{name}: eps must not be negative, it is {eps}")
    dtype = compute_dtype(x.dtype)
    y, mean, r = (
        device.xp.empty(x.shape, x.dtype),
        device.xp.empty(rows if centred else 0, dtype),
        device.xp.empty(rows, dtype),
    )
    shape = shape_of(rows, columns, x, weight, bias, y)
    chosen = choose("norm_forward", device.architecture, x.dtype, version=version, **shape).name
    if rows == 0:
        return y, mean, r
    arrays = [x, weight, bias, y, mean if centred else None, r]
    sizes = [np.int32(columns), dtype.type(eps)]
    flag = str(centred).lower()
    if chosen == "registers":
        threads, packs = layout(shape["row_bytes"])
        grid, block = register_grid(device, rows, threads)
        expression = f"norm_forward_registers<{c_type(x.dtype)}, {threads}, {packs}, {flag}>"
        device.launch(FILE, expression, grid, block, [*arrays, np.int64(rows), *sizes])
    else:
        suffix, block = ("_long", LONG_BLOCK) if chosen == "long" else ("", CLEAR_BLOCK)
        device.launch(
            FILE, f"norm_forward{suffix}<{c_type(x.dtype)}, {flag}>", rows, block, [*arrays, *sizes]
        )
    return y, mean, r


def _backward(
    device: Device, name: str, g: Array, x: Array, mean: Array | None, r: Array, weight: Array | None, parameters: bool,
    version: str | None,
) -> tuple[Array, Array | None, Array | None]:  # fmt: skip
    rows, columns = _check(name, x, weight, None)
    check_rows(name, "g", g, like=x)
    for argument, array in (("mean", mean), ("r", r)):
        if array is not None and (array.dtype != compute_dtype(x.dtype) or array.shape != (rows,)):
            raise ValueError(
                f"{name}: {argument} must be {compute_dtype(x.dtype).name} ({rows},), it is {array.dtype.name} {array.shape}"
            )
    dx, xp = device.xp.empty(x.shape, x.dtype), device.xp
    shape = shape_of(rows, columns, x, g, weight, dx)
    chosen = choose("norm_backward", device.architecture, x.dtype, version=version, **shape).name
    if rows == 0:
        nothing = xp.zeros(columns, x.dtype) if parameters else None
        return dx, nothing, nothing
    dtype, flag = c_type(x.dtype), str(mean is not None).lower()
    statistics, sizes = [mean, r], [np.int64(rows), np.int32(columns)]
    if chosen == "registers":
        threads, packs = layout(shape["row_bytes"], BACKWARD)
        grid, block = register_grid(device, rows, threads, blocks=2 if threads > SHORT_BLOCK else 4)
        partial_sums = _partial_sums(device, grid, x) if parameters else [None, None]
        args = [g, x, weight, *statistics, dx, *partial_sums, *sizes]
        device.launch(
            FILE, f"norm_backward_registers<{dtype}, {threads}, {packs}, {flag}>", grid, block, args
        )
    else:
        suffix, block = ("_long", LONG_BLOCK) if chosen == "long" else ("", CLEAR_BLOCK)
        args = [g, x, weight, *statistics, dx, np.int32(columns)]
        device.launch(FILE, f"norm_backward{suffix}<{dtype}, {flag}>", rows, block, args)
        if parameters:
            parts = min(PARTS, rows)
            partial_sums = _partial_sums(device, parts, x)
            args = [g, x, *statistics, *partial_sums, *sizes]
            parts_and_columns = parts, ceil_div(columns, CLEAR_BLOCK)
            device.launch(FILE, f"norm_parameters<{dtype}, {flag}>", parts_and_columns, CLEAR_BLOCK, args)
    return dx, *(_totals(device, partial_sums, x) if parameters else (None, None))


def _check(name: str, x: Array, weight: Array | None, bias: Array | None) -> tuple[int, int]:
    rows, columns = check_rows(name, "x", x)
    if columns == 0:
        raise ValueError(f"{name}: x has no columns; its shape is {x.shape}")
    for argument, array in (("weight", weight), ("bias", bias)):
        if array is None:
            continue
        check_array(name, argument, array)
        if array.dtype != x.dtype:
            raise TypeError(f"{name}: {argument} is {array.dtype.name}, x {x.dtype.name}")
        if array.shape != (columns,):
            raise ValueError(f"{name}: {argument} must be ({columns},), its shape is {array.shape}")
    return rows, columns


def _partial_sums(device: Device, parts: int, x: Array) -> list[Any]:
    """Of dweight and dbias, a row each block."""
    return [device.xp.empty((parts, x.shape[-1]), compute_dtype(x.dtype)) for _ in range(2)]


def _totals(device: Device, partial_sums: list[Array], x: Array) -> tuple[Array, Array]:
    """The second stage: dweight and dbias (columns,)."""
    dtype, columns = c_type(x.dtype), x.shape[-1]
    totals = device.xp.empty(columns, x.dtype), device.xp.empty(columns, x.dtype)
    for sums, total in zip(partial_sums, totals):
        args = [sums, total, np.int32(len(sums)), np.int32(columns)]
        device.launch(FILE, f"norm_total<{dtype}>", ceil_div(columns, 32), 32 * SUM_WARPS, args)
    return totals


@example("norm_forward", shape="ROWS,COLUMNS", default=(5, 304))
def forward_example(
    device: Device, draw: Draw, version: str | None, rows: int, columns: int
) -> tuple[Array, ...]:
    return layer_norm(device, draw(rows, columns), draw(columns), draw(columns), version=version)


@example("norm_backward", shape="ROWS,COLUMNS", default=(5, 304))
def backward_example(
    device: Device, draw: Draw, version: str | None, rows: int, columns: int
) -> tuple[Any, ...]:
    x, weight = draw(rows, columns), draw(columns)
    _, mean, r = layer_norm(device, x, weight)
    return layer_norm_backward(device, draw(rows, columns), x, mean, r, weight, version=version)
