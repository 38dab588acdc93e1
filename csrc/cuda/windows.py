"""Images and the windows on them: what the launchers of convolution and pooling share.

Inside, every array is a view (N, C, H, W), whatever lies next to what in memory; kernels get its strides. ``layout``,
"NCHW" or "NHWC", says how a caller's arrays are indexed.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from ringleader.csrc.cuda.device import Array, Device
from ringleader.csrc.cuda.versions import ALL

Pair: TypeAlias = "int | tuple[int, int]"  # of height and width; one number for both
Padding: TypeAlias = (
    "int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]"  # or before and after, each
)
Sides: TypeAlias = tuple[tuple[int, int], tuple[int, int]]

LAYOUTS = ("NCHW", "NHWC")
LIMIT = 2**31  # kernels count pixels, and elements of pooled images, in 32 bits
GRID_LIMIT = 65535  # blocks along y and z


def pair(operator: str, name: str, value: Pair, least: int = 1) -> tuple[int, int]:
    """For height and width. TypeError: not integers; ValueError: less than ``least``."""
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2 or not all(isinstance(each, (int, np.integer)) for each in both):
        raise TypeError(
            f"{operator}: {name} must be an integer, or one each for height and width, not {value!r}"
        )
    if min(both) < least:
        raise ValueError(f"{operator}: {name} {value!r} must be at least {least}")
    return int(both[0]), int(both[1])


def sides(operator: str, padding: Padding) -> Sides:
    """((above, below), (left, right))."""
    if np.ndim(padding) == 0 or np.ndim(padding) == 1:
        height, width = pair(operator, "padding", padding, least=0)  # type: ignore[arg-type]
        return (height, height), (width, width)
    if np.shape(padding) != (2, 2):
        raise TypeError(f"{operator}: padding must be a number, (height, width) or ((above, below), (left, right)), "
                        f"not {padding!r}")  # fmt: skip
    above_below, left_right = padding  # type: ignore[misc]
    return pair(operator, "padding", above_below, least=0), pair(operator, "padding", left_right, least=0)


def grid_size(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: Sides,
) -> tuple[int, int]:
    """How many windows fit along each axis; under 1 where not one does."""
    counts = [
        (n + sum(p) - d * (k - 1) - 1) // s + 1
        for n, k, s, d, p in zip(size, kernel, stride, dilation, padding)
    ]
    return counts[0], counts[1]


def image(
    device: Device, operator: str, name: str, array: Array, layout: str, dtype: np.dtype | None = None
) -> Array:
    """A caller's array of four axes as (N, C, H, W). dtype: that it must have, that of the first array."""
    if layout not in LAYOUTS:
        raise ValueError(f"{operator}: layout must be {' or '.join(LAYOUTS)}, not {layout!r}")
    check(device, operator, name, array, dtype)
    if array.ndim != 4:
        raise ValueError(f"{operator}: {name} must have four axes, {layout}, not shape {array.shape}")
    return array if layout == "NCHW" else array.transpose(0, 3, 1, 2)


def check(device: Device, operator: str, name: str, array: Array, dtype: np.dtype | None = None) -> None:
    """TypeError: not an array of the device, not of floating point, or not of ``dtype``."""
    check_device(device, operator, name, array)
    if dtype is not None and array.dtype != dtype:
        raise TypeError(f"{operator}: {name} is {array.dtype}, the other arrays are {dtype}")
    if array.dtype.name not in ALL:
        raise TypeError(f"{operator}: {name} is {array.dtype}; kernels take {', '.join(ALL)}")


def check_device(device: Device, operator: str, name: str, array: Array) -> None:
    """TypeError: not an array of the device."""
    if not isinstance(array, device.xp.ndarray):
        raise TypeError(f"{operator}: {name} must be an array of {device.name}, a {device.xp.__name__} array, "
                        f"not {type(array).__name__}")  # fmt: skip


def restore(array: Array, layout: str) -> Array:
    """The way back: (N, C, H, W) as the caller's layout."""
    return array if layout == "NCHW" else array.transpose(0, 2, 3, 1)


def empty(device: Device, shape: tuple[int, ...], dtype: np.dtype, layout: str) -> Array:
    """A new array (N, C, H, W) that lies in memory as ``layout`` says."""
    n, c, h, w = shape
    if layout == "NCHW":
        return device.xp.empty(shape, dtype)
    return device.xp.empty((n, h, w, c), dtype).transpose(0, 3, 1, 2)


def lies_as(array: Array, layout: str) -> bool:
    """Whether an array (N, C, H, W) has no gaps and lies in memory as ``layout`` says."""
    return bool(restore(array, layout).flags.c_contiguous)


def channels_last(device: Device, array: Array) -> Array:
    """Itself if it lies as NHWC, aligned to 16 bytes; a copy that does otherwise."""
    if lies_as(array, "NHWC") and address(array) % 16 == 0:
        return array
    copy = empty(device, array.shape, array.dtype, "NHWC")
    copy[...] = array
    return copy


def address(array: Array) -> int:
    """Of the first element: of a numpy or a CuPy array."""
    return int(array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr)


def strides(array: Array) -> tuple[np.int64, ...]:
    """In elements, as kernels take them."""
    return tuple(np.int64(stride // array.itemsize) for stride in array.strides)


def integers(*numbers: int) -> tuple[np.int32, ...]:
    """As kernels take them."""
    return tuple(np.int32(number) for number in numbers)
