"""The reductions. None instead of a Call: to be passed on (see operations.folding)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from mpi4py import MPI

from ringleader.mpi4py.calls import Steps, checked_root
from ringleader.mpi4py.messages import Message, in_place, integers, simple
from ringleader.mpi4py.operations import folding
from ringleader.mpi4py.progress import Call
from ringleader.runtime.comm import Communicator


def reduce(
    world: Communicator, sendbuf: Any, recvbuf: Any, op: MPI.Op = MPI.SUM, root: int = 0
) -> Call | None:
    here = checked_root(world, root) == world.rank
    received = simple(recvbuf, readonly=False) if here else None
    if received is not None and in_place(sendbuf):
        source = received
    else:
        source = simple(sendbuf, readonly=True)
        if received is not None:
            _alike(source, received)
    fold = folding(op, source.kind)
    if fold is None:
        return None
    x = source.elements(fold.dtype, source.count)
    out = received.elements(fold.dtype, received.count) if received not in (None, source) else None

    def steps() -> Steps:
        yield partial(world.reduce, x, fold.op, root, out=out)

    return Call(1, steps())


def allreduce(world: Communicator, sendbuf: Any, recvbuf: Any, op: MPI.Op = MPI.SUM) -> Call | None:
    received, source = _ends(sendbuf, recvbuf)
    fold = folding(op, received.kind)
    if fold is None:
        return None
    out = received.elements(fold.dtype, received.count)
    x = None if source is received else source.elements(fold.dtype, source.count)

    def steps() -> Steps:
        if x is not None:
            out[...] = x  # in place is what the runtime does fastest
        yield partial(world.allreduce, out, fold.op)

    return Call(1, steps())


def scan(world: Communicator, sendbuf: Any, recvbuf: Any, op: MPI.Op = MPI.SUM) -> Call | None:
    return _everywhere(world.scan, sendbuf, recvbuf, op)


def exscan(world: Communicator, sendbuf: Any, recvbuf: Any, op: MPI.Op = MPI.SUM) -> Call | None:
    return _everywhere(world.exscan, sendbuf, recvbuf, op, apart=True)


def _everywhere(collective: Any, sendbuf: Any, recvbuf: Any, op: MPI.Op, apart: bool = False) -> Call | None:
    """``apart``: input and output must not be the same memory."""
    received, source = _ends(sendbuf, recvbuf)
    fold = folding(op, received.kind)
    if fold is None:
        return None
    out = received.elements(fold.dtype, received.count)
    x = out if source is received else source.elements(fold.dtype, source.count)
    if apart and source is received:
        x = x.copy()

    def steps() -> Steps:
        yield partial(collective, x, fold.op, out=out)

    return Call(1, steps())


def _ends(sendbuf: Any, recvbuf: Any) -> tuple[Message, Message]:
    """Where the result goes, and what goes in: the same message if in place."""
    received = simple(recvbuf, readonly=False)
    if in_place(sendbuf):
        return received, received
    source = simple(sendbuf, readonly=True)
    _alike(source, received)
    return received, source


def reduce_scatter_block(
    world: Communicator, sendbuf: Any, recvbuf: Any, op: MPI.Op = MPI.SUM
) -> Call | None:
    blocks = world.size
    if in_place(sendbuf):
        received = source = simple(recvbuf, readonly=False, blocks=blocks)
    else:
        received, source = simple(recvbuf, readonly=False), simple(sendbuf, readonly=True, blocks=blocks)
        _alike(source, received)
    return _scattered(world, source, received, [received.count] * blocks, op)


def reduce_scatter(
    world: Communicator, sendbuf: Any, recvbuf: Any, recvcounts: Any = None, op: MPI.Op = MPI.SUM
) -> Call | None:
    received = simple(recvbuf, readonly=False)
    source = received if in_place(sendbuf) else simple(sendbuf, readonly=True)
    if recvcounts is not None or source is received:
        counts = integers(recvcounts, world.size)
        _add_up(world, source, received, counts)
        return _scattered(world, source, received, counts, op)
    if folding(op, source.kind) is None:
        return None

    def steps() -> Steps:
        counts = np.empty(world.size, np.int64)
        yield partial(world.allgather, np.array([received.count]), out=counts)
        try:
            _add_up(world, source, received, counts.tolist())
        except ValueError as error:
            world.refuse("reduce_scatter", str(error))
        scattered = _scattered(world, source, received, counts.tolist(), op)
        assert scattered is not None
        yield from scattered.steps

    return Call(2, steps())


def _scattered(
    world: Communicator, source: Message, received: Message, counts: list[int], op: MPI.Op
) -> Call | None:
    fold = folding(op, source.kind)
    if fold is None:
        return None
    x = source.elements(fold.dtype, sum(counts))
    out = received.elements(fold.dtype, counts[world.rank])
    if source is received:
        x = x.copy()

    def steps() -> Steps:
        yield partial(world.reduce_scatter, x, fold.op, out=out, counts=counts)

    return Call(1, steps())


def _alike(source: Message, received: Message) -> None:
    if source.kind.datatype != received.kind.datatype:
        raise ValueError("mismatch in send and receive MPI datatypes")
    if source.count != received.count:
        raise ValueError(f"mismatch in send count {source.count} and receive count {received.count}")


def _add_up(world: Communicator, source: Message, received: Message, counts: list[int]) -> None:
    total = sum(counts)
    if source is received:
        if received.count != total:
            raise ValueError(f"mismatch in receive count {received.count} and sum(counts) {total}")
        return
    if source.kind.datatype != received.kind.datatype:
        raise ValueError("mismatch in send and receive MPI datatypes")
    if source.count != total:
        raise ValueError(f"mismatch in send count {source.count} and sum(counts) {total}")
    if received.count != counts[world.rank]:
        raise ValueError(
            f"mismatch in receive count {received.count} and counts[{world.rank}] {counts[world.rank]}"
        )
