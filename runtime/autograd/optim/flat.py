"""Parameters and gradients in flat arrays, so that an optimiser changes many by one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ringleader.runtime.autograd.module import Module
from ringleader.runtime.autograd.op import Array, address, array_module
from ringleader.runtime.autograd.tensor import Tensor


def flatten_parameters(parameters: Module | Iterable[Tensor]) -> list[tuple[Array, Array]]:
    """Move the data of all parameters into one flat array per dtype, and their gradients into another.

    Returns a pair (data, gradients), both (n,), for each dtype. Each parameter's ``data`` and ``grad_storage`` are
    views from then on, last parameter first, which is the order of DataParallel's buckets. An optimiser
    sees that neighbours lie next to each other and updates them as one array; the results are the same,
    bit for bit. What changes: gradients are zero where they were None, so that an unused parameter feels
    weight decay and momentum. Do this before others keep ``parameter.data``.
    """
    tensors = list(parameters.parameters() if isinstance(parameters, Module) else parameters)
    by_dtype: dict[Any, list[Tensor]] = {}
    for tensor in reversed(tensors):
        by_dtype.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    return [_flatten(group) for group in by_dtype.values()]


def _flatten(tensors: list[Tensor]) -> tuple[Array, Array]:
    xp, size = array_module(tensors[0].device), sum(t.size for t in tensors)
    data, gradients = (xp.empty(size, tensors[0].dtype) for _ in range(2))
    lay_out(tensors, data, gradients)
    return data, gradients


def lay_out(tensors: Iterable[Tensor], data: Array | None, gradients: Array) -> None:
    """Move ``data``, unless it is None, and gradients into these flat arrays, one tensor after the other."""
    at = 0
    for tensor in tensors:
        part = slice(at, at + tensor.size)
        at = part.stop
        if data is not None:
            view = data[part].reshape(tensor.shape)
            view[...] = tensor.data
            tensor.data = view
        tensor.grad_storage = gradients[part].reshape(tensor.shape)


def follows(first: Array, second: Array) -> bool:
    """Whether ``second`` begins where ``first`` ends, in one larger array of the same dtype."""
    base = first.base
    return (
        isinstance(base, type(first)) and second.base is base and base.dtype == first.dtype == second.dtype
        and base.flags.c_contiguous and first.flags.c_contiguous and second.flags.c_contiguous
        and address(second) == address(first) + first.nbytes
    )  # fmt: skip


def span(arrays: Sequence[Array]) -> Array:
    """One flat view of arrays each of which ``follows`` the one before; of a single array as well."""
    first = arrays[0]
    if len(arrays) == 1:
        return first.reshape(-1)
    begin = (address(first) - address(first.base)) // first.itemsize
    whole: Array = first.base.reshape(-1)[begin : begin + sum(array.size for array in arrays)]
    return whole
