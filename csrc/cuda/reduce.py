"""Flat buffers of the collectives, folded element by element (reduce.cu).

The versions, best first: ``packs``, buffers that begin equally far behind multiples of 16 bytes; ``clear``, all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ringleader.csrc.cuda.device import C_TYPES, Array, Device, c_type
from ringleader.csrc.cuda.elements import BLOCK, clear_grid, elements_shape, fits_alike, packs_grid
from ringleader.csrc.cuda.rows import compute_dtype
from ringleader.csrc.cuda.versions import ALL, Draw, Instance, Version, choose, example, instances, versions

FILE = "reduce.cu"
OPERATIONS = {"sum": "Sum", "prod": "Prod", "max": "Max", "min": "Min"}
DTYPES = tuple(C_TYPES)
MOST_BUFFERS = 8  # in one launch, as in reduce.cu

VERSIONS = versions(
    Version("fold", "packs", dtypes=DTYPES, fits=fits_alike),
    Version("fold", "clear", dtypes=DTYPES),
    Version("divide", "packs", fits=fits_alike),
    Version("divide", "clear"),
)
INSTANCES = instances(
    *(
        Instance(FILE, f"fold{suffix}<{C_TYPES[dtype]}, {operation}>")
        for suffix in ("", "_packs")
        for dtype in DTYPES
        for operation in OPERATIONS.values()
    ),
    *(Instance(FILE, f"divide{suffix}<{C_TYPES[dtype]}>") for suffix in ("", "_packs") for dtype in ALL),
)


def fold(
    device: Device,
    operation: str,
    buffers: Sequence[Array],
    out: Array | None = None,
    version: str | None = None,
) -> Array:
    """((b0 op b1) op b2) ..., element by element: the result, (count,), in ``out``, which may be one of the buffers.

    operation: sum, prod, max, min. Bit for bit what numpy's functions of two arrays give one after the other; 16-bit floats
    are rounded after each step; what differs is said in reduce.cu. More than 8 buffers take several launches.

    TypeError: a dtype that kernels do not take, or not the same for all. ValueError: no buffers, unknown operation, shapes
    that differ, a buffer that is not C-contiguous, or ``out`` is a buffer after the eighth.
    """
    if operation not in OPERATIONS:
        raise ValueError(f"fold: unknown operation {operation!r}; known: {', '.join(OPERATIONS)}")
    if not buffers:
        raise ValueError("fold: there are no buffers")
    first = buffers[0]
    out = device.xp.empty(first.shape, first.dtype) if out is None else out
    for name, buffer in (*((f"buffer {i}", buffer) for i, buffer in enumerate(buffers)), ("out", out)):
        _check("fold", name, buffer, first)
    if any(buffer is out for buffer in buffers[MOST_BUFFERS:]):
        raise ValueError(f"fold: out must not be one of the buffers after the first {MOST_BUFFERS}")
    part, rest = list(buffers[:MOST_BUFFERS]), list(buffers[MOST_BUFFERS:])
    _fold(device, operation, part, out, version)
    while rest:
        part, rest = [out, *rest[: MOST_BUFFERS - 1]], rest[MOST_BUFFERS - 1 :]
        _fold(device, operation, part, out, version)
    return out


def mean(
    device: Device, buffers: Sequence[Array], out: Array | None = None, version: str | None = None
) -> Array:
    """The sum as ``fold``'s, divided by the number of buffers; floating-point numbers only (TypeError)."""
    if buffers and buffers[0].dtype.name not in ALL:
        raise TypeError(f"mean: buffer 0 is {buffers[0].dtype.name}; it must be one of {', '.join(ALL)}")
    out = fold(device, "sum", buffers, out, version)
    shape = elements_shape(out.size, out)
    chosen = choose("divide", device.architecture, out.dtype, version=version, **shape).name
    if out.size:
        suffix, grid = _grid(device, chosen, out)
        args = [out, out, np.int64(out.size), compute_dtype(out.dtype).type(len(buffers))]
        device.launch(FILE, f"divide{suffix}<{c_type(out.dtype)}>", grid, BLOCK, args)
    return out


def _check(name: str, argument: str, buffer: Array, first: Array) -> None:
    c_type(buffer.dtype)  # TypeError
    if buffer.dtype != first.dtype:
        raise TypeError(f"{name}: {argument} is {buffer.dtype.name}, buffer 0 {first.dtype.name}")
    if buffer.shape != first.shape:
        raise ValueError(f"{name}: {argument} has shape {buffer.shape}, buffer 0 {first.shape}")
    if not buffer.flags.c_contiguous:
        raise ValueError(f"{name}: {argument} must be C-contiguous; its strides are {buffer.strides}")


def _fold(device: Device, operation: str, buffers: list[Array], out: Array, version: str | None) -> None:
    """At most MOST_BUFFERS of them."""
    shape = elements_shape(out.size, out, *buffers)
    chosen = choose("fold", device.architecture, out.dtype, version=version, **shape).name
    if out.size == 0:
        return
    suffix, grid = _grid(device, chosen, out)
    nothing = [None] * (MOST_BUFFERS - len(buffers))
    args = [out, np.int64(out.size), np.int32(len(buffers)), *buffers, *nothing]
    device.launch(FILE, f"fold{suffix}<{c_type(out.dtype)}, {OPERATIONS[operation]}>", grid, BLOCK, args)


def _grid(device: Device, version: str, out: Array) -> tuple[str, int]:
    """What the kernel's name ends with, and blocks."""
    if version == "packs":
        return "_packs", packs_grid(device, out.size, 16 // out.dtype.itemsize)
    return "", clear_grid(out.size)


@example("fold", shape="BUFFERS,COUNT", default=(3, 1001))
def fold_example(device: Device, draw: Draw, version: str | None, buffers: int, count: int) -> Array:
    return fold(device, "sum", [draw(count) for _ in range(buffers)], version=version)


@example("divide", shape="BUFFERS,COUNT", default=(3, 1001))
def mean_example(device: Device, draw: Draw, version: str | None, buffers: int, count: int) -> Array:
    return mean(device, [draw(count) for _ in range(buffers)], version=version)
