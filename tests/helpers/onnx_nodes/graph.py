"""A graph of ONNX nodes, run one after the other on our tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from ringleader.runtime.autograd import Tensor, no_grad

from helpers.onnx_nodes.table import NODES

Array = Any


def run(model: onnx.ModelProto, inputs: list[Any]) -> list[Array]:
    """What the model makes of ``inputs``. NotImplementedError: an op type that the adapter does not have, or an
    input that is no tensor."""
    graph = model.graph
    values: dict[str, Tensor | None] = {"": None}
    values.update((stored.name, tensor(stored)) for stored in graph.initializer)
    values.update((given.name, tensor(array)) for given, array in zip(graph.input, inputs))
    with no_grad():
        for node in graph.node:
            results = call(node, [values[name] for name in node.input])
            values.update(zip(node.output, results))
    return [np.asarray(values[wanted.name]) for wanted in graph.output]


def call(node: onnx.NodeProto, inputs: list[Tensor | None]) -> tuple[Tensor, ...]:
    if node.op_type not in NODES:
        raise NotImplementedError(f"the adapter has no {node.op_type}")
    function = NODES[node.op_type]
    options = {attribute.name: value(attribute) for attribute in node.attribute}
    if "outputs" in (function.__kwdefaults__ or {}):
        options["outputs"] = len(node.output)
    results = function(*inputs, **options)
    return results if isinstance(results, tuple) else (results,)


def tensor(given: Any) -> Tensor:
    array = onnx.numpy_helper.to_array(given) if isinstance(given, onnx.TensorProto) else given
    if not isinstance(array, (np.ndarray, np.generic)) or array.dtype.kind in "OSU":
        raise NotImplementedError(f"not a tensor of numbers: {type(array).__name__}")
    return Tensor(array)


def value(attribute: onnx.AttributeProto) -> Any:
    got = onnx.helper.get_attribute_value(attribute)
    if isinstance(got, bytes):
        return got.decode()
    return (
        [part.decode() if isinstance(part, bytes) else part for part in got] if isinstance(got, list) else got
    )
