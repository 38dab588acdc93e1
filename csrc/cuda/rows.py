"""What the launchers of kernels along rows share: checks of arrays, and how many threads work on a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from typing import Any

import numpy as np
from ringleader.csrc.cuda.device import C_TYPES, Array, Device, ceil_div
from ringleader.csrc.cuda.versions import ALL, Instance

Layouts = tuple[tuple[int, int], ...]
LAYOUTS = ((8, 1), (32, 1), (32, 4), (128, 4), (512, 4))  # threads a row, packs of 16 bytes a thread
SHORT_BLOCK = 128  # threads of a block that has several rows, as in rows.cuh
LONG_BLOCK = 512  # threads of a block that walks along one long row
CLEAR_BLOCK = 128  # threads of the clear versions
BLOCKS = 32  # blocks of several rows launched for a multiprocessor at most: the rest is a loop in the kernel


def address(array: Array) -> int:
    """Of the first element, in the memory of the array's device."""
    return int(array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr)


def aligned(*arrays: Array | None) -> bool:
    """Whether all of them begin at multiples of 16 bytes, as loads of packs need it."""
    return all(array is None or address(array) % 16 == 0 for array in arrays)


def compute_dtype(dtype: Any) -> Any:
    """Of the arithmetic on arrays of the dtype: float32 for 16 bits, else the dtype."""
    return np.dtype(np.float32) if dtype.itemsize == 2 else np.dtype(dtype)


def check_array(name: str, argument: str, array: Array, like: Array | None = None) -> None:
    """TypeError: not of a dtype that kernels take, or not of that of ``like``. ValueError: not C-contiguous, or not
    of the shape of ``like``."""
    if array.dtype.name not in ALL:
        raise TypeError(f"{name}: {argument} is {array.dtype.name}; it must be one of {', '.join(ALL)}")
    if like is not None and array.dtype != like.dtype:
        raise TypeError(f"{name}: {argument} is {array.dtype.name}, the input {like.dtype.name}")
    if like is not None and array.shape != like.shape:
        raise ValueError(f"{name}: {argument} has shape {array.shape}, the input {like.shape}")
    if not array.flags.c_contiguous:
        raise ValueError(
            f"{name}: {argument} must be C-contiguous; its shape is {array.shape}, its strides {array.strides}"
        )


def check_rows(name: str, argument: str, array: Array, like: Array | None = None) -> tuple[int, int]:
    """As check_array; the array's rows and columns, its last axis being the columns. ValueError: it has no axis."""
    if array.ndim == 0:
        raise ValueError(f"{name}: {argument} must have an axis; its shape is ()")
    check_array(name, argument, array, like)
    return prod(array.shape[:-1]), array.shape[-1]


def shape_of(rows: int, columns: int, *arrays: Array | None) -> dict[str, Any]:
    """What versions are chosen by. row_bytes: of the first array."""
    assert arrays[0] is not None
    row_bytes = columns * arrays[0].dtype.itemsize
    return {"rows": rows, "columns": columns, "row_bytes": row_bytes, "aligned": aligned(*arrays)}


def fits_registers(shape: Mapping[str, Any], layouts: Layouts = LAYOUTS) -> bool:
    threads, packs = layouts[-1]
    return bool(
        shape["aligned"] and shape["row_bytes"] % 16 == 0 and shape["row_bytes"] <= 16 * threads * packs
    )


def fits_walk(shape: Mapping[str, Any]) -> bool:
    """walk_row of rows.cuh finds the multiples of 16 bytes in a row by itself, if they are the same in all arrays."""
    return bool(shape["aligned"])


def layout(row_bytes: int, layouts: Layouts = LAYOUTS) -> tuple[int, int]:
    """The smallest that holds a row."""
    return next((threads, packs) for threads, packs in layouts if 16 * threads * packs >= row_bytes)


def register_grid(device: Device, rows: int, threads: int, blocks: int = BLOCKS) -> tuple[int, int]:
    """Grid and block of a kernel in which ``threads`` share a row; at most ``blocks`` for each multiprocessor."""
    block = max(threads, SHORT_BLOCK)
    return min(ceil_div(rows, block // threads), blocks * device.multiprocessors), block


def row_instances(
    file: str, kernels: str, suffixes: tuple[str, ...] = ("",), layouts: Layouts = LAYOUTS
) -> Iterator[Instance]:
    """Of kernels whose versions are named KERNEL (clear), KERNEL_registers and KERNEL_long, for all dtypes.

    kernels: their names, separated by spaces. suffixes: what follows in the angle brackets (", true").
    float64 is for gradient checks.
    """
    versions = ["", "_long", *(f"_registers/, {threads}, {packs}" for threads, packs in layouts)]
    for kernel, dtype, suffix, version in product(kernels.split(), ALL, suffixes, versions):
        name, _, numbers = version.partition("/")
        expression = f"{kernel}{name}<{C_TYPES[dtype]}{numbers}{suffix}>"
        yield Instance(file, expression, production=dtype != "float64")
