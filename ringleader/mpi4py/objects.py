"""The lower-case collectives: any Python objects, pickled as mpi4py does; sizes go ahead, then bytes.

Reductions fold whole objects in rank order where one rank has gathered them, as ``op(left, right)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from functools import reduce as fold
from itertools import accumulate
from typing import Any

import numpy as np
from mpi4py import MPI

from ringleader.mpi4py.calls import Steps, checked_root
from ringleader.mpi4py.datatypes import Array
from ringleader.mpi4py.progress import Call
from ringleader.runtime.comm import Communicator

Operation = Callable[[Any, Any], Any]
_NOTHING = np.empty(0, np.uint8)


def _dump(value: Any) -> Array:
    return np.frombuffer(bytearray(MPI.pickle.dumps(value)), np.uint8)


def _load(octets: Array) -> Any:
    return MPI.pickle.loads(octets.data)


def _loaded(octets: Array, sizes: Sequence[int]) -> list[Any]:
    """Objects that lie one after another."""
    ends = list(accumulate(sizes))
    return [_load(octets[end - size : end]) for end, size in zip(ends, sizes)]


def bcast(world: Communicator, obj: Any, root: int = 0) -> Call:
    here = checked_root(world, root) == world.rank
    sent = _dump(obj) if here else _NOTHING
    return Call(2, _broadcast(world, sent, root))


def _broadcast(world: Communicator, sent: Array, root: int) -> Steps:
    size = np.array([sent.size])
    yield partial(world.broadcast, size, root)
    data = sent if world.rank == root else np.empty(int(size[0]), np.uint8)
    yield partial(world.broadcast, data, root)
    return _load(data)


def gather(world: Communicator, sendobj: Any, root: int = 0) -> Call:
    return Call(2, _gather(world, _dump(sendobj), checked_root(world, root)))


def _gather(world: Communicator, x: Array, root: int) -> Steps:
    sizes = np.empty(world.size, np.int64)
    yield partial(world.allgather, np.array([x.size]), out=sizes)
    counts = sizes.tolist()
    out = np.empty(sum(counts), np.uint8) if world.rank == root else None
    yield partial(world.gather, x, root, counts=counts, out=out)
    return None if out is None else _loaded(out, counts)


def scatter(world: Communicator, sendobj: Sequence[Any] | None, root: int = 0) -> Call:
    here = checked_root(world, root) == world.rank
    return Call(2, _scatter(world, _each(world, sendobj) if here else None, root))


def _each(world: Communicator, sendobj: Sequence[Any] | None) -> list[Array]:
    values = [] if sendobj is None else list(sendobj)
    if len(values) != world.size:
        raise ValueError(f"expecting {world.size} items, got {len(values)}")
    return [_dump(value) for value in values]


def _scatter(world: Communicator, parts: list[Array] | None, root: int) -> Steps:
    sizes = np.empty(world.size, np.int64)
    if parts is not None:
        sizes[:] = [part.size for part in parts]
    yield partial(world.broadcast, sizes, root)
    counts = sizes.tolist()
    out = np.empty(counts[world.rank], np.uint8)
    x = np.concatenate(parts) if parts is not None else None
    yield partial(world.scatter, x, root, counts=counts, out=out)
    return _load(out)


def allgather(world: Communicator, sendobj: Any) -> Call:
    x = _dump(sendobj)

    def steps() -> Steps:
        sizes = np.empty(world.size, np.int64)
        yield partial(world.allgather, np.array([x.size]), out=sizes)
        counts = sizes.tolist()
        out = np.empty(sum(counts), np.uint8)
        yield partial(world.allgather, x, out=out, counts=counts)
        return _loaded(out, counts)

    return Call(2, steps())


def alltoall(world: Communicator, sendobj: Sequence[Any]) -> Call:
    parts = _each(world, sendobj)

    def steps() -> Steps:
        sent = np.array([part.size for part in parts])
        sizes = np.empty(world.size, np.int64)
        yield partial(world.alltoall, sent, out=sizes)
        received = sizes.tolist()
        out = np.empty(sum(received), np.uint8)
        yield partial(world.alltoall, np.concatenate(parts), out=out, counts=sent.tolist(), received=received)
        return _loaded(out, received)

    return Call(2, steps())


def reduce(world: Communicator, sendobj: Any, op: Operation = MPI.SUM, root: int = 0) -> Call:
    x = _dump(sendobj)
    checked_root(world, root)

    def steps() -> Steps:
        values = yield from _gather(world, x, root)
        return None if values is None else fold(op, values)

    return Call(2, steps())


def allreduce(world: Communicator, sendobj: Any, op: Operation = MPI.SUM) -> Call:
    x = _dump(sendobj)

    def steps() -> Steps:
        values = yield from _gather(world, x, 0)
        return (yield from _broadcast(world, _NOTHING if values is None else _dump(fold(op, values)), 0))

    return Call(4, steps())


def scan(world: Communicator, sendobj: Any, op: Operation = MPI.SUM) -> Call:
    x = _dump(sendobj)

    def steps() -> Steps:
        values = yield from _gather(world, x, 0)
        folds = None if values is None else list(accumulate(values, op))
        return (yield from _scatter(world, None if folds is None else _each(world, folds), 0))

    return Call(4, steps())


def exscan(world: Communicator, sendobj: Any, op: Operation = MPI.SUM) -> Call:
    """Rank 0 gets None."""
    x = _dump(sendobj)

    def steps() -> Steps:
        values = yield from _gather(world, x, 0)
        folds = None if values is None else [None, *accumulate(values[:-1], op)]
        return (yield from _scatter(world, None if folds is None else _each(world, folds), 0))

    return Call(4, steps())
