"""Native kernels under the ops of the CPU, where they are built (csrc/cpu/kernels); numpy's ops are the reference.

    @native("tanh")
    class NativeTanh(Tanh):
        def forward(self, x: Array) -> Array:
            if not takes(x):
                return super().forward(x)
            self.y = KERNELS.tanh(x)
            return self.y

stands in the op table for ``Tanh``, which it inherits from and falls back on, for device "cpu" and only where there
are kernels. Such classes are in ``ops/native_FAMILY.py``. They keep for ``backward`` what the numpy op keeps, so that
forward and backward may fall back each on its own. The environment variable RINGLEADER_KERNELS=numpy turns them off.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from ringleader.runtime.autograd.op import OPS, Array, F


def wanted() -> bool:
    """Whether kernels are to be used, here and on other devices. ValueError: RINGLEADER_KERNELS is unknown."""
    given = os.environ.get("RINGLEADER_KERNELS", "native")
    if given not in ("native", "numpy"):
        raise ValueError(f"RINGLEADER_KERNELS is {given!r}; known: native, numpy")
    return given == "native"


def load() -> Any:
    """The module of kernels; None if it is not built or not wanted. ValueError: see ``wanted``.

    With it, numpy's large arrays of this thread keep their memory for the next ones of their size (memory.cpp).
    """
    if not wanted():
        return None
    try:
        from ringleader.csrc.cpu import _kernels
    except ImportError:
        return None
    _kernels.keep_memory()
    return _kernels


KERNELS: Any = load()


def native(name: str) -> Callable[[F], F]:
    """Register a subclass of op ``name``'s numpy implementation over it, if there are kernels."""

    def register(function: F) -> F:
        function.name = name
        if KERNELS is not None:
            OPS[name]["cpu"] = function
        return function

    return register


TAKEN = {np.dtype(np.float32), np.dtype(np.float64)}
LAID_OUT = 0x0001 | 0x0100  # numpy's flags: contiguous in C order, aligned; asked at every op, so by one look


def takes(*arrays: Array) -> bool:
    """Do the kernels take these: contiguous and aligned arrays, all of float32 or all of float64?"""
    dtype = arrays[0].dtype
    for a in arrays:
        if not isinstance(a, np.ndarray) or a.dtype != dtype or a.flags.num & LAID_OUT != LAID_OUT:
            return False
    return dtype in TAKEN


def fits(*arrays: Array) -> bool:
    """Does the kernel of products take these: aligned, all of float32 or all of float64? Any strides will do."""
    dtype = arrays[0].dtype
    for a in arrays:
        if not isinstance(a, np.ndarray) or a.dtype != dtype or not a.flags.aligned:
            return False
    return dtype in TAKEN


def matmul(a: Array, b: Array, add: Array | None = None) -> Array:
    """a (m, k) b (k, n), plus ``add`` (n,) if given: by the kernel, or numpy's BLAS where it does not take them."""
    if fits(a, b) and (add is None or (takes(add) and add.dtype == a.dtype)):
        return KERNELS.matmul(a, b, add=add)
    return a @ b if add is None else a @ b + add


def sum_of_rows(g: Array) -> Array:
    """g (M, D) -> (D,): as the gradient of a table of one row, all of whose uses are g. BLAS is as fast, but its threads
    and those of the kernels, each waiting busily for work, would take the cores from each other."""
    if not takes(g):
        return g.sum(axis=0)
    return KERNELS.embedding_backward(g, np.zeros(len(g), np.int64), 1)[0]
