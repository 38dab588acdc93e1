"""Cross-entropy of softmax and integer targets, forward and backward (cross_entropy.cu has the formulas).

The versions, best first: ``registers``, up to 32 KB a row, which is a multiple of 16 bytes; ``long``, rows of any length in
aligned arrays, in one pass; ``clear``, all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ringleader.csrc.cuda.device import Array, Device, c_type
from ringleader.csrc.cuda.rows import (
    CLEAR_BLOCK,
    LONG_BLOCK,
    check_rows,
    compute_dtype,
    fits_registers,
    fits_walk,
    layout,
    register_grid,
    row_instances,
    shape_of,
)
from ringleader.csrc.cuda.versions import Draw, Version, choose, example, instances, versions

FILE = "cross_entropy.cu"

VERSIONS = versions(
    *(
        version
        for operator in ("cross_entropy_forward", "cross_entropy_backward")
        for version in (
            Version(operator, "registers", fits=fits_registers),
            Version(operator, "long", fits=fits_walk),
            Version(operator, "clear"),
        )
    )
)
INSTANCES = instances(*row_instances(FILE, "cross_entropy_forward cross_entropy_backward"))


def cross_entropy(
    device: Device, x: Array, target: Array, weight: Array | None = None, ignore_index: int = -100,
    label_smoothing: float = 0.0, version: str | None = None,
) -> tuple[Array, Array]:  # fmt: skip
    """The losses (rows,) of x (rows, columns) with ``target`` (rows,) int64, and each row's statistics (rows, 2).

    The statistics are the maximum of x and log sum exp(x - maximum). ``weight`` (columns,) of classes, losses and
    statistics are float32 if x has 16 bits, else of its dtype. A row whose target is ``ignore_index`` has loss 0, one
    whose target is no class NaN.

    TypeError, ValueError: a dtype or a shape is not as said here, an array is not C-contiguous, ``label_smoothing`` is
    not in 0..1, or x has no columns.
    """
    rows, columns = _check("cross_entropy", x, target, weight, label_smoothing)
    dtype = compute_dtype(x.dtype)
    losses, statistics = device.xp.empty(rows, dtype), device.xp.empty((rows, 2), dtype)
    weights = [weight, None if weight is None else weight.sum(keepdims=True)]
    before = [x, target, *weights, losses, statistics]
    after = [np.int64(ignore_index), dtype.type(label_smoothing)]
    _launch(device, "cross_entropy_forward", [x], before, after, rows, columns, version)
    return losses, statistics


def cross_entropy_backward(
    device: Device, g: Array, x: Array, statistics: Array, target: Array, weight: Array | None = None,
    ignore_index: int = -100, label_smoothing: float = 0.0, version: str | None = None,
) -> Array:  # fmt: skip
    """The gradient of x, from that of the losses, g (rows,), and what ``cross_entropy`` was given and has returned.

    TypeError, ValueError: as there.
    """
    name = "cross_entropy_backward"
    rows, columns = _check(name, x, target, weight, label_smoothing)
    dtype = compute_dtype(x.dtype)
    _check_vector(name, "g", g, (rows,), dtype)
    _check_vector(name, "statistics", statistics, (rows, 2), dtype)
    dx = device.xp.empty(x.shape, x.dtype)
    weights = [weight, None if weight is None else weight.sum(keepdims=True)]
    before = [g, x, statistics, target, *weights, dx]
    after = [np.int64(ignore_index), dtype.type(label_smoothing)]
    _launch(device, name, [x, dx], before, after, rows, columns, version)
    return dx


def _check(
    name: str, x: Array, target: Array, weight: Array | None, label_smoothing: float
) -> tuple[int, int]:
    if x.ndim != 2:
        raise ValueError(f"{name}: x must be (rows, columns); its shape is {x.shape}")
    rows, columns = check_rows(name, "x", x)
    if columns == 0:
        raise ValueError(f"{name}: x has no classes; its shape is {x.shape}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{name}: label_smoothing must be in 0..1, it is {label_smoothing}")
    _check_vector(name, "target", target, (rows,), np.dtype(np.int64))
    if weight is not None:
        _check_vector(name, "weight", weight, (columns,), compute_dtype(x.dtype))
    return rows, columns


def _check_vector(name: str, argument: str, array: Array, shape: tuple[int, ...], dtype: Any) -> None:
    if array.dtype != dtype:
        raise TypeError(f"{name}: {argument} must be {dtype.name}, not {array.dtype.name}")
    if array.shape != shape:
        raise ValueError(f"{name}: {argument} must be {shape}, its shape is {array.shape}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name}: {argument} must be C-contiguous; its strides are {array.strides}")


def _launch(
    device: Device, operator: str, arrays: list[Array], before: list[Any], after: list[Any], rows: int, columns: int,
    version: str | None,
) -> None:  # fmt: skip
    """The kernel of one version. arrays: those that it reads or writes as packs; before, after: its parameters before
    and after those that give the shape."""
    shape = shape_of(rows, columns, *arrays)
    chosen = choose(operator, device.architecture, arrays[0].dtype, version=version, **shape).name
    if rows == 0:
        return
    dtype = c_type(arrays[0].dtype)
    if chosen == "registers":
        threads, packs = layout(shape["row_bytes"])
        grid, block = register_grid(device, rows, threads)
        expression = f"{operator}_registers<{dtype}, {threads}, {packs}>"
        device.launch(FILE, expression, grid, block, [*before, np.int64(rows), np.int32(columns), *after])
    else:
        suffix, block = ("_long", LONG_BLOCK) if chosen == "long" else ("", CLEAR_BLOCK)
        device.launch(FILE, f"{operator}{suffix}<{dtype}>", rows, block, [*before, np.int32(columns), *after])


@example("cross_entropy_forward", shape="ROWS,COLUMNS", default=(5, 304))
def forward_example(
    device: Device, draw: Draw, version: str | None, rows: int, columns: int
) -> tuple[Array, ...]:
    target = draw.integers(0, columns, rows, dtype=np.int64)
    return cross_entropy(device, draw(rows, columns), target, label_smoothing=0.1, version=version)


@example("cross_entropy_backward", shape="ROWS,COLUMNS", default=(5, 304))
def backward_example(device: Device, draw: Draw, version: str | None, rows: int, columns: int) -> Array:
    x, target = draw(rows, columns), draw.integers(0, columns, rows, dtype=np.int64)
    losses, statistics = cross_entropy(device, x, target)
    g = device.xp.ones_like(losses)
    return cross_entropy_backward(device, g, x, statistics, target, version=version)
