"""A matrix as the product of two narrow ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import DTypeLike
from ringleader.runtime.comm.compression.base import (
    Array,
    CompressionError,
    Compressor,
    Payload,
    joined,
    taken,
)


class PowerSGD(Compressor):
    """M ~ P Q^T, (m, n) ~ (m, r) (r, n): one step of subspace iteration a gradient, from where the last one ended (Vogels,
    Karimireddy and Jaggi, "PowerSGD: practical low-rank gradient compression for distributed optimization", NeurIPS 2019,
    algorithm 1). A tensor is the matrix of its axis 0 by all others.

    The payload holds P and Q: r (m + n) numbers. A vector, or a matrix that has no more numbers than that, is sent as it is
    (as there); ``factored`` is False then. Ranks that sum need not send payloads: P, then Q, of all their matrices
    together come from the sums of their ``left`` and ``right``.
    """

    def __init__(self, spec: str, shape: Sequence[int], dtype: DTypeLike, seed: int, rank: int) -> None:
        super().__init__(spec, shape, dtype, seed)
        self.m = self.shape[0] if self.shape else 1
        self.n = self.size // self.m if self.m else 0
        self.rank = min(rank, self.m, self.n)
        self.factored = self.rank * (self.m + self.n) < self.size
        self.nbytes = self.dtype.itemsize * (self.rank * (self.m + self.n) if self.factored else self.size)
        self.q: Array = np.empty((self.n, 0), self.dtype)
        if self.factored:
            draws = np.random.Generator(np.random.Philox(key=[seed, 0]))
            self.q = draws.standard_normal((self.n, self.rank)).astype(self.dtype)

    def left(self, x: Array) -> Array:
        """M Q, (m, r), for the Q of the step before: linear in M."""
        return product(x.reshape(self.m, self.n), self.q)

    def right(self, x: Array, p: Array) -> Array:
        """M^T P, (n, r): linear in M."""
        return product(x.reshape(self.m, self.n).T, p)

    def orthogonal(self, p: Array) -> Array:
        """An orthonormal basis of P's columns, and of what else where they are not independent, so that a step without a
        gradient is no end. CompressionError: the gradient is so large that its products are not finite."""
        self._require_finite(p)
        basis: Array = np.linalg.qr(p).Q
        return basis

    def start_from(self, q: Array) -> None:
        """The next step begins here. Its length is of no use, and would overflow or vanish in time. CompressionError: as
        ``orthogonal``."""
        self._require_finite(q)
        largest = np.abs(q).max()
        self.q = q / largest if largest > 0 else q.copy()

    def _require_finite(self, factor: Array) -> None:
        if not np.isfinite(factor).all():
            raise CompressionError(
                f"{self.spec}: the gradient is so large that its products overflow; clip the gradients"
            )

    def _encode(self, x: Array) -> Payload:
        if not self.factored:
            return joined(x)
        p = self.orthogonal(self.left(x))
        q = self.right(x, p)
        self.start_from(q)
        return joined(p, q)

    def _decode(self, payload: Payload) -> Array:
        [values] = taken(payload, (self.dtype, self.nbytes // self.dtype.itemsize))
        if not self.factored:
            return values
        p, q = values[: self.m * self.rank], values[self.m * self.rank :]
        return product(p.reshape(self.m, self.rank), q.reshape(self.n, self.rank).T).reshape(-1)

    def state_dict(self) -> dict[str, Array]:
        return {"q": self.q.copy()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        super().load_state_dict(state)
        self.q = np.array(state["q"], self.dtype)


def product(a: Array, b: Array) -> Array:
    """a b, silently not finite where it overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        result: Array = a @ b
    return result
