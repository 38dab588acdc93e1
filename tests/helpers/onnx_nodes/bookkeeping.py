"""Shapes, constants and dtypes, which graphs of several nodes compute on the way: numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from ringleader.runtime.autograd import Tensor

from helpers.onnx_nodes.table import node


@node("Constant", bookkeeping=True)
def constant(
    *, value: Any = None, value_float: Any = None, value_floats: Any = None, value_int: Any = None,
    value_ints: Any = None,
) -> Tensor:  # fmt: skip
    if value is not None:
        return Tensor(onnx.numpy_helper.to_array(value))
    floats = value_float if value_float is not None else value_floats
    whole = value_int if value_int is not None else value_ints
    return Tensor(np.array(whole, np.int64) if floats is None else np.array(floats, np.float32))


@node("ConstantOfShape", bookkeeping=True)
def constant_of_shape(shape: Tensor, *, value: Any = None) -> Tensor:
    fill = np.zeros(1, np.float32) if value is None else onnx.numpy_helper.to_array(value)
    return Tensor(np.full(tuple(shape.data), fill[0], fill.dtype))


@node("Shape", bookkeeping=True)
def shape(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    return Tensor(np.array(x.shape[start:end], np.int64))


@node("Size", bookkeeping=True)
def size(x: Tensor) -> Tensor:
    return Tensor(np.array(x.size, np.int64))


@node("Range", bookkeeping=True)
def between(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    return Tensor(np.arange(start.data, limit.data, delta.data, dtype=start.dtype))


@node("Mod", bookkeeping=True)
def mod(a: Tensor, b: Tensor, *, fmod: int = 0) -> Tensor:
    return Tensor(np.fmod(a.data, b.data) if fmod else np.mod(a.data, b.data))


@node("Cast", bookkeeping=True)
def cast_to(x: Tensor, *, to: int, saturate: int = 1) -> Tensor:
    return Tensor(x.data.astype(onnx.helper.tensor_dtype_to_np_dtype(to)))


@node("CastLike", bookkeeping=True)
def cast_like(x: Tensor, like: Tensor, *, saturate: int = 1) -> Tensor:
    return Tensor(x.data.astype(like.dtype))
