"""The devices whose ops run on the CUDA kernels of csrc/cuda: "cuda", a GPU by CuPy, and "emulated", numpy's arrays
with the same kernels compiled for the CPU (csrc/emulate).

Both are registered when they are first asked for (``op.LATER``). Other ops than those of ``ops/cuda_FAMILY.py`` run as
they are written, by numpy or CuPy. RINGLEADER_KERNELS=numpy turns kernels off here, too; RINGLEADER_EMULATE_MODE (fast,
scrambled or checked) says how the emulator runs them.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import numpy as np
from ringleader.csrc.cuda.device import Device
from ringleader.runtime.autograd.native import wanted
from ringleader.runtime.autograd.op import register_device

MODE_VARIABLE = "RINGLEADER_EMULATE_MODE"
_devices: dict[
    Any, Device
] = {}  # of the emulator by its mode, of GPUs by their ordinal; threads may share them


def register(device: str) -> None:
    """Make ``device`` one. RuntimeError: what it needs is missing, and what to install."""
    if not wanted():
        register_device(device, np if device == "emulated" else import_module("cupy"), as_written=True)
        return
    if device == "emulated":
        from ringleader.csrc.emulate.compiler import compiler

        compiler()  # refuses, saying what to install, if there is none
        found = kernel_device(np)
    else:
        from ringleader.csrc.cuda.gpu import Gpu

        found = Gpu()
        _devices[found.device.id] = found
    from ringleader.runtime.autograd.ops import cuda  # noqa: F401 (fills the op table)

    register_device(device, found.xp, as_written=True)


def kernel_device(xp: Any) -> Device:
    """What runs kernels on arrays of ``xp``: the emulator for numpy's, else CuPy's current GPU."""
    key: Any = os.environ.get(MODE_VARIABLE, "fast") if xp is np else xp.cuda.runtime.getDevice()
    if key not in _devices:
        _devices[key] = _emulated(key) if xp is np else _gpu(key)
    return _devices[key]


def _emulated(mode: str) -> Device:
    from ringleader.csrc.emulate import EmulatedDevice

    return EmulatedDevice(mode=mode)


def _gpu(ordinal: int) -> Device:
    from ringleader.csrc.cuda.gpu import Gpu

    return Gpu(ordinal)
