"""Each buffer collective as the runtime's calls: arguments checked, messages as arrays of units.

Arguments are as mpi4py's; what is wrong with them alone is raised at once, on this rank, as mpi4py does. What is
wrong between ranks is the runtime's to find, and raised on all.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from mpi4py import MPI

from ringleader.mpi4py.datatypes import Array
from ringleader.mpi4py.messages import Message, in_place, simple
from ringleader.mpi4py.progress import Call
from ringleader.runtime.comm import Communicator

Start = Callable[..., Any]  # takes async_op
Steps = Generator[Start, None, Any]


def checked_root(world: Communicator, root: int) -> int:
    if not 0 <= root < world.size:
        raise MPI.Exception(MPI.ERR_ROOT)
    return root


def barrier(world: Communicator) -> Call:
    def steps() -> Steps:
        yield world.barrier

    return Call(1, steps())


def bcast(world: Communicator, buf: Any, root: int = 0) -> Call:
    sends = checked_root(world, root) == world.rank
    message = simple(buf, readonly=sends)
    data = message.load()
    if sends and not data.flags.writeable:
        data = data.copy()  # the runtime asks for a writable array on every rank

    def steps() -> Steps:
        yield partial(world.broadcast, data, root)
        if not sends:
            message.store(data)

    return Call(1, steps())


def gather(world: Communicator, sendbuf: Any, recvbuf: Any, root: int = 0) -> Call:
    if checked_root(world, root) != world.rank:
        x = simple(sendbuf, readonly=True).load()
        return _plain(world.gather, x, root=root)
    received = simple(recvbuf, readonly=False, blocks=world.size).times(world.size)
    out = received.load()
    x = _own(out, world) if in_place(sendbuf) else simple(sendbuf, readonly=True).load()
    return _stored(received, out, world.gather, x, root=root)


def allgather(world: Communicator, sendbuf: Any, recvbuf: Any) -> Call:
    received = simple(recvbuf, readonly=False, blocks=world.size).times(world.size)
    out = received.load()
    x = _own(out, world) if in_place(sendbuf) else simple(sendbuf, readonly=True).load()
    return _stored(received, out, world.allgather, x)


def scatter(world: Communicator, sendbuf: Any, recvbuf: Any, root: int = 0) -> Call:
    sends = checked_root(world, root) == world.rank
    x = simple(sendbuf, readonly=True, blocks=world.size).times(world.size).load() if sends else None
    if sends and in_place(recvbuf):
        return _plain(world.scatter, x, root=root)
    received = simple(recvbuf, readonly=False)
    return _stored(received, received.load(), world.scatter, x, root=root)


def alltoall(world: Communicator, sendbuf: Any, recvbuf: Any) -> Call:
    received = simple(recvbuf, readonly=False, blocks=world.size).times(world.size)
    out = received.load()
    if in_place(sendbuf):
        x = out.copy()
    else:
        x = simple(sendbuf, readonly=True, blocks=world.size).times(world.size).load()
    return _stored(received, out, world.alltoall, x)


def _own(whole: Array, world: Communicator) -> Array:
    """This rank's block of all blocks."""
    block = whole.size // world.size
    return whole[world.rank * block : (world.rank + 1) * block]


def _plain(collective: Any, x: Array | None, **options: Any) -> Call:
    """A call that brings this rank nothing."""

    def steps() -> Steps:
        yield partial(collective, x, **options)

    return Call(1, steps())


def _stored(message: Message, out: Array, collective: Any, x: Array | None, **options: Any) -> Call:
    """A call into ``out``, which is what ``message`` loaded, and from there to the user."""

    def steps() -> Steps:
        yield partial(collective, x, out=out, **options)
        message.store(out)

    return Call(1, steps())
