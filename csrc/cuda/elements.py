"""What the launchers of kernels element by element share: how arrays must lie in memory, and grids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringleader.csrc.cuda.device import Array, Device, ceil_div
from ringleader.csrc.cuda.rows import address

BLOCK = 256  # threads, as ELEMENTS_BLOCK in elements.cuh
BLOCKS = 32  # launched for a multiprocessor at most: the rest is a loop in the kernel


def elements_shape(count: int, *arrays: Array | None) -> dict[str, Any]:
    """What versions are chosen by. aligned: all arrays begin at multiples of 16 bytes; alike: equally far behind one."""
    behind = {address(array) % 16 for array in arrays if array is not None}
    return {"count": count, "aligned": behind == {0}, "alike": len(behind) == 1}


def fits_aligned(shape: Mapping[str, Any]) -> bool:
    return bool(shape["aligned"])


def fits_alike(shape: Mapping[str, Any]) -> bool:
    return bool(shape["alike"])


def clear_grid(count: int) -> int:
    """Blocks with a thread for each element."""
    return ceil_div(count, BLOCK)


def packs_grid(device: Device, count: int, neighbours: int) -> int:
    """Blocks of threads with that many elements each at a time."""
    return min(ceil_div(count, BLOCK * neighbours), BLOCKS * device.multiprocessors)
