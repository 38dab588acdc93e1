"""States in files: named arrays in the safetensors format, which runs no code when it is read.

    save(model, "model.safetensors")
    model.load_state_dict(load("model.safetensors"))

Whole checkpoints, of nested states with numbers and text in them, are ``save_tree`` and ``load_tree``:

    save_tree({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, path)
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from ringleader.runtime.autograd.module import Module
from ringleader.runtime.autograd.op import Array, to_host

# The format's names of dtypes. Written are all that numpy has, and bfloat16 (ml_dtypes).
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "I64": "int64", "I32": "int32", "I16": "int16",
          "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool"}  # fmt: skip
WRITTEN = {*DTYPES.values(), "bfloat16"}
TREE = "ringleader.tree"  # the metadata key of what a tree holds beside arrays
Path_ = str | os.PathLike[str]


def save(what: Module | Mapping[str, Any], path: Path_, metadata: Mapping[str, str] | None = None) -> None:
    """Write a module's state, or arrays by name, and ``metadata`` (text by name), to one file.

    The file appears whole or not at all: it is written beside ``path``, flushed to the disk and renamed.
    TypeError: names or metadata that are no text, or a dtype that the format does not have.
    """
    state = what.state_dict() if isinstance(what, Module) else what
    arrays = {name: _writable(name, value) for name, value in state.items()}
    about = dict(metadata or {})
    if not all(isinstance(text, str) for text in (*about.keys(), *about.values())):
        raise TypeError(f"save: metadata must be text by name, it is {about}")
    path = Path(path)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        safetensors.numpy.save_file(arrays, beside, about or None)
        _flush(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    _flush(path.parent)  # the new name too


def load(path: Path_) -> dict[str, Array]:
    """The arrays of a file by name, writeable, in their dtypes and shapes.

    ValueError names a file that is no safetensors file, is damaged, or has a dtype that is not known here.
    ImportError: it has bfloat16, and ml_dtypes is missing.
    """
    content = Path(path).read_bytes()
    try:
        tensors = safetensors.deserialize(content)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: no safetensors file, or a damaged one ({error})") from error
    arrays = {}
    for name, tensor in tensors:
        dtype = _dtype(tensor["dtype"], f"{path}: {name!r}")
        arrays[name] = np.frombuffer(bytearray(tensor["data"]), dtype).reshape(tensor["shape"])
    return arrays


def load_metadata(path: Path_) -> dict[str, str]:
    """The text that ``save`` was given with the arrays. ValueError as ``load``."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: no safetensors file, or a damaged one ({error})") from error


def save_tree(tree: Any, path: Path_) -> None:
    """Write nested dicts, lists and tuples of arrays, numbers, text, booleans and None to one file.

    Numbers come back bit for bit, keys that are integers as integers, tuples as lists. TypeError: something else in it.
    """
    arrays: dict[str, Array] = {}
    outline = _take_out(tree, "", arrays)
    save(arrays, path, {TREE: json.dumps(outline)})


def load_tree(path: Path_) -> Any:
    """What ``save_tree`` wrote. ValueError: as ``load``, or the file has no such tree."""
    arrays, outline = load(path), load_metadata(path).get(TREE)
    try:
        return _put_back(json.loads(outline or ""), arrays)
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: this file holds no tree of states ({error!r})") from error


def _take_out(node: Any, at: str, arrays: dict[str, Array]) -> Any:
    """``node`` as JSON: dicts as {"dict": [[key, value], ...]}, arrays as {"array": name}."""
    node = to_host(node)
    if isinstance(node, Mapping):
        return {"dict": [[key, _take_out(value, f"{at}.{key}" if at else str(key), arrays)]
                         for key, value in node.items()]}  # fmt: skip
    if isinstance(node, (list, tuple)):
        return [_take_out(value, f"{at}.{i}" if at else str(i), arrays) for i, value in enumerate(node)]
    if isinstance(node, (np.ndarray, np.generic)):
        name = at if at not in arrays else f"{at}#{len(arrays)}"  # keys 1 and "1" are two
        arrays[name] = np.asarray(node)
        return {"array": name}
    if node is None or isinstance(node, (bool, int, float, str)):
        return node
    raise TypeError(f"save_tree: {at} is a {type(node).__name__}; a tree holds arrays, numbers and text")


def _put_back(node: Any, arrays: Mapping[str, Array]) -> Any:
    if isinstance(node, list):
        return [_put_back(value, arrays) for value in node]
    if isinstance(node, dict):
        if "array" in node:
            return arrays[node["array"]]
        return {key: _put_back(value, arrays) for key, value in node["dict"]}
    return node


def _writable(name: str, value: Any) -> Array:
    """Contiguous, in the byte order of the format. (np.ascontiguousarray would give 0-d a dimension.)"""
    array = np.asarray(to_host(value), order="C")
    if not isinstance(name, str):
        raise TypeError(f"save: names must be text, not {name!r}")
    if array.dtype.name not in WRITTEN:
        raise TypeError(f"save: {name!r} is {array.dtype}, which the format does not have")
    return array.astype(array.dtype.newbyteorder("="), copy=False) if array.dtype.byteorder in "<>" else array


def _dtype(name: str, what: str) -> np.dtype[Any]:
    if name == "BF16":
        return bfloat16()
    if name not in DTYPES:
        raise ValueError(f"{what} has dtype {name}; known: {', '.join(DTYPES)}, BF16")
    return np.dtype(DTYPES[name])


def bfloat16() -> np.dtype[Any]:
    """numpy's dtype for bfloat16. ImportError: ml_dtypes, which has it, is missing."""
    try:
        import ml_dtypes
    except ImportError as error:
        raise ImportError("bfloat16 needs the package ml_dtypes: pip install ml_dtypes") from error
    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


def _flush(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
