"""The v-forms, with a count for every rank.

An Allgatherv is told all counts. In the others no rank knows them all, so the sizes go ahead, with a number that
stands for the unit: then everybody can check that what is sent is what is expected, and may pass a datatype of its
own for a block of nothing. The data follow as bytes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ringleader.mpi4py.calls import Steps, checked_root
from ringleader.mpi4py.datatypes import Array, hash_of
from ringleader.mpi4py.messages import Message, in_place, simple, vector
from ringleader.mpi4py.progress import Call
from ringleader.runtime.comm import Communicator


def allgatherv(world: Communicator, sendbuf: Any, recvbuf: Any) -> Call:
    received = vector(recvbuf, readonly=False, blocks=world.size)
    source = received.block(world.rank) if in_place(sendbuf) else simple(sendbuf, readonly=True)
    out, counts = received.load(), received.units
    x = source.load() if source.items else np.empty(0, received.unit)

    def steps() -> Steps:
        yield partial(world.allgather, x, out=out, counts=counts)
        received.store(out)

    return Call(1, steps())


def gatherv(world: Communicator, sendbuf: Any, recvbuf: Any, root: int = 0) -> Call:
    here = checked_root(world, root) == world.rank
    received = vector(recvbuf, readonly=False, blocks=world.size) if here else None
    if received is not None and in_place(sendbuf):
        source = received.block(root)
    else:
        source = simple(sendbuf, readonly=True)
    x = _octets(source.load())

    def steps() -> Steps:
        sizes = np.empty((world.size, 2), np.int64)
        yield partial(world.allgather, _sizes(source), out=sizes)
        if received is None:
            yield partial(world.gather, x, root, counts=sizes[:, 0].tolist())
            return
        if wrong := _mismatch(received, sizes):
            world.refuse("gatherv", wrong)
        out = received.load()
        yield partial(world.gather, x, root, counts=sizes[:, 0].tolist(), out=_octets(out))
        received.store(out)

    return Call(2, steps())


def scatterv(world: Communicator, sendbuf: Any, recvbuf: Any, root: int = 0) -> Call:
    here = checked_root(world, root) == world.rank
    sent = vector(sendbuf, readonly=True, blocks=world.size) if here else None
    if sent is not None and in_place(recvbuf):
        received, store = sent.block(root), False
    else:
        received, store = simple(recvbuf, readonly=False), True

    def steps() -> Steps:
        sizes = np.empty((world.size, 2), np.int64)
        yield partial(world.allgather, _sizes(received), out=sizes)
        if sent is not None and (wrong := _mismatch(sent, sizes)):
            world.refuse("scatterv", wrong)
        x = _octets(sent.load()) if sent is not None else None
        out = received.load() if store else np.empty(received.items, received.unit)
        yield partial(world.scatter, x, root, counts=sizes[:, 0].tolist(), out=_octets(out))
        if store:
            received.store(out)

    return Call(2, steps())


def alltoallv(world: Communicator, sendbuf: Any, recvbuf: Any) -> Call:
    received = vector(recvbuf, readonly=False, blocks=world.size)
    sent = received if in_place(sendbuf) else vector(sendbuf, readonly=True, blocks=world.size)

    def steps() -> Steps:
        sizes = np.empty((world.size, 2), np.int64)
        yield partial(world.alltoall, _sizes(sent), out=sizes)
        if wrong := _mismatch(received, sizes):
            world.refuse("alltoallv", wrong)
        out = received.load()
        x = out.copy() if sent is received else sent.load()
        yield partial(
            world.alltoall, _octets(x), out=_octets(out), counts=sent.octets, received=received.octets
        )
        received.store(out)

    return Call(2, steps())


def _octets(values: Array) -> Array:
    return values.view(np.uint8)


def _sizes(message: Message) -> Array:
    """For each block its bytes and a number for its unit; 0, 0 for nothing: int64[blocks, 2]."""
    unit = hash_of(message.kind.unit)
    return np.array([(size, unit if size else 0) for size in message.octets], np.int64)


def _mismatch(message: Message, sizes: Array) -> str:
    """What is wrong between this rank's blocks and what the ranks said of theirs; "" if nothing."""
    mine = _sizes(message)
    for rank, (here, there) in enumerate(zip(mine.tolist(), sizes.tolist())):
        if here != there:
            units = "the same" if here[1] == there[1] else "another"
            return (
                f"the block for rank {rank} is {here[0]} bytes of {message.kind.unit} here, "
                f"but {there[0]} bytes of {units} type there"
            )
    return ""
