"""Where kernels run: what a GPU through CuPy and the emulator on a CPU have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any  # of numpy for the emulator, of CuPy on a GPU
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
