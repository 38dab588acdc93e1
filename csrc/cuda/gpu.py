"""A GPU, through CuPy: kernels are compiled with NVRTC, kept in the user's cache, loaded and launched."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from ringleader.csrc.cuda.catalogue import expressions
from ringleader.csrc.cuda.compiler import compile_kernels, compiled_before
from ringleader.csrc.cuda.cubins import Cubin
from ringleader.csrc.cuda.device import Device, Extent, extent
from ringleader.csrc.cuda.nvrtc import nvrtc_version

USUAL_SHARED = 48 * 1024  # bytes of dynamic shared memory that need no permission
DYNAMIC_SHARED_SIZE = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
NULL = np.uintp(0)


class NoGpu(RuntimeError):
    """There is no GPU to run on; the message says what is missing and what to install."""


class Gpu(Device):
    """CuPy's current device, or the one given. Kernels run on CuPy's current stream of it.

    target: what kernels are compiled for, "90a" for compute capability 9.0, whose features no other has. NoGpu: CuPy,
    the driver or the device is missing, or the driver is too old for the compiler.
    """

    def __init__(self, ordinal: int | None = None) -> None:
        self.xp = cupy = _cupy()
        self.device = cupy.cuda.Device(ordinal)
        attributes = self.device.attributes
        capability = self.device.compute_capability  # "90", "120"
        self.name = cupy.cuda.runtime.getDeviceProperties(self.device.id)["name"].decode()
        self.architecture = int(capability)
        self.target = "90a" if capability == "90" else capability
        self.multiprocessors = attributes["MultiProcessorCount"]
        self.most_shared = attributes["MaxSharedMemoryPerBlockOptin"]  # bytes a block, static ones included
        self._functions: dict[tuple[str, str], Any] = {}
        self._modules: dict[str, tuple[Cubin, Any]] = {}  # by file, of all its registered kernels
        self._static: dict[tuple[str, str], int] = {}  # bytes of static shared memory
        self._allowed: dict[tuple[str, str], int] = {}  # and of dynamic shared memory, so far
        self._lock = threading.Lock()  # ranks may be threads

    def launch(
        self, file: str, expression: str, grid: Extent, block: Extent, args: Sequence[Any], shared: int = 0
    ) -> None:
        """See Device. ValueError: more shared memory than a block can have. CompileError, NoCompiler: as said there."""
        blocks, threads = extent(grid), extent(block)
        passed = tuple(_argument(value, self.xp.ndarray, expression, i) for i, value in enumerate(args))
        with self.device:
            function = self._function(file, expression, shared)
            if 0 not in blocks:  # which CUDA would refuse
                function(blocks, threads, passed, shared_mem=shared)

    def _function(self, file: str, expression: str, shared: int) -> Any:
        """CuPy's, that may use so many bytes of dynamic shared memory."""
        key = (file, expression)
        if shared <= self._allowed.get(key, -1):
            return self._functions[key]
        with self._lock:
            if key not in self._functions:
                cubin, module = self._module(file, expression)
                self._functions[key] = module.get_function(cubin.names[expression])
                self._static[key] = cubin.resources[expression].shared
                self._allowed[key] = USUAL_SHARED - self._static[key]
            if shared > self._allowed[key]:
                self._allow(key, shared)
            return self._functions[key]

    def _module(self, file: str, expression: str) -> tuple[Cubin, Any]:
        """With the kernel: of the whole file if ``ringleader kernels compile`` has left that in the cache, else of
        this kernel alone, which is compiled sooner."""
        if file not in self._modules:
            whole = compiled_before(file, expressions(file, self.target), self.target)
            if whole is not None:
                self._modules[file] = whole, self._loaded(whole)
        if file in self._modules and expression in self._modules[file][0].names:
            return self._modules[file]
        alone = compile_kernels(file, [expression], self.target)
        return alone, self._loaded(alone)

    def _loaded(self, cubin: Cubin) -> Any:
        module = self.xp.cuda.function.Module()
        module.load(cubin.binary)
        return module

    def _allow(self, key: tuple[str, str], shared: int) -> None:
        most = self.most_shared - self._static[key]
        if shared > most:
            raise ValueError(
                f"{key[1]} wants {shared:,} bytes of dynamic shared memory; on {self.name} it can have {most:,}"
            )
        self.xp.cuda.driver.funcSetAttribute(self._functions[key].ptr, DYNAMIC_SHARED_SIZE, shared)
        self._allowed[key] = shared


def _argument(value: Any, array: Any, expression: str, place: int) -> Any:
    """As the kernel takes it: an address, or the number itself."""
    if value is None:
        return NULL
    if isinstance(value, array):
        return np.uintp(value.data.ptr)
    if isinstance(value, np.generic):
        return value
    raise TypeError(
        f"{expression}: argument {place} is {type(value).__name__}; kernels take CuPy arrays, None and numpy scalars"
    )


def _cupy() -> Any:
    """The module, with a device to run on and a driver that takes what the compiler makes."""
    try:
        import cupy
    except ImportError as error:
        raise NoGpu(
            f"a GPU needs CuPy ({error}): pip install 'ringleader[cuda13]', or [cuda12] for a driver before 580"
        ) from error
    runtime = cupy.cuda.runtime
    driver = runtime.driverGetVersion()  # 13000 for 13.0; 0: none
    if driver == 0:
        raise NoGpu(
            "a GPU needs NVIDIA's driver, and none is loaded here: install it (nvidia-smi shows its version)"
        )
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise NoGpu(
            f"the driver, for CUDA {_version(driver)}, and CuPy, for CUDA {_version(runtime.runtimeGetVersion())}, "
            f"do not work together: {error}"
        ) from error
    if count == 0:
        raise NoGpu("no GPU is visible: look at nvidia-smi and at CUDA_VISIBLE_DEVICES")
    compiler = nvrtc_version()
    if int(compiler.split(".")[0]) > driver // 1000:
        raise NoGpu(
            f"NVRTC {compiler} compiles for drivers of CUDA {compiler.split('.')[0]}, this one is for {_version(driver)}: "
            f"update it, or pip install 'cuda-bindings=={driver // 1000}.*' nvidia-cuda-nvrtc-cu{driver // 1000} "
            f"nvidia-cuda-runtime-cu{driver // 1000}"
        )
    return cupy


def _version(number: int) -> str:
    """ "12.4" for 12040."""
    return f"{number // 1000}.{number % 1000 // 10}"
