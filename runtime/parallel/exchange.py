"""Three ways to add up compressed gradients over ranks: by what can be summed of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from itertools import accumulate, pairwise
from math import prod
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from ringleader.runtime.comm.compression import CompressionError, ErrorFeedback, make_compressor
from ringleader.runtime.comm.compression.base import Linear
from ringleader.runtime.comm.compression.low_rank import PowerSGD
from ringleader.runtime.comm.wire import allgather_bytes, allreduce_bytes, alltoall_bytes

if TYPE_CHECKING:
    from ringleader.collectives import Schedule
    from ringleader.runtime.comm import Communicator

Array = NDArray[Any]
Result = TypeVar("Result")


class Exchange(ABC):
    """Adds up ``x``, (size,), over the ranks in place: gradients of these ``shapes``, by name, one after the other.

    ``start``, then ``proceed``, then ``finish``, each in the same order on all ranks if there are several exchanges.
    ``x`` must stay as it is in between. ``sent``: bytes that this rank sends in one. ``feedbacks``: by name.
    """

    sent = 0
    feedbacks: dict[str, ErrorFeedback]

    def __init__(
        self, world: Communicator, algorithm: str | Schedule, x: Array, shapes: Mapping[str, tuple[int, ...]]
    ) -> None:
        self.world, self.algorithm, self.x, self.shapes = world, algorithm, x, shapes
        self.parts = _cut(x, shapes)
        self.work: Any = None  # Handle of the call under way

    @abstractmethod
    def start(self) -> None:
        """The first call is under way afterwards."""

    def test(self) -> bool:
        """Keep it moving; has the call under way completed?"""
        return bool(self.work.test())

    def proceed(self) -> None:  # noqa: B027  (one call is all that some take)
        """Wait for the first call; the second, if any, is under way afterwards."""

    @abstractmethod
    def finish(self) -> None:
        """Wait for the last call; ``x`` is the sum."""

    def encoded(self, collective: str, encode: Callable[[], Result]) -> Result:
        """What ``encode`` returns. If it cannot, ``collective``, which all ranks call next, raises the same everywhere."""
        try:
            return encode()
        except CompressionError as error:
            odd = [name for name, part in self.parts.items() if not np.isfinite(part).all()]
            self.world.refuse(collective, f"{error} (in {', '.join(odd or self.parts)})")

    def reduce(self, x: Array) -> Any:
        return self.world.allreduce(x, op="sum", algorithm=self.algorithm, async_op=True)


class Summed(Exchange):
    """By one AllReduce of a short array. All ranks' encoders count alike, so they send the same elements."""

    def __init__(self, spec: str, seed: int, *given: Any) -> None:
        super().__init__(*given)
        encoder = make_compressor(spec, self.x.shape, self.x.dtype, seed)
        assert isinstance(encoder, Linear)
        self.encoder, self.feedback = encoder, ErrorFeedback(encoder)
        self.feedbacks = {"all": self.feedback}
        self.sent = allreduce_bytes(self.world, encoder.blank(), self.algorithm)

    def start(self) -> None:
        corrected = self.encoded("allreduce", partial(self.feedback.correct, self.x))
        values = self.encoder.project(corrected, self.world.size)
        here = np.empty_like(self.x)
        self.encoder.spread(values, here)
        self.feedback.keep(corrected, here)
        self.work = self.reduce(values)

    def finish(self) -> None:
        self.encoder.spread(self.work.wait(), self.x)


class LowRank(Exchange):
    """PowerSGD, algorithm 1 of the paper: AllReduce of all P = M Q, which then are made orthonormal, and of all Q = M^T P."""

    def __init__(self, spec: str, seed: int, *given: Any) -> None:
        super().__init__(*given)
        self.encoders: dict[str, PowerSGD] = {}
        for number, (name, part) in enumerate(self.parts.items()):
            encoder = make_compressor(spec, part.shape, part.dtype, seed + number)
            assert isinstance(encoder, PowerSGD) and encoder.factored
            self.encoders[name] = encoder
        self.feedbacks = {name: ErrorFeedback(encoder) for name, encoder in self.encoders.items()}
        self.corrected: dict[str, Array] = {}
        self.p: dict[str, Array] = {}
        for sizes in (
            [e.rank * e.m for e in self.encoders.values()],
            [e.rank * e.n for e in self.encoders.values()],
        ):
            self.sent += allreduce_bytes(self.world, np.empty(sum(sizes), self.x.dtype), self.algorithm)

    def start(self) -> None:
        for name, feedback in self.feedbacks.items():
            part = self.parts[name]
            self.corrected[name] = self.encoded("allreduce", partial(feedback.correct, part))
        self.work = self.reduce(_flat(e.left(self.corrected[name]) for name, e in self.encoders.items()))

    def proceed(self) -> None:
        sums = _cut(self.work.wait(), {name: (e.m, e.rank) for name, e in self.encoders.items()})
        q = {}
        for name, encoder in self.encoders.items():
            corrected = self.corrected[name]
            self.p[name] = p = encoder.orthogonal(sums[name])  # of what all ranks have: they raise together
            q[name] = encoder.right(corrected, p)
            self.feedbacks[name].keep(corrected, (p @ q[name].T).reshape(corrected.shape))
        self.work = self.reduce(_flat(q.values()))

    def finish(self) -> None:
        sums = _cut(self.work.wait(), {name: (e.n, e.rank) for name, e in self.encoders.items()})
        for name, encoder in self.encoders.items():
            encoder.start_from(sums[name])
            self.parts[name][...] = (self.p[name] @ sums[name].T).reshape(self.parts[name].shape)


class TwoStep(Exchange):
    """By an AllToAll of encoded shards; each rank folds its own in rank order, encodes the sum, and all gather these.

    A rank's part of its own shard crosses no wire, so it is not encoded.
    """

    def __init__(self, spec: str, seed: int, *given: Any) -> None:
        super().__init__(*given)
        n, size = self.world.size, self.x.size
        edges = [r * size // n for r in range(n + 1)]
        self.shards = [self.x[start:stop] for start, stop in pairwise(edges)]
        own = self.world.rank
        self.codes = [
            ErrorFeedback(make_compressor(spec, shard.shape, shard.dtype, seed + rank))
            for rank, shard in enumerate(self.shards)
        ]  # the own one encodes the sum
        self.feedbacks = {"sum" if r == own else f"to {r}": code for r, code in enumerate(self.codes)}
        self.all = [code.compressor.nbytes for code in self.codes]
        self.out = [0 if r == own else nbytes for r, nbytes in enumerate(self.all)]
        self.into = [0 if r == own else self.all[own] for r in range(n)]
        self.sent = alltoall_bytes(self.world, np.empty(sum(self.out), np.uint8), self.out, self.into)
        self.sent += allgather_bytes(self.world, np.empty(self.all[own], np.uint8), self.all)

    def start(self) -> None:
        others = [(self.codes[r], self.shards[r]) for r in range(self.world.size) if r != self.world.rank]
        payloads = self.encoded("alltoall", lambda: [code.encode(shard) for code, shard in others])
        self.work = self.world.alltoall(
            np.concatenate(payloads), counts=self.out, received=self.into, async_op=True
        )

    def proceed(self) -> None:
        own = self.world.rank
        arrived = np.split(self.work.wait(), np.cumsum(self.into)[:-1])
        shard, decoder = self.shards[own], self.codes[own].compressor
        total, part = np.zeros_like(shard), np.empty_like(shard)
        for rank, payload in enumerate(arrived):
            if rank != own:
                decoder.decode(payload, part)
            with np.errstate(over="ignore"):  # encoding it says so
                total += shard if rank == own else part
        payload = self.encoded("allgather", partial(self.codes[own].encode, total))
        self.work = self.world.allgather(payload, counts=self.all, async_op=True)

    def finish(self) -> None:
        payloads = np.split(self.work.wait(), np.cumsum(self.all)[:-1])
        for code, payload, shard in zip(self.codes, payloads, self.shards):
            code.compressor.decode(payload, shard)


def make_exchange(
    spec: str, seed: int, world: Communicator, algorithm: str | Schedule, x: Array,
    shapes: Mapping[str, tuple[int, ...]],
) -> Exchange:  # fmt: skip
    """The way that suits the scheme. ``seed``: the same on all ranks. Collective in that all must make the same."""
    code = make_compressor(spec, x.shape, x.dtype, seed)
    kind = Summed if isinstance(code, Linear) else LowRank if isinstance(code, PowerSGD) else TwoStep
    return kind(spec, seed, world, algorithm, x, shapes)


def _flat(arrays: Any) -> Array:
    return np.concatenate([array.reshape(-1) for array in arrays])


def _cut(flat: Array, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """Arrays of these shapes that lie one after the other in ``flat``."""
    edges = accumulate((prod(shape) for shape in shapes.values()), initial=0)
    return {
        name: flat[start:stop].reshape(shape)
        for (name, shape), (start, stop) in zip(shapes.items(), pairwise(edges))
    }
