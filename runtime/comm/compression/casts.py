"""Numbers of 16 bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike, NDArray
from ringleader.runtime.comm.compression.base import Array, Compressor, Linear, Payload

FLOAT32 = np.finfo(np.float32)


class Half(Linear):
    """IEEE binary16, to nearest, ties to even (Micikevicius et al., "Mixed precision training", ICLR 2018).

    2 bytes an element. What is beyond +-65504, or 2^15 over the number of addends (rounded up to a power of two), is cut
    off there: with error feedback it comes later.
    """

    def __init__(self, spec: str, shape: Sequence[int], dtype: DTypeLike, seed: int) -> None:
        super().__init__(spec, shape, dtype, seed)
        self.nbytes = 2 * self.size

    def project(self, x: Array, addends: int = 1) -> Array:
        # Of several a power of two: its multiples are numbers of 11 bits, so no rounding leads beyond their sum, 2^15.
        most = x.dtype.type(65504 if addends == 1 else 2.0 ** (15 - (addends - 1).bit_length()))
        return np.clip(x.reshape(-1), -most, most).astype(np.float16)

    def blank(self) -> Array:
        return np.empty(self.size, np.float16)

    def spread(self, values: Array, out: Array) -> None:
        out[...] = values.reshape(self.shape)

    def _encode(self, x: Array) -> Payload:
        return self.project(x).view(np.uint8)

    def _decode(self, payload: Payload) -> Array:
        return np.frombuffer(payload.tobytes(), np.float16).astype(self.dtype)


class Brain(Compressor):
    """bfloat16, the upper half of a binary32, to nearest, ties to even (Kalamkar et al., "A study of BFLOAT16 for deep
    learning training", arXiv 1905.12322, 2019). 2 bytes an element; the range of float32, beyond which it is cut off.

    Not a Linear one: sums in 8 bits of mantissa lose too much, so ranks fold these in the gradient's own dtype.
    """

    def __init__(self, spec: str, shape: Sequence[int], dtype: DTypeLike, seed: int) -> None:
        super().__init__(spec, shape, dtype, seed)
        self.nbytes = 2 * self.size

    def _encode(self, x: Array) -> Payload:
        bits = narrowed(x).view(np.uint32)
        rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
        largest = np.uint32(0x7F7F)  # the next is infinity
        payload: Payload = (
            (np.minimum(rounded & 0x7FFF, largest) | (rounded & 0x8000)).astype(np.uint16).view(np.uint8)
        )
        return payload

    def _decode(self, payload: Payload) -> Array:
        upper = np.frombuffer(payload.tobytes(), np.uint16).astype(np.uint32)
        return (upper << 16).view(np.float32).astype(self.dtype)


def narrowed(x: Array) -> NDArray[np.float32]:
    """As float32, cut off at its range."""
    if x.dtype == np.float32:
        return x
    return np.clip(x, FLOAT32.min, FLOAT32.max).astype(np.float32)
