"""The device that tests of kernels run on: the emulator, or a GPU in its place, for the same tests."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from ringleader.csrc.cuda.device import Array, Device, Extent
from ringleader.csrc.emulate import EmulatedDevice

CHOICE = "RINGLEADER_TEST_KERNELS_ON"  # "gpu": set by tests/csrc/cuda/test_on_gpu.py


def kernel_device(**emulated: Any) -> Device:
    """An EmulatedDevice(**emulated); the GPU where that was chosen. NoGpu: there is none."""
    if os.environ.get(CHOICE) != "gpu":
        return EmulatedDevice(**emulated)
    from ringleader.csrc.cuda.gpu import Gpu

    return HostArrays(Gpu())


class HostArrays(Device):
    """A GPU for arrays of numpy: a launch copies the memory that they lie in there, and back when it has run.

    All of the memory, so that kernels see strides and neighbours as they are, at an address with the same remainder by
    256, so that they see the same alignment.
    """

    def __init__(self, gpu: Any) -> None:
        self.gpu, self.name, self.xp = gpu, gpu.name, np
        self.architecture, self.multiprocessors = gpu.architecture, gpu.multiprocessors

    def tensor_maps(self, *tiled: tuple[Array, tuple[int, ...]]) -> Any:
        """What to describe once it is known where the arrays are."""
        return Maps(tiled)

    def launch(
        self, file: str, expression: str, grid: Extent, block: Extent, args: Sequence[Any], shared: int = 0
    ) -> None:
        """See Device; returns when the kernel has run."""
        moved: dict[int, Moved] = {}

        def address(array: np.ndarray) -> int:
            memory = owner(array)
            low, _ = np.lib.array_utils.byte_bounds(memory)
            if low not in moved:
                moved[low] = Moved(memory, self.gpu.xp)
            return moved[low].address + array.ctypes.data - low

        def there(argument: Any) -> Any:
            if isinstance(argument, Maps):
                return self.gpu.tensor_maps(*(
                    (SimpleNamespace(data=SimpleNamespace(ptr=address(array)), dtype=array.dtype, ndim=array.ndim,
                                     shape=array.shape, strides=array.strides), box)
                    for array, box in argument.tiled
                ))  # fmt: skip
            return np.uintp(address(argument)) if isinstance(argument, np.ndarray) else argument

        self.gpu.launch(file, expression, grid, block, [there(argument) for argument in args], shared)
        for memory in moved.values():
            memory.bring_back()


class Maps:
    def __init__(self, tiled: tuple[tuple[Array, tuple[int, ...]], ...]) -> None:
        self.tiled = tiled


class Moved:
    """The memory of an array, copied to a GPU."""

    def __init__(self, memory: np.ndarray, cupy: Any) -> None:
        low, high = np.lib.array_utils.byte_bounds(memory)
        self.host = np.frombuffer((ctypes.c_char * (high - low)).from_address(low), np.uint8)
        self.writeable = memory.flags.writeable
        buffer = cupy.empty(len(self.host) + 256, np.uint8)
        before = (low - buffer.data.ptr) % 256
        self.device = buffer[before : before + len(self.host)]
        self.address = buffer.data.ptr + before
        self.device.set(self.host)

    def bring_back(self) -> None:
        if self.writeable:
            self.host[:] = self.device.get()


def owner(array: np.ndarray) -> np.ndarray:
    """The array that has the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
