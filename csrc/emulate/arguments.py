"""A kernel's arguments, checked against the types of its parameters: what does not fit would be read as other bits."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from ringleader.csrc.emulate.native import Parameter

# A type as entry.h spells it -> its name in CUDA C++ and the names of the dtypes that fit it, the usual one first.
# Arrays of numbers of the same size fit where nothing is computed from the sign, or where numpy has no such type.
TYPES = {
    "b1": ("bool", ("bool",), ("uint8", "int8")),
    "i1": ("signed char", ("int8",), ("uint8", "bool")),
    "u1": ("unsigned char", ("uint8",), ("int8", "bool")),
    "i2": ("short", ("int16",), ("uint16",)),
    "u2": ("unsigned short", ("uint16",), ("int16", "float16", "bfloat16")),
    "i4": ("int", ("int32",), ("uint32",)),
    "u4": ("unsigned", ("uint32",), ("int32",)),
    "i8": ("long long", ("int64",), ("uint64",)),
    "u8": ("unsigned long long", ("uint64",), ("int64",)),
    "f4": ("float", ("float32",), ()),
    "f8": ("double", ("float64",), ()),
    "f2": ("__half", ("float16",), ("uint16",)),
    "bf2": ("__nv_bfloat16", ("bfloat16",), ("uint16",)),
}  # fmt: skip


class Arguments:
    """addresses: an array with the address of each argument's value, as a launch takes them."""

    def __init__(self, kernel: str, parameters: Sequence[Parameter], given: Sequence[Any]):
        if len(given) != len(parameters):
            raise TypeError(f"{kernel} takes {len(parameters)} arguments, {len(given)} were given")
        self.values = [
            _value(f"{kernel}: argument {i}", parameter, argument)
            for i, (parameter, argument) in enumerate(zip(parameters, given))
        ]
        self.addresses = (ctypes.c_void_p * max(len(given), 1))(*map(ctypes.addressof, self.values))


def _value(name: str, parameter: Parameter, given: Any) -> Any:
    kind = parameter.type.decode()
    if parameter.pointer:
        if given is None:
            return ctypes.c_void_p(None)
        _check_array(name, kind, parameter.to_const, given)
        return ctypes.c_void_p(given.ctypes.data)
    _check_scalar(name, kind, parameter.size, given)
    return ctypes.create_string_buffer(given.tobytes(), parameter.size)


def _check_array(name: str, kind: str, to_const: bool, given: Any) -> None:
    if not isinstance(given, np.ndarray):
        raise TypeError(f"{name} is for a pointer: it takes a numpy array or None, not {_describe(given)}")
    if not to_const and not given.flags.writeable:
        raise TypeError(f"{name} is a read-only array, and the kernel's pointer is not to const")
    if kind in TYPES:
        c_name, usual, also = TYPES[kind]
        if given.dtype.name not in (*usual, *also):
            raise TypeError(
                f"{name} is an array of {given.dtype.name}, the kernel's pointer is to {c_name}: {usual[0]}"
            )


def _check_scalar(name: str, kind: str, size: int, given: Any) -> None:
    if kind in TYPES:
        c_name, usual, _ = TYPES[kind]
        if not isinstance(given, np.generic) or given.dtype.name not in usual:
            raise TypeError(
                f"{name} is a {c_name}: it takes a numpy scalar {usual[0]}, not {_describe(given)}"
            )
    elif not isinstance(given, np.void) or given.nbytes != size:
        raise TypeError(
            f"{name} is a struct of {size} bytes: it takes a numpy.void of that size, not {_describe(given)}"
        )


def _describe(given: Any) -> str:
    if isinstance(given, np.generic):
        return f"{given.dtype.name} {given}"
    return (
        f"{type(given).__name__} {given!r}" if isinstance(given, (int, float, bool)) else type(given).__name__
    )
