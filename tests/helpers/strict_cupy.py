"""A stand-in for CuPy on a machine without a GPU, stricter than CuPy itself.

Its arrays are numpy's inside, but nothing of numpy can be applied to them, and they take no array of numpy for an operand,
an index or a value: what would be an error, or a slow copy through the host, on a GPU is an error here. Functions and
methods are those that ``NAMES`` and ``METHODS`` list, with the keywords that CuPy 14 has.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

UFUNC = {"out", "dtype", "casting"}
NAMES: dict[str, set[str]] = {  # function -> its keywords
    **dict.fromkeys((
        "abs", "add", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "bitwise_and", "bitwise_or",
        "bitwise_xor", "ceil", "cos", "cosh", "divide", "equal", "exp", "expm1", "floor", "greater", "greater_equal",
        "hypot", "isfinite", "less", "less_equal", "log", "log1p", "log2", "maximum", "minimum", "multiply", "not_equal",
        "rint", "sign", "sin", "sinh", "sqrt", "subtract", "tan", "tanh", "matmul"), UFUNC),
    "argsort": {"axis", "kind"}, "searchsorted": {"side", "sorter"},
    "arange": {"dtype"}, "argmax": {"axis", "dtype", "out", "keepdims"}, "argmin": {"axis", "dtype", "out", "keepdims"},
    "array": {"dtype", "copy", "order", "ndmin"}, "asarray": {"dtype", "order"}, "ascontiguousarray": {"dtype"},
    "broadcast_to": set(), "clip": {"out"}, "concatenate": {"axis", "out", "dtype", "casting"},
    "copyto": {"casting", "where"}, "cumprod": {"axis", "dtype", "out"}, "cumsum": {"axis", "dtype", "out"},
    "einsum": {"dtype", "optimize"}, "empty": {"dtype", "order"}, "empty_like": {"dtype", "order", "shape"},
    "expand_dims": {"axis"}, "eye": {"M", "k", "dtype", "order"}, "flip": {"axis"}, "full": {"dtype", "order"},
    "full_like": {"dtype", "order", "shape"}, "may_share_memory": set(), "moveaxis": set(), "ones": {"dtype", "order"},
    "ones_like": {"dtype", "order", "shape"}, "result_type": set(), "tril": {"k"}, "triu": {"k"}, "where": set(),
    "zeros": {"dtype", "order"}, "zeros_like": {"dtype", "order", "shape"},
}  # fmt: skip
CREATED = {"array", "asarray"}  # these take numpy's arrays: they are the way to the device
METHODS: dict[str, set[str]] = {
    "all": {"axis", "out", "keepdims"}, "any": {"axis", "out", "keepdims"}, "argmax": {"axis", "out", "dtype", "keepdims"},
    "argmin": {"axis", "out", "dtype", "keepdims"}, "astype": {"order", "casting", "copy"}, "conj": set(), "copy": {"order"},
    "cumsum": {"axis", "dtype", "out"}, "item": set(), "max": {"axis", "out", "keepdims"},
    "mean": {"axis", "dtype", "out", "keepdims"}, "min": {"axis", "out", "keepdims"}, "nonzero": set(),
    "prod": {"axis", "dtype", "out", "keepdims"}, "ravel": {"order"}, "reshape": {"order", "copy"}, "squeeze": {"axis"},
    "sum": {"axis", "dtype", "out", "keepdims"}, "swapaxes": set(), "transpose": set(), "view": {"dtype"},
}  # fmt: skip
BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor")


class ndarray:
    """An array on a device that numpy cannot reach."""

    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, inside: Any, base: ndarray | None = None) -> None:
        self.inside, self.base = np.asarray(inside), base

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_function__(self, function: Any, *_: Any) -> Any:
        raise TypeError(f"numpy's {function.__name__} was called with an array of the device")

    shape, dtype, ndim, size = (property(lambda self, name=name: getattr(self.inside, name))  # type: ignore[misc]
                                for name in ("shape", "dtype", "ndim", "size"))  # fmt: skip
    itemsize, nbytes, strides = (property(lambda self, name=name: getattr(self.inside, name))  # type: ignore[misc]
                                 for name in ("itemsize", "nbytes", "strides"))  # fmt: skip
    T, real, imag = (property(lambda self, name=name: given_back(getattr(self.inside, name), self))  # type: ignore[misc]
                     for name in ("T", "real", "imag"))  # fmt: skip

    @property
    def flags(self) -> Any:
        of = self.inside.flags
        return SimpleNamespace(c_contiguous=of.c_contiguous, f_contiguous=of.f_contiguous, owndata=of.owndata)

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.inside.ctypes.data)

    def get(self) -> Any:
        return self.inside.copy()

    def set(self, array: Any) -> None:
        if not isinstance(array, np.ndarray) or (array.shape, array.dtype) != (
            self.inside.shape,
            self.inside.dtype,
        ):
            raise TypeError("set takes an array of numpy, of the same shape and dtype")
        self.inside[...] = array

    def __len__(self) -> int:
        return len(self.inside)

    def __bool__(self) -> bool:
        return bool(self.inside)

    def __float__(self) -> float:
        return float(self.inside)

    def __int__(self) -> int:
        return int(self.inside)

    def __repr__(self) -> str:
        return repr(self.inside)

    def __str__(self) -> str:
        return str(self.inside)

    def __neg__(self) -> ndarray:
        return ndarray(-self.inside)

    def __invert__(self) -> ndarray:
        return ndarray(~self.inside)

    def __abs__(self) -> ndarray:
        return ndarray(abs(self.inside))

    def __getitem__(self, index: Any) -> Any:
        return given_back(self.inside[inside(index)], self)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.inside[inside(index)] = inside(value)


def inside(value: Any) -> Any:
    """What is in the device's arrays. TypeError: one of numpy's is there."""
    if isinstance(value, ndarray):
        return value.inside
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, (tuple, list)):
        return type(value)(map(inside, value))
    return value


def given_back(result: Any, *sources: Any) -> Any:
    """A result, as an array of the device; a view of one of ``sources`` says so."""
    if isinstance(result, (tuple, list)):
        return type(result)(given_back(part, *sources) for part in result)
    if not isinstance(result, (np.ndarray, np.generic)):
        return result
    for source in sources:
        if isinstance(source, ndarray):
            if result is source.inside:
                return source
            if isinstance(result, np.ndarray) and np.may_share_memory(result, source.inside):
                return ndarray(result, source if source.base is None else source.base)
    return ndarray(result)


def _method(name: str, keywords: set[str]) -> Any:
    def method(self: ndarray, *args: Any, **kwargs: Any) -> Any:
        assert kwargs.keys() <= keywords, f"cupy.ndarray.{name} has no {kwargs.keys() - keywords}"
        if name in ("max", "min") and not self.size:
            raise ValueError(f"zero-size array to reduction operation cupy_{name} which has no identity")
        result = getattr(self.inside, name)(*inside(args), **{k: inside(v) for k, v in kwargs.items()})
        return result if name == "item" else given_back(result, self)

    return method


def _binary(name: str) -> Any:
    def operator(self: ndarray, other: Any) -> Any:
        if not isinstance(other, (ndarray, np.ndarray, np.generic, bool, int, float, complex)):
            return NotImplemented
        return given_back(getattr(self.inside, name)(inside(other)))

    def in_place(self: ndarray, other: Any) -> ndarray:
        getattr(self.inside, name)(inside(other))
        return self

    return in_place if name.startswith("__i") else operator


for _name, _keywords in METHODS.items():
    setattr(ndarray, _name, _method(_name, _keywords))
for _name in BINARY:
    for _prefix in ("", "r", "i"):
        if hasattr(np.ndarray, f"__{_prefix}{_name}__") and (_prefix, _name) != ("i", "matmul"):
            setattr(ndarray, f"__{_prefix}{_name}__", _binary(f"__{_prefix}{_name}__"))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(ndarray, f"__{_name}__", _binary(f"__{_name}__"))


def _function(name: str) -> Any:
    def function(*args: Any, **kwargs: Any) -> Any:
        assert kwargs.keys() <= NAMES[name], f"cupy.{name} has no {kwargs.keys() - NAMES[name]}"
        sources = (*args, *kwargs.values())
        if name in CREATED:  # numpy's arrays come in here
            args = tuple(a.inside if isinstance(a, ndarray) else a for a in args)
        result = getattr(np, name)(
            *(args if name in CREATED else inside(args)), **{k: inside(v) for k, v in kwargs.items()}
        )
        if (
            name in CREATED
            and isinstance(args[0], np.ndarray)
            and not any(isinstance(s, ndarray) for s in sources)
        ):
            result = np.array(result)  # in the device's own memory
        return result if name in ("result_type", "may_share_memory") else given_back(result, *sources)

    if name == "add":
        function.at = lambda a, index, b: np.add.at(a.inside, inside(index), inside(b))  # type: ignore[attr-defined]
    return function


class _Grid:
    def __getitem__(self, key: Any) -> Any:
        return given_back(np.ogrid[key])


def module() -> Any:
    """What ``import cupy`` would give."""
    used: list[int] = []
    cuda = SimpleNamespace(
        runtime=SimpleNamespace(getDeviceCount=lambda: 2, getDevice=lambda: 0),
        Device=lambda ordinal: SimpleNamespace(use=lambda: used.append(ordinal)),
        used=used,
    )
    constants = {"inf": np.inf, "nan": np.nan, "finfo": np.finfo, "newaxis": None}
    return SimpleNamespace(
        ndarray=ndarray, ogrid=_Grid(), cuda=cuda, **constants, **{name: _function(name) for name in NAMES}
    )
