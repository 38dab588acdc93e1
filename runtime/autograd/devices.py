"""The devices whose ops run on the CUDA kernels of csrc/cuda: "cuda", a GPU by CuPy, and "emulated", numpy's arrays
with the same kernels compiled for the CPU (csrc/emulate).

Both are registered when they are first asked for (``op.LATER``). Classes in ``ops/cuda_FAMILY.py`` stand in the op table
for both, as those of ``native`` do for the CPU, and fall back on the ops they inherit from for what the kernels do not
take; other ops run as they are written, by numpy or CuPy. The environment variable RINGLEADER_KERNELS=numpy turns the
kernels off here, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ringleader.runtime.autograd.native import wanted
from ringleader.runtime.autograd.op import register_device

PACKAGE = "cupy-cuda12x"  # or cupy-cuda13x: by what `nvidia-smi` says of the driver


def register(device: str) -> None:
    """Make ``device`` one. RuntimeError: what it needs is missing, and where to get it."""
    xp: Any = np if device == "emulated" else cupy()
    if wanted():
        from ringleader.runtime.autograd.ops import cuda  # noqa: F401 (fills the op table)
    register_device(device, xp, as_written=True)


def cupy() -> Any:
    """CuPy, if it can compute. RuntimeError names what is missing: CuPy, the driver, or a GPU."""
    try:
        import cupy as module
    except ImportError as error:
        raise RuntimeError(f"device 'cuda' needs CuPy: pip install {PACKAGE} ({error})") from error
    try:
        count = module.cuda.runtime.getDeviceCount()
    except module.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(
            f"device 'cuda' needs an NVIDIA GPU and its driver ({error}); look with nvidia-smi. Without one, "
            "device 'emulated' runs the same kernels on the CPU, slowly"
        ) from error
    if not count:
        raise RuntimeError("device 'cuda' needs an NVIDIA GPU: the driver sees none (CUDA_VISIBLE_DEVICES?)")
    return module
