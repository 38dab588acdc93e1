"""How many bytes a rank's messages carry; in a collective call exactly, by the program that it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from ringleader.collectives import Schedule
from ringleader.runtime.comm.call import AUTO, choose, program
from ringleader.runtime.comm.layout import Layout, exchanged, lay_out
from ringleader.runtime.comm.ops import OPS, Op
from ringleader.runtime.comm.work import place

if TYPE_CHECKING:
    from ringleader.runtime.comm.communicator import Communicator


@dataclass
class Wire:
    """Bytes that this rank's messages have carried since the start, and would have without compression."""

    sent: int = 0
    uncompressed: int = 0

    @property
    def ratio(self) -> float:
        return self.uncompressed / self.sent if self.sent else 1.0


def allreduce_bytes(world: Communicator, x: NDArray[Any], algorithm: str | Schedule = AUTO) -> int:
    """Sent by this rank in ``world.allreduce(x, algorithm=algorithm)``. What the vendor's own sends nobody says: it is taken
    for the least that any can, 2 (n - 1) / n of x."""
    layout = lay_out("allreduce", x, None, 0, None, world.rank, world.size)
    sent = _sent(world, "allreduce", layout, OPS["sum"], algorithm, equal=True)
    return 2 * (world.size - 1) * x.nbytes // world.size if sent is None else sent


def alltoall_bytes(
    world: Communicator, x: NDArray[Any], counts: Sequence[int], received: Sequence[int]
) -> int:
    """Sent by this rank in ``world.alltoall(x, counts=counts, received=received)``."""
    sent = _sent(world, "alltoall", exchanged(x, None, counts, received, None), None, AUTO, equal=False)
    row = x.itemsize * (x.size // len(x) if len(x) else 0)
    return row * (sum(counts) - counts[world.rank]) if sent is None else sent


def allgather_bytes(world: Communicator, x: NDArray[Any], counts: Sequence[int]) -> int:
    """Sent by this rank in ``world.allgather(x, counts=counts)``; by the vendor's own: its block to all others."""
    layout = lay_out("allgather", x, None, 0, counts, world.rank, world.size)
    sent = _sent(world, "allgather", layout, None, AUTO, equal=False)
    return (world.size - 1) * x.nbytes if sent is None else sent


def _sent(
    world: Communicator, collective: str, layout: Layout, op: Op | None, algorithm: str | Schedule, equal: bool
) -> int | None:  # fmt: skip
    """None: the vendor's own is what runs."""
    suits = algorithm == AUTO and world._transport.vendor_suits(collective, layout.dtype, op, equal)
    chosen = choose(collective, algorithm, world.size, 0, layout.nbytes, op, equal, suits, world._chooser)
    if chosen.schedule is None:
        return None
    placed = place(program(chosen.schedule, world.rank), layout.sizes)
    messages = (step.src for step in placed.steps if step.kind == "send")
    return layout.dtype.itemsize * sum(stop - start for spans in messages for _, start, stop in spans)
