"""CUDA kernels on a CPU: the .cu files of csrc/cuda, unchanged, compiled by g++ and run thread by thread."""

from ringleader.csrc.emulate.device import EmulatedDevice
from ringleader.csrc.emulate.errors import CompileError, KernelError
from ringleader.csrc.emulate.kernel import Kernel, Module, load

__all__ = ["CompileError", "EmulatedDevice", "Kernel", "KernelError", "Module", "load"]
