"""Running an op, and recording what its gradient will need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ringleader.runtime.autograd.ops  # noqa: F401 (fills the op table)
from ringleader.runtime.autograd.mode import mode
from ringleader.runtime.autograd.op import Array, Function, Kept, Source, array_module, find, is_floating

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
    first, recording, depth = inputs[0], mode.recording, 0
    device = first.device
    arrays, shapes, dtypes, needs, sources = [], [], [], [], []
    for t in inputs:
        if t.device != device:
            raise ValueError(f"{name}: inputs on different devices: {', '.join(t.device for t in inputs)}")
        if t.known < t.memory.rewrites:
            raise outdated(name, t)
        array = t.data
        source: Source = None
        if needed := recording and t.requires_grad:
            source = made_by = t.node
            if made_by is None:
                source = t
            elif made_by.depth > depth:
                depth = made_by.depth
        arrays.append(array)
        shapes.append(array.shape)
        dtypes.append(array.dtype)
        needs.append(needed)
        sources.append(source)
    node = find(name, device)(**options)
    if device != "cpu":
        node.xp = array_module(device)
    node.needs = tuple(needs)
    node.shape(*shapes)
    data = node.forward(*arrays)
    if type(data) is not type(array):
        data = node.xp.asarray(data)
    if data.dtype is not dtypes[0]:
        data = _in_dtype(data, dtypes)
    out = first.like(data)
    base = data.base
    for t, array in zip(inputs, arrays):  # of arrays without a base each has memory of its own
        if (array is data or array.base is not None or base is not None) and _owner(array) is _owner(data):
            out.memory, out.known = t.memory, t.known
            t.memory.of_leaf |= recording and t.requires_grad and t.node is None
    if True in needs:
        out.requires_grad, out.node = True, node
        node.watched = _kept(node, inputs, out)
        node.sources, node.input_shapes, node.input_dtypes, node.depth = sources, shapes, dtypes, depth + 1
    return out


def _in_dtype(data: Array, dtypes: list[Any]) -> Array:
    """The result in the dtype that all inputs have, if they have: numpy 1 turns a 0-d float32 into
    float64, and ml_dtypes widens bfloat16."""
    first = dtypes[0]
    if data.dtype == first or not is_floating(first) or any(dtype != first for dtype in dtypes):
        return data
    return data.astype(first)


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


def _kept(node: Function, inputs: tuple[TensorBase, ...], out: TensorBase) -> list[Kept]:
    """Which of the inputs and the output ``forward`` has left on the node: itself, a view, or in a tuple."""
    array_type = type(out.data)
    kept: list[Kept] = []
    for value in vars(node).values():
        if type(value) is array_type:
            kept += _of(value, (*inputs, out), node.xp)
        elif type(value) in (tuple, list):
            for array in value:
                if type(array) is array_type:
                    kept += _of(array, (*inputs, out), node.xp)
    return kept


def _of(array: Array, tensors: tuple[TensorBase, ...], xp: Any) -> list[Kept]:
    """The tensor that ``array`` is, else the first that it shares memory with: others there have the same Memory."""
    for which, t in enumerate(tensors):
        if t.data is array:
            return [(which, t.name, t.memory, t.memory.changes)]
    owner = _owner(array)
    for which, t in enumerate(tensors):
        if _owner(t.data) is owner and xp.may_share_memory(array, t.data):
            return [(which, t.name, t.memory, t.memory.changes)]
    return []
