"""CUDA kernels under the ops of the devices "emulated" and "cuda" (devices.py); array-module ops are the reference.

    @cuda("tanh")
    class CudaTanh(Tanh):
        def forward(self, x: Array) -> Array:
            if not takes(x):
                return super().forward(x)
            self.y = activation.tanh(kernel_device(self.xp), laid_out(x))
            return self.y

stands in the op table for ``Tanh`` on both devices, inherits from it, and falls back on it. Such classes are in
``ops/cuda_FAMILY.py``, as those of the CPU are in ``ops/native_FAMILY.py``. Unlike those they copy an array that does not
lie as the kernel wants it: a GPU copies far faster than it runs an op in many small kernels.
"""

from __future__ import annotations

from collections.abc import Callable

from ringleader.runtime.autograd.devices import kernel_device
from ringleader.runtime.autograd.op import Array, F, is_floating, module_of, op

__all__ = ["cuda", "kernel_device", "laid_out", "takes"]


def cuda(name: str) -> Callable[[F], F]:
    """Register a subclass of op ``name`` for both devices."""

    def register(function: F) -> F:
        return op(name, "cuda")(op(name, "emulated")(function))

    return register


def takes(*arrays: Array) -> bool:
    """Do kernels take these: all of one floating-point dtype, of 16, 32 or 64 bits?"""
    dtype = arrays[0].dtype
    return is_floating(dtype) and dtype.itemsize <= 8 and all(a.dtype == dtype for a in arrays)


def laid_out(array: Array) -> Array:
    """The array, or a copy that is contiguous in C order; a scalar of numpy as an array."""
    return module_of(array).asarray(array, order="C")
