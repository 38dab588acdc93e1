"""Where kernels run: what a GPU through CuPy and the emulator on a CPU have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any  # of numpy for the emulator, of CuPy on a GPU
TENSOR_MAP_BYTES = 128
Extent: TypeAlias = "int | tuple[int, ...]"  # of a grid or a block: x, or (x, y), or (x, y, z)

# dtype -> the type's name in CUDA C++, as name expressions are written: "softmax_forward<__half>"
C_TYPES = {"float16": "__half", "bfloat16": "__nv_bfloat16", "float32": "float", "float64": "double",
           "int32": "int", "int64": "long long"}  # fmt: skip


class Device(ABC):
    """Runs kernels of csrc/cuda on arrays of its own array module.

    architecture: compute capability, 80 for 8.0, 90 for 9.0: what versions of kernels are chosen by.
    xp: the array module, numpy or cupy.
    """

    name: str
    architecture: int
    multiprocessors: int
    xp: Any

    @abstractmethod
    def launch(
        self, file: str, expression: str, grid: Extent, block: Extent, args: Sequence[Any], shared: int = 0
    ) -> None:
        """Run kernel ``expression`` ("softmax_forward<float>") of csrc/cuda/``file`` in stream order.

        args: arrays of the device, C-contiguous or not (the kernel gets the address of the first element);
        None, for a null pointer; numpy scalars (``np.int32(n)``), whose dtypes must be the parameters'.
        shared: bytes of dynamic shared memory. TypeError: an argument is none of these.
        """

    @abstractmethod
    def tensor_maps(self, *tiled: tuple[Array, tuple[int, ...]]) -> Array:
        """Descriptions of arrays for tma_load (hopper.cuh), one behind the other, as an array of bytes on the device.

        tiled: an array of at most four axes, the last one contiguous, begun at a multiple of 16 bytes, and the shape of the
        box that one copy takes, of 128 bytes along the last axis. ValueError: the copy engine takes no such array or box.
        """


def tile_of(array: Array, box: tuple[int, ...]) -> tuple[list[int], list[int], list[int]]:
    """Extents, strides in bytes and box of a tensor map, each of four numbers, columns first.

    ValueError: the copy engine (TMA) cannot read such an array so, says why.
    """
    item = array.dtype.itemsize
    missing = 4 - array.ndim
    extents, strides = [*array.shape[::-1], *[1] * missing], [*array.strides[::-1], *[16] * missing]
    sides = [*box[::-1], *[1] * (4 - len(box))]
    if missing < 0 or len(box) != array.ndim or strides[0] != item or sides[0] * item != 128:
        raise ValueError(f"tensor map: {array.shape} with strides {array.strides} in boxes of {box}: at most four axes, the "
                         "last one contiguous, and boxes of 128 bytes of it")  # fmt: skip
    # Along an axis of one element nothing is ever skipped: any stride will do that the hardware takes.
    strides[1:] = [16 if extent == 1 else stride for extent, stride in zip(extents[1:], strides[1:])]
    if any(stride % 16 or not 0 < stride < 2**40 for stride in strides[1:]) or not all(
        1 <= s <= 256 for s in sides
    ):
        raise ValueError(f"tensor map: strides {array.strides} must be positive multiples of 16 bytes, a box's sides {box} 1 to "
                         "256")  # fmt: skip
    if not all(0 < extent < 2**32 for extent in extents):
        raise ValueError(f"tensor map: nothing to read in an array of shape {array.shape}")
    return extents, strides, sides


def c_type(dtype: Any) -> str:
    """The name in CUDA C++. TypeError: kernels do not take the dtype."""
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name  # numpy alone has no "bfloat16"
    if name not in C_TYPES:
        raise TypeError(f"CUDA kernels do not take {name}; they take {', '.join(C_TYPES)}")
    return C_TYPES[name]


def extent(of: Extent) -> tuple[int, int, int]:
    """As three numbers."""
    given = (of,) if isinstance(of, int) else tuple(of)
    x, y, z = (*given, 1, 1, 1)[:3]
    return x, y, z


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)
