"""ONNX's node test suite on our ops: the adapter. One function for each ONNX op type, in a file for each family."""

from helpers.onnx_nodes import (
    attention,
    bookkeeping,
    elementwise,
    images,
    layers,
    recurrent,
    reduction,
    shaping,
)
from helpers.onnx_nodes.graph import run
from helpers.onnx_nodes.table import BOOKKEEPING, NODES

__all__ = [
    "BOOKKEEPING",
    "NODES",
    "attention",
    "bookkeeping",
    "elementwise",
    "images",
    "layers",
    "recurrent",
    "reduction",
    "run",
    "shaping",
]
