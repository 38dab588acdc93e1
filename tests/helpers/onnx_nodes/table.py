"""ONNX op type -> function of our tensors.

A function takes a node's inputs in ONNX's order, as tensors (None: left out), and its attributes as keywords, with
ONNX's names and defaults; an attribute that it does not have is an error, not ignored. It returns a tensor, or a
tuple of those that the node may ask for. ``outputs=`` gets the number that it does ask for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ringleader.runtime.autograd import Tensor

Node = Callable[..., Any]
N = TypeVar("N", bound=Node)

NODES: dict[str, Node] = {}
BOOKKEEPING: set[str] = set()  # done by numpy, for graphs of several nodes: it says nothing about our ops


def node(*op_types: str, bookkeeping: bool = False) -> Callable[[N], N]:
    def register(function: N) -> N:
        for op_type in op_types:
            NODES[op_type] = function
            if bookkeeping:
                BOOKKEEPING.add(op_type)
        return function

    return register


def cast(x: Tensor, dtype: Any) -> Tensor:
    """In ONNX the first input says which dtype the result has; numpy promotes."""
    return x if x.dtype == dtype else Tensor(x.data.astype(dtype))


def ints(x: Tensor | None) -> tuple[int, ...] | None:
    """An input that is a list of axes or sizes."""
    return None if x is None else tuple(int(n) for n in x.data.reshape(-1))
