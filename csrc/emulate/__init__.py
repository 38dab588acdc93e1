"""CUDA kernels on a CPU: the .cu files of csrc/cuda, unchanged, compiled by g++ and run thread by thread."""

from ringleader.csrc.emulate.device import EmulatedDevice
from ringleader.csrc.emulate.errors import CompileError, KernelError
from ringleader.csrc.emulate.kernel import Kernel, Module, load
from ringleader.csrc.emulate.report import Fault, Report, Requests

__all__ = [
    "CompileError",
    "EmulatedDevice",
    "Fault",
    "Kernel",
    "KernelError",
    "Module",
    "Report",
    "Requests",
    "load",
]
