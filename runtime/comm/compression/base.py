"""What every compressor promises, and the checks that all of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Payload = NDArray[np.uint8]
DTYPES = ("float32", "float64")


class CompressionError(ValueError):
    """A gradient that cannot be encoded, or a payload that cannot be decoded; the message says what is wrong with it."""


class Compressor(ABC):
    """A lossy code for the tensors of one shape and dtype, float32 or float64.

    ``nbytes``: length of every payload, known before there is one. ``spec``: as ``make_compressor`` knows it. ``seed``: of
    what is drawn, the same on all ranks. Decoding needs no more than the payload: those who only decode may make an
    object of their own, and payloads may come late, twice or never.
    """

    spec: str
    nbytes: int

    def __init__(self, spec: str, shape: Sequence[int], dtype: DTypeLike, seed: int) -> None:
        self.spec, self.shape, self.dtype, self.seed = spec, tuple(shape), np.dtype(dtype), seed
        if self.dtype.name not in DTYPES:
            raise CompressionError(f"{spec} compresses {' and '.join(DTYPES)}, not {self.dtype}")
        self.size = prod(self.shape)

    def encode(self, x: Array) -> Payload:
        """The payload of ``x``, (nbytes,). CompressionError: another shape or dtype, or not all finite."""
        self.check(x)
        return self._encode(np.ascontiguousarray(x).reshape(-1))

    def check(self, x: Array) -> None:
        """CompressionError: it cannot be encoded."""
        self._fits(x, "x")
        finite = int(np.count_nonzero(np.isfinite(x)))
        if finite < x.size:
            raise CompressionError(
                f"{self.spec}: {x.size - finite} of {x.size} elements of the gradient are not finite; lower the learning "
                "rate, clip the gradients, or train without compression to see where they come from"
            )

    def decode(self, payload: Payload, out: Array) -> None:
        """Overwrite ``out`` with what the payload says. CompressionError: it is not a payload of this code, shape and dtype;
        ``out`` is then as it was."""
        self._fits(out, "out")
        if payload.dtype != np.uint8 or payload.shape != (self.nbytes,):
            raise CompressionError(
                f"{self.spec} of {self.dtype}{list(self.shape)} has payloads of {self.nbytes} bytes; this one is "
                f"{payload.dtype}{list(payload.shape)}"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            x = self._decode(np.ascontiguousarray(payload))
        if not np.isfinite(x).all():
            raise self.refuse("stands for elements that are not finite")
        out[...] = x.reshape(self.shape)

    @abstractmethod
    def _encode(self, x: Array) -> Payload:
        """``x``: (size,), contiguous, finite."""

    @abstractmethod
    def _decode(self, payload: Payload) -> Array:
        """(size,), new or a view of the payload. ``payload`` has the right length, and may hold anything."""

    def state_dict(self) -> dict[str, Array]:
        """What the next payload depends on besides the gradient: arrays by name."""
        return {}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Go on where ``state_dict`` was called. CompressionError: it belongs to another code or shape."""
        self.require(state, self.state_dict())

    def require(self, state: Mapping[str, Array], like: Mapping[str, Array]) -> None:
        """CompressionError: the arrays of ``state`` have not the names and shapes of ``like``."""
        got, own = ({k: np.shape(v) for k, v in s.items()} for s in (state, like))
        if got != own:
            raise CompressionError(f"{self.spec}: a state of {got} does not fit; this one has {own}")

    def _fits(self, x: Array, name: str) -> None:
        if x.shape != self.shape or x.dtype != self.dtype:
            raise CompressionError(
                f"{self.spec}: {name} is {x.dtype}{list(x.shape)}, but must be {self.dtype}{list(self.shape)}"
            )

    def refuse(self, why: str) -> CompressionError:
        """To raise: a payload has the right length and the wrong contents."""
        return CompressionError(f"{self.spec} of {self.dtype}{list(self.shape)}: the payload {why}")


class Linear(Compressor):
    """A code whose values can be added up: ranks sum ``project``'s arrays, and ``spread`` the sum."""

    @abstractmethod
    def project(self, x: Array, addends: int = 1) -> Array:
        """A short 1-d array of ``x``, of which ``addends`` are summed. It may differ in each step, and is of the same
        elements on all ranks that have called it as often. Not checked: ``x``."""

    @abstractmethod
    def blank(self) -> Array:
        """An array as ``project`` would return, of arbitrary contents."""

    @abstractmethod
    def spread(self, values: Array, out: Array) -> None:
        """Overwrite ``out`` with what ``values``, of the latest ``project``, stand for."""


class Counted(Compressor):
    """A code that draws something new for every payload: by the seed and ``step``, how many there have been."""

    step = 0

    def state_dict(self) -> dict[str, Array]:
        return {"step": np.array(self.step, np.uint64)}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        super().load_state_dict(state)
        self.step = int(state["step"])


def joined(*parts: Array) -> Payload:
    """The bytes of arrays, one after the other."""
    return np.concatenate([np.ascontiguousarray(p).reshape(-1).view(np.uint8) for p in parts])


def taken(payload: Payload, *parts: tuple[DTypeLike, int]) -> list[Array]:
    """What ``joined`` has joined: arrays of these dtypes and lengths. They are copies: a payload need not be aligned."""
    found, at = [], 0
    for dtype, count in parts:
        end = at + np.dtype(dtype).itemsize * count
        found.append(np.frombuffer(payload[at:end].tobytes(), dtype).copy())
        at = end
    return found
