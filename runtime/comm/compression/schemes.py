"""The schemes by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from ringleader.runtime.comm.compression.base import DTYPES, Compressor
from ringleader.runtime.comm.compression.casts import Brain, Half
from ringleader.runtime.comm.compression.low_rank import PowerSGD
from ringleader.runtime.comm.compression.quantised import Int8, Sign
from ringleader.runtime.comm.compression.sparse import RandomK, TopK

LEAST = 1024  # elements: a smaller tensor is a few kilobytes, which take as long as none


@dataclass(frozen=True)
class Argument:
    """What stands behind the colon. ``read``: ValueError if it makes no sense. ``required``: else the scheme has a default."""

    name: str
    example: str
    about: str
    read: Callable[[str], Any]
    required: bool = True


@dataclass(frozen=True)
class Scheme:
    make: Callable[..., Compressor]
    argument: Argument | None = None


def _ratio(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError
    return value


def _rank(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _rounding(text: str) -> bool:
    if text != "stochastic":
        raise ValueError
    return True


RATIO = Argument("RATIO", "0.01", "the share of the elements that is sent, above 0 and at most 1", _ratio)
RANK = Argument("RANK", "4", "the width of the factors, at least 1", _rank)
ROUNDING = Argument(
    "stochastic", "stochastic", "stochastic, or nothing: to nearest", _rounding, required=False
)
SCHEMES: dict[str, Scheme] = {
    "fp16": Scheme(Half), "bf16": Scheme(Brain), "int8": Scheme(Int8, ROUNDING), "sign": Scheme(Sign),
    "topk": Scheme(TopK, RATIO), "randomk": Scheme(RandomK, RATIO), "powersgd": Scheme(PowerSGD, RANK),
}  # fmt: skip


def _shown(name: str, argument: Argument | None) -> str:
    if argument is None:
        return name
    return f"{name}:{argument.name}" if argument.required else f"{name}[:{argument.name}]"


KNOWN = ", ".join(_shown(name, scheme.argument) for name, scheme in SCHEMES.items())


def make_compressor(spec: str, shape: Sequence[int], dtype: DTypeLike, seed: int) -> Compressor:
    """The scheme that ``spec`` names, like "fp16" or "topk:0.01", for gradients of one shape and dtype (float32, float64).

    ``seed``, 0 ... 2^64 - 1: of what is drawn; the same on all ranks that sum. ValueError: no such scheme, or an argument of
    it that makes no sense.
    """
    scheme, options = _parse(spec)
    return scheme.make(spec, shape, dtype, seed, *options)


def worthwhile(spec: str, shape: Sequence[int], dtype: DTypeLike, seed: int) -> Compressor | None:
    """``make_compressor``, or None where it does not pay: for matrices and more-dimensional tensors of at least ``LEAST``
    elements, if the code makes them smaller. Biases and other small ones are a percent of a model, cost a message's start
    more than its bytes, and suffer most."""
    if len(shape) < 2 or prod(shape) < LEAST or np.dtype(dtype).name not in DTYPES:
        return None
    code = make_compressor(spec, shape, dtype, seed)
    return code if code.nbytes < code.size * code.dtype.itemsize else None


def check_spec(spec: str) -> None:
    """ValueError, which says what is known, unless ``make_compressor`` knows ``spec``."""
    _parse(spec)


def _parse(spec: str) -> tuple[Scheme, list[Any]]:
    name, colon, text = spec.partition(":")
    scheme = SCHEMES.get(name)
    if scheme is None:
        raise ValueError(f"unknown compression {spec!r}; known: {KNOWN}")
    argument = scheme.argument
    if argument is None:
        if colon:
            raise ValueError(f"compression {spec!r}: {name} takes no argument")
        return scheme, []
    if not colon and not argument.required:
        return scheme, []
    try:
        return scheme, [argument.read(text)]
    except ValueError:
        raise ValueError(
            f"compression {spec!r}: behind {name}: must stand {argument.about}, like {name}:{argument.example}"
        ) from None
