"""A few of the elements, as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike, NDArray
from ringleader.runtime.comm.compression.base import (
    Array,
    Compressor,
    Counted,
    Linear,
    Payload,
    joined,
    taken,
)

Indices = NDArray[np.int64]


def kept(size: int, ratio: float) -> int:
    """How many elements of ``size`` are sent: at least one, where there is one."""
    return min(size, max(1, round(ratio * size)))


class TopK(Compressor):
    """The elements of largest magnitude, a share ``ratio`` of all (Aji and Heafield, "Sparse communication for distributed
    gradient descent", EMNLP 2017). Of equal ones at the limit any may go. k values, and the shorter code of their indices.
    """

    def __init__(self, spec: str, shape: Sequence[int], dtype: DTypeLike, seed: int, ratio: float) -> None:
        super().__init__(spec, shape, dtype, seed)
        self.k = kept(self.size, ratio)
        codes: list[IndexCode] = [Bitmap(self.size, self.k), EliasFano(self.size, self.k)]
        self.code = min(codes, key=lambda code: code.nbytes)
        self.nbytes = self.k * self.dtype.itemsize + self.code.nbytes

    def _encode(self, x: Array) -> Payload:
        cut = self.size - self.k
        chosen = np.argpartition(np.abs(x), cut)[cut:] if cut else np.arange(self.size)
        chosen.sort()
        return joined(x[chosen], self.code.encode(chosen))

    def _decode(self, payload: Payload) -> Array:
        values, code = taken(payload, (self.dtype, self.k), (np.uint8, self.code.nbytes))
        indices = self.code.decode(code)
        if indices is None:
            raise self.refuse(f"does not name {self.k} different elements of {self.size}")
        x = np.zeros(self.size, self.dtype)
        x[indices] = values
        return x


class IndexCode:
    """Of ``k`` different indices below ``size``, in ascending order. ``nbytes``: of every payload."""

    def __init__(self, size: int, k: int) -> None:
        self.size, self.k = size, k
        self.nbytes = 0

    def encode(self, indices: Indices) -> Payload:
        raise NotImplementedError

    def decode(self, payload: Payload) -> Indices | None:
        """None: it does not hold such indices."""
        raise NotImplementedError


class Bitmap(IndexCode):
    """A bit an element: the shorter one where about a fifth or more of all are sent."""

    def __init__(self, size: int, k: int) -> None:
        super().__init__(size, k)
        self.nbytes = -(-size // 8)

    def encode(self, indices: Indices) -> Payload:
        mask = np.zeros(self.size, bool)
        mask[indices] = True
        return np.packbits(mask)

    def decode(self, payload: Payload) -> Indices | None:
        found = np.flatnonzero(np.unpackbits(payload))
        return found if found.size == self.k and (not self.k or found[-1] < self.size) else None


class EliasFano(IndexCode):
    """The low bits of each index as they are, the rest in unary (Elias, "Efficient storage and retrieval by content and
    address of static files", JACM 1974; Fano 1971): at most 2 + log2(size / k) bits an index, within half a bit of what
    any code needs on average.

    With ``low`` bits apart, index j, whose others are h, sets bit h + j of a string: ascending, and no two alike.
    """

    def __init__(self, size: int, k: int) -> None:
        super().__init__(size, k)
        self.low = max(0, (size // k).bit_length() - 1) if k else 0
        self.low_bytes = -(-k * self.low // 8)
        self.high_bytes = -(-(k + ((size - 1) >> self.low)) // 8) if k else 0
        self.nbytes = self.low_bytes + self.high_bytes

    def encode(self, indices: Indices) -> Payload:
        string = np.zeros(8 * self.high_bytes, bool)
        string[(indices >> self.low) + np.arange(self.k)] = True
        bits = (indices[:, None] >> np.arange(self.low)) & 1
        return joined(np.packbits(bits.astype(bool)), np.packbits(string))

    def decode(self, payload: Payload) -> Indices | None:
        bits = np.unpackbits(payload[: self.low_bytes], count=self.k * self.low).reshape(self.k, self.low)
        ones = np.flatnonzero(np.unpackbits(payload[self.low_bytes :]))
        if ones.size != self.k:
            return None
        below = bits.astype(np.int64) @ (1 << np.arange(self.low, dtype=np.int64))
        indices: Indices = ((ones - np.arange(self.k)) << self.low) | below
        ascending = (np.diff(indices) > 0).all()
        return indices if ascending and (not self.k or indices[-1] < self.size) else None


class RandomK(Counted, Linear):
    """A share ``ratio`` of the elements, drawn anew for each payload by the seed and the number of payloads so far, so that
    ranks which count alike draw alike, and no index is sent (Stich, Cordonnier and Jaggi, "Sparsified SGD with memory",
    NeurIPS 2018; Wangni et al. 2018 scale what is left, which error feedback makes needless).

    One element of each of k stretches of equal length: every element has the chance k / size, which is all that the paper's
    proof asks of a draw, and they come in order. 8 bytes, how many payloads there have been, and k values.
    """

    def __init__(self, spec: str, shape: Sequence[int], dtype: DTypeLike, seed: int, ratio: float) -> None:
        super().__init__(spec, shape, dtype, seed)
        self.k = kept(self.size, ratio)
        self.nbytes = 8 + self.k * self.dtype.itemsize
        self._latest = np.empty(0, np.int64)

    def draw(self, step: int) -> Indices:
        """The indices of this payload, ascending. Philox's raw numbers are the same in every release of numpy."""
        edges = np.arange(self.k + 1) * self.size // max(1, self.k)
        raw = np.random.Philox(key=[self.seed, step]).random_raw(self.k)
        return edges[:-1] + (raw % np.diff(edges).astype(np.uint64)).astype(np.int64)

    def project(self, x: Array, addends: int = 1) -> Array:
        self._latest = self.draw(self.step)
        self.step += 1
        return x.reshape(-1)[self._latest]

    def blank(self) -> Array:
        return np.empty(self.k, self.dtype)

    def spread(self, values: Array, out: Array) -> None:
        x = np.zeros(self.size, self.dtype)
        x[self._latest] = values
        out[...] = x.reshape(self.shape)

    def _encode(self, x: Array) -> Payload:
        step = np.array([self.step], np.uint64)
        return joined(step, self.project(x))

    def _decode(self, payload: Payload) -> Array:
        [step], values = taken(payload, (np.uint64, 1), (self.dtype, self.k))
        x = np.zeros(self.size, self.dtype)
        x[self.draw(int(step))] = values
        return x
