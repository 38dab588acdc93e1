"""Steps of optimisers by CUDA kernels, on the devices "emulated" and "cuda": the rules of this package in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from ringleader.csrc.cuda import optimizer as kernels
from ringleader.runtime.autograd.devices import kernel_device
from ringleader.runtime.autograd.op import Array, module_of
from ringleader.runtime.autograd.optim import adagrad, adam, sgd

State = Mapping[str, Array]
TAKEN = {np.dtype(np.float32), np.dtype(np.float64)}  # weights of 16 bits have masters, see mixed.py


def takes(*arrays: Array) -> bool:
    """Do the kernels take these: contiguous, all of float32 or all of float64?"""
    dtype = arrays[0].dtype
    return dtype in TAKEN and all(a.dtype == dtype and a.flags.c_contiguous for a in arrays)


def sgd_kernel(w: Array, g: Array, state: State, step: int, **options: Any) -> None:
    kernels.sgd(kernel_device(module_of(w)), w, g, state.get("momentum_buffer"), step, **options)


def adam_kernel(w: Array, g: Array, state: State, step: int, **options: Any) -> None:
    kernels.adam(kernel_device(module_of(w)), w, g, state["exp_avg"], state["exp_avg_sq"], step, **options)


def adagrad_kernel(
    w: Array, g: Array, state: State, step: int, *, initial_accumulator_value: float = 0, **options: Any
) -> None:
    kernels.adagrad(kernel_device(module_of(w)), w, g, state["sum"], step, **options)


KERNELS: dict[Callable[..., None], Callable[..., None]] = {  # by the rule that they compute
    sgd.update: sgd_kernel,
    adam.update: adam_kernel,
    adam.update_decoupled: partial(adam_kernel, decoupled=True),
    adagrad.update: adagrad_kernel,
}
