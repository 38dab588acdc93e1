"""Numbers of 8 bits and of one, with a scale for each block of neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike
from ringleader.runtime.comm.compression.base import (
    Array,
    Compressor,
    Counted,
    Payload,
    joined,
    taken,
)
from ringleader.runtime.comm.compression.casts import FLOAT32, narrowed

BLOCK8, BLOCK1 = 256, 1024  # elements that share a scale: its 4 bytes are 1.6 % and 3 % of a block's payload
LEVELS = 127
MOST_SCALE = np.nextafter(
    FLOAT32.max / LEVELS, np.float32(0)
)  # so that no level is beyond the range of float32


class Int8(Counted):
    """x ~ q absmax / 127 with q in -127 ... 127, a scale for each block of 256 (block-wise absmax: Dettmers, Lewis, Shleifer
    and Zettlemoyer, "8-bit optimizers via block-wise quantization", ICLR 2022, section 2.1, with even levels).

    q is rounded to nearest, ties to even; or, ``stochastic``, up or down so that its mean is right (Alistarh et al., "QSGD",
    NIPS 2017), by the seed. size + 4 ceil(size / 256) bytes.
    """

    def __init__(
        self, spec: str, shape: Sequence[int], dtype: DTypeLike, seed: int, stochastic: bool = False
    ) -> None:
        super().__init__(spec, shape, dtype, seed)
        self.stochastic = stochastic
        self.blocks = -(-self.size // BLOCK8)
        self.nbytes = self.size + 4 * self.blocks

    def _encode(self, x: Array) -> Payload:
        rows = _in_blocks(x, BLOCK8)
        scale = np.minimum(narrowed(np.abs(rows).max(axis=1, initial=0) / LEVELS), MOST_SCALE)
        # 0: nothing but zeros, or so small that the scale is not a number of 32 bits
        q = rows / np.where(scale > 0, scale, np.inf)[:, None].astype(x.dtype)
        if self.stochastic:
            draws = np.random.Generator(np.random.Philox(key=[self.seed, self.step]))
            self.step += 1
            q = np.floor(q + draws.random(q.shape, np.float32))
        q = np.clip(np.rint(q), -LEVELS, LEVELS).astype(np.int8)
        return joined(scale, q.reshape(-1)[: self.size])

    def _decode(self, payload: Payload) -> Array:
        scale, q = taken(payload, (np.float32, self.blocks), (np.int8, self.size))
        _check_scales(self, scale)
        x: Array = _in_blocks(q.astype(self.dtype), BLOCK8) * scale[:, None].astype(self.dtype)
        return x.reshape(-1)[: self.size]


class Sign(Compressor):
    """x ~ +-s, where s is the mean magnitude of a block of 1024. One bit an element (Seide, Fu, Droppo, Li and Yu, "1-bit
    stochastic gradient descent", Interspeech 2014), scaled so that error feedback converges (Karimireddy, Rebjock, Stich and
    Jaggi, "Error feedback fixes SignSGD", ICML 2019, algorithm 1). ceil(size / 8) + 4 ceil(size / 1024) bytes.
    """

    def __init__(self, spec: str, shape: Sequence[int], dtype: DTypeLike, seed: int) -> None:
        super().__init__(spec, shape, dtype, seed)
        self.blocks = -(-self.size // BLOCK1)
        self.nbytes = -(-self.size // 8) + 4 * self.blocks

    def _encode(self, x: Array) -> Payload:
        counts = np.minimum(BLOCK1, self.size - BLOCK1 * np.arange(self.blocks))
        # divided first: the sum of large finite numbers need not be finite
        means = (np.abs(_in_blocks(x, BLOCK1)) / counts[:, None].astype(x.dtype)).sum(axis=1)
        return joined(narrowed(means), np.packbits(x < 0))

    def _decode(self, payload: Payload) -> Array:
        scale, bits = taken(payload, (np.float32, self.blocks), (np.uint8, -(-self.size // 8)))
        _check_scales(self, scale)
        negative = np.unpackbits(bits, count=self.size).view(bool)
        magnitudes = np.repeat(scale.astype(self.dtype), BLOCK1)[: self.size]
        return np.where(negative, -magnitudes, magnitudes)


def _in_blocks(x: Array, block: int) -> Array:
    """(blocks, block), the last one filled up with zeros."""
    blocks = -(-x.size // block)
    if x.size != blocks * block:
        x = np.concatenate([x, np.zeros(blocks * block - x.size, x.dtype)])
    return x.reshape(blocks, block)


def _check_scales(compressor: Compressor, scale: Array) -> None:
    if not (np.isfinite(scale) & (scale >= 0)).all():
        raise compressor.refuse("has a scale that is negative or not finite")
