"""Running an op, and recording what its gradient will need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ringleader.runtime.autograd.ops  # noqa: F401 (fills the op table)
from ringleader.runtime.autograd.mode import is_grad_enabled
from ringleader.runtime.autograd.op import Array, Function, Kept, array_module, find, is_floating

if TYPE_CHECKING:
    from ringleader.runtime.autograd.base import TensorBase
    from ringleader.runtime.autograd.tensor import Tensor


def apply(name: str, *inputs: TensorBase, **options: Any) -> Tensor:
    """Run op ``name`` of the table on the device its inputs are on, and record it if one needs a gradient.

    ShapeError: the shapes do not fit. ValueError: inputs on different devices, unknown op, no inputs.
    NotImplementedError: the op is not there on that device. RuntimeError: the memory of an input was changed
    in place through another tensor, and its graph does not know.
    """
    if not inputs:
        raise ValueError(f"{name}: there are no tensors")
    first, recording = inputs[0], is_grad_enabled()
    device = first.device
    arrays, needs, depth = [], [], 0
    for t in inputs:
        if t.device != device:
            raise ValueError(f"{name}: inputs on different devices: {', '.join(t.device for t in inputs)}")
        if t.known < t.memory.rewrites:
            raise outdated(name, t)
        arrays.append(t.data)
        needs.append(recording and t.requires_grad)
        if t.node is not None and t.node.depth > depth:
            depth = t.node.depth
    node = find(name, device)(**options)
    if device != "cpu":
        node.xp = array_module(device)
    node.needs = tuple(needs)
    shapes = [array.shape for array in arrays]
    node.shape(*shapes)
    data = node.xp.asarray(node.forward(*arrays))
    if data.dtype != arrays[0].dtype and is_floating(arrays[0].dtype) and len({a.dtype for a in arrays}) == 1:
        data = data.astype(
            arrays[0].dtype
        )  # numpy 1 turns a 0-d float32 into float64; ml_dtypes widens bfloat16
    out = first.like(data)
    owner = _owner(data)
    for t, needed in zip(inputs, needs):
        if _owner(t.data) is owner:
            out.memory, out.known = t.memory, t.known
            t.memory.of_leaf |= needed and t.node is None
    if True in needs:
        out.requires_grad, out.node = True, node
        node.watched = _kept(node, (*inputs, out))
        node.sources = [(t.node or t) if needed else None for t, needed in zip(inputs, needs)]
        node.input_shapes, node.input_dtypes = shapes, [array.dtype for array in arrays]
        node.depth = depth + 1
    return out


def outdated(name: str, tensor: TensorBase) -> RuntimeError:
    made = f"made by {tensor.node.name!r}" if tensor.node else "a leaf"
    return RuntimeError(
        f"{name}: the tensor {tensor.describe()}, {made}, shares memory with one that has been changed in place "
        "since, so its graph no longer says how it was computed; use that one, or clone() it before the change"
    )


def _owner(array: Array) -> Any:
    """The array, or what else, that the memory of a view belongs to."""
    while (base := getattr(array, "base", None)) is not None:
        array = base
    return array


def _kept(node: Function, tensors: tuple[TensorBase, ...]) -> list[Kept]:
    """Which of the inputs and the output ``forward`` has left on the node: itself, a view, or in a tuple."""
    array_type = type(tensors[0].data)
    kept: list[Kept] = []
    for value in vars(node).values():
        for array in value if type(value) in (tuple, list) else (value,):
            if type(array) is not array_type:
                continue
            for which, t in enumerate(tensors):
                if array is t.data or (
                    _owner(array) is _owner(t.data) and node.xp.may_share_memory(array, t.data)
                ):
                    kept.append((which, t.name, t.memory, t.memory.changes))
                    break  # others there would have this Memory
    return kept
