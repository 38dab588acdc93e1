"""The gradients of DataParallel in fewer bytes.

How ranks add up depends on the scheme:

- fp16, random-k: by AllReduce of a short array (``Summed``).
- PowerSGD: by two, of P and then of Q (``LowRank``).
- The others cannot be added up as they are: each rank gets its shard of all ranks' gradients, encoded, decodes and folds
  them, and encodes the sum for all (``TwoStep``): an AllToAll and an AllGather, as much as a ring sends. There is error
  feedback for both (Tang et al., "DoubleSqueeze", ICML 2019; Tang et al., "1-bit Adam", ICML 2021).

All ranks end with the same bits: they decode the same payloads, or the same sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from ringleader.runtime.autograd import Parameter
from ringleader.runtime.comm.compression import ErrorFeedback, Feedbacks, check_spec, worthwhile
from ringleader.runtime.comm.wire import Wire, allreduce_bytes
from ringleader.runtime.parallel.exchange import Exchange, make_exchange

if TYPE_CHECKING:
    from ringleader.collectives import Schedule
    from ringleader.runtime.comm import Communicator

Array = NDArray[Any]


class Compression:
    """How the gradients of one model are compressed. ``spec``: see ``make_compressor``; ValueError as there."""

    def __init__(self, spec: str, world: Communicator, algorithm: str | Schedule = "auto") -> None:
        check_spec(spec)
        self.spec, self.world, self.algorithm = spec, world, algorithm
        self.wire = Wire()
        self.reductions: list[Reduction] = []

    def suits(self, parameter: Parameter) -> bool:
        """Is it worth it?"""
        return worthwhile(self.spec, parameter.shape, parameter.dtype, 0) is not None

    def ordered(self, names: Sequence[str], parameters: Mapping[str, Parameter]) -> list[str]:
        """First those that suit."""
        return sorted(names, key=lambda name: not self.suits(parameters[name]))

    def reduction(self, flat: Array, parameters: Mapping[str, Parameter], last: bool) -> Reduction:
        """Of a bucket, whose gradients lie in ``flat`` as ``ordered``, and behind them an element that counts in the ``last``
        bucket alone. All ranks must make the same ones, in the same order."""
        suitable = {name: p.shape for name, p in parameters.items() if self.suits(p)}
        made = Reduction(self, flat, suitable, len(self.reductions), last)
        self.reductions.append(made)
        return made

    def finish(self) -> None:
        """Return when all are reduced; they have all been started."""
        for reduction in self.reductions:
            reduction.proceed()
        for reduction in self.reductions:
            reduction.wait()

    def state_dict(self) -> dict[str, Array]:
        """For a checkpoint of this rank, see ``Feedbacks``."""
        return self._feedbacks().state_dict()

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Go on from there, with the same model, scheme, buckets and number of ranks. ValueError: they are others."""
        self._feedbacks().load_state_dict(state)

    def _feedbacks(self) -> Feedbacks:
        named = (
            (f"{number}.{name}", feedback)
            for number, reduction in enumerate(self.reductions)
            for name, feedback in reduction.feedbacks.items()
        )
        return Feedbacks(self.spec, named)


class Reduction:
    """The sum over ranks of one bucket: compressed of those gradients that suit, as they are of the rest."""

    def __init__(
        self, of: Compression, flat: Array, suitable: Mapping[str, tuple[int, ...]], number: int, last: bool
    ) -> None:
        self.of = of
        size = sum(map(prod, suitable.values()))
        self.rest = (
            flat[size:] if last or flat.size > size + 1 else None
        )  # the last element counts in the last bucket
        self.exchange: Exchange | None = None
        if suitable:
            seed = (number + 1) << 32  # exchanges count up from theirs
            self.exchange = make_exchange(of.spec, seed, of.world, of.algorithm, flat[:size], suitable)
        self.work: Any = None  # Handle of the AllReduce of the rest
        self.uncompressed = allreduce_bytes(of.world, flat, of.algorithm)
        self.sent = self.exchange.sent if self.exchange else 0
        if self.rest is not None:
            self.sent += allreduce_bytes(of.world, self.rest, of.algorithm)

    @property
    def feedbacks(self) -> Mapping[str, ErrorFeedback]:
        return self.exchange.feedbacks if self.exchange else {}

    def start(self) -> Reduction:
        """What can be under way is, afterwards."""
        if self.exchange:
            self.exchange.start()
        if self.rest is not None:
            self.work = self.of.world.allreduce(
                self.rest, op="sum", algorithm=self.of.algorithm, async_op=True
            )
        self.of.wire.sent += self.sent
        self.of.wire.uncompressed += self.uncompressed
        return self

    def test(self) -> None:
        """Keep it moving."""
        if self.exchange:
            self.exchange.test()
        if self.work is not None:
            self.work.test()

    def proceed(self) -> None:
        """In the same order on all ranks, which ``test`` cannot know."""
        if self.exchange:
            self.exchange.proceed()

    def wait(self) -> None:
        if self.exchange:
            self.exchange.finish()
        if self.work is not None:
            self.work.wait()
