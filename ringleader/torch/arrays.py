"""Tensors as the arrays that a Communicator takes, and PyTorch's reductions as its operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.distributed import ReduceOp

from ringleader.runtime.comm import Op
from ringleader.runtime.comm.layout import flat

Array = NDArray[Any]

RedOpType = ReduceOp.RedOpType
OPS: dict[Any, str | Op] = {
    RedOpType.SUM: "sum",
    RedOpType.AVG: "mean",
    RedOpType.PRODUCT: "prod",
    RedOpType.MIN: "min",
    RedOpType.MAX: "max",
    RedOpType.BAND: Op("band", np.bitwise_and),
    RedOpType.BOR: Op("bor", np.bitwise_or),
    RedOpType.BXOR: Op("bxor", np.bitwise_xor),
}
BITWISE = {RedOpType.BAND, RedOpType.BOR, RedOpType.BXOR}


def array_of(tensor: torch.Tensor) -> Array:
    """The memory of a CPU tensor as a numpy array of the same shape and strides; bfloat16 is ml_dtypes'.

    TypeError: a tensor on another device or that is not strided, or a dtype that cannot be had.
    """
    if tensor.device.type != "cpu" or tensor.layout != torch.strided:
        raise TypeError(
            f"the ringleader backend takes dense CPU tensors, not {tensor.layout} on {tensor.device}; "
            "use tensor.cpu(), or another backend for this device"
        )
    plain = tensor.detach()
    try:
        array: Array = (plain.view(torch.int16) if plain.dtype == torch.bfloat16 else plain).numpy()
    except (RuntimeError, TypeError) as error:
        raise TypeError(f"the ringleader backend cannot take this {tensor.dtype} tensor: {error}") from None
    return array.view(_bfloat16()) if plain.dtype == torch.bfloat16 else array


def _bfloat16() -> np.dtype[Any]:
    try:
        import ml_dtypes
    except ImportError:
        raise TypeError(
            "numpy has no bfloat16 of its own: pip install ml_dtypes (or 'ringleader[torch]')"
        ) from None
    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


def operation(reduce_op: Any, tensors: Sequence[torch.Tensor]) -> str | Op:
    """What folds for a ``ReduceOp``. ValueError: unknown, or not for these tensors' dtype."""
    kind = reduce_op.op
    if kind not in OPS:
        raise ValueError(f"the ringleader backend has no ReduceOp.{kind.name}; it has {_names()}")
    for tensor in tensors:
        if kind in BITWISE and (tensor.is_floating_point() or tensor.is_complex()):
            raise ValueError(f"ReduceOp.{kind.name} is for integers and bool, not {tensor.dtype}")
        if kind == RedOpType.AVG and not (tensor.is_floating_point() or tensor.is_complex()):
            raise ValueError(f"ReduceOp.AVG of {tensor.dtype} would lose the fraction; use SUM, or floats")
    return OPS[kind]


def _names() -> str:
    return ", ".join(kind.name for kind in OPS)


def joined(tensors: Sequence[torch.Tensor]) -> Array:
    """All elements of the tensors (one dtype), one after the other, in a new 1-d array."""
    return np.concatenate([flat(array_of(tensor)) for tensor in tensors])


def deal_out(contents: Array, tensors: Sequence[torch.Tensor]) -> None:
    """Fill the tensors, one after the other, with what ``joined`` would have made of them."""
    start = 0
    for tensor in tensors:
        target = array_of(tensor)
        target[...] = contents[start : start + target.size].reshape(target.shape)
        start += target.size


def one_dtype(what: str, *tensors: torch.Tensor) -> None:
    """ValueError if their dtypes differ; TypeError if one cannot be taken (see array_of)."""
    dtypes = {array_of(tensor).dtype for tensor in tensors}
    if len(dtypes) != 1:
        raise ValueError(f"{what}: all tensors must be of one dtype, got {', '.join(map(str, dtypes))}")
