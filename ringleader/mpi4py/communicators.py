"""mpi4py's communicators with our collectives.

They are subclasses, so whatever else takes or gives a communicator (windows, files, groups, attributes) is mpi4py's
own and works as ever. One ``Queue`` belongs to each MPI communicator; it is an attribute of it, so that two Python
objects for one communicator share it and a duplicate has its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpi4py import MPI

from ringleader.mpi4py import calls, objects, reductions, vectors
from ringleader.mpi4py.counter import passed, routed
from ringleader.mpi4py.passing import (
    CLASS_METHODS,
    CREATORS,
    LATER,
    Passing,
    install,
    passing_on,
    together,
)
from ringleader.mpi4py.progress import Call, Queue
from ringleader.mpi4py.requests import Request, wrap
from ringleader.runtime.comm import adopt, init, release

_QUEUE = MPI.Comm.Create_keyval()


def queue_of(comm: MPI.Comm) -> Queue:
    """Made, collectively, the first time. MPI.Exception: the communicator is null."""
    queue: Any = comm.Get_attr(_QUEUE)
    if queue is None:
        world = init()
        whole = comm == MPI.COMM_WORLD and world.size == comm.size
        queue = Queue(world if whole else adopt(MPI.Intracomm(comm)))
        comm.Set_attr(_QUEUE, queue)
    assert isinstance(queue, Queue)
    return queue


def _blocking(name: str, make: Callable[..., Call | None]) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        queue = self._queue or self._find_queue()
        call = make(queue.world, *args, **kwargs)
        if call is None:
            passed[name] += 1
            return getattr(super(Collectives, self), name)(*args, **kwargs)
        routed[name] += 1
        return queue.run(call)

    return _documented(method, name)


def _starting(name: str, make: Callable[..., Call | None]) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        queue = self._queue or self._find_queue()
        call = make(queue.world, *args, **kwargs)
        if call is None:
            passed[name] += 1
            return wrap(getattr(super(Collectives, self), name)(*args, **kwargs))
        routed[name] += 1
        task = queue.start(call)
        request = Request(task.request)
        request.task = task
        return request

    return _documented(method, name)


def _documented(method: Any, name: str) -> Any:
    method.__name__, method.__doc__ = name, getattr(MPI.Intracomm, name).__doc__
    return method


class Collectives:
    """The collectives of an intracommunicator, on our programs. Arguments and results are mpi4py's."""

    _queue: Queue | None = None

    def _find_queue(self) -> Queue:
        self._queue = queue_of(self)  # type: ignore[arg-type]
        return self._queue

    def Free(self) -> None:
        """Free the communicator, once its non-blocking collectives are complete."""
        self._let_go()
        super().Free()  # type: ignore[misc]

    def Disconnect(self) -> None:
        """As Free, once all communication on it is complete."""
        self._let_go()
        super().Disconnect()  # type: ignore[misc]

    def _let_go(self) -> None:
        queue = self.Get_attr(_QUEUE) if self else None  # type: ignore[attr-defined]
        self._queue = None
        if queue is not None:
            queue.finish()
            self.Delete_attr(_QUEUE)  # type: ignore[attr-defined]
            release(queue.world)


_BUFFERS: dict[str, Callable[..., Call | None]] = {
    "barrier": calls.barrier, "bcast": calls.bcast, "gather": calls.gather, "gatherv": vectors.gatherv,
    "scatter": calls.scatter, "scatterv": vectors.scatterv, "allgather": calls.allgather,
    "allgatherv": vectors.allgatherv, "alltoall": calls.alltoall, "alltoallv": vectors.alltoallv,
    "reduce": reductions.reduce, "allreduce": reductions.allreduce,
    "reduce_scatter_block": reductions.reduce_scatter_block, "reduce_scatter": reductions.reduce_scatter,
    "scan": reductions.scan, "exscan": reductions.exscan,
}  # fmt: skip
_OBJECTS: dict[str, Callable[..., Call | None]] = {
    "barrier": calls.barrier, "bcast": objects.bcast, "gather": objects.gather, "scatter": objects.scatter,
    "allgather": objects.allgather, "alltoall": objects.alltoall, "reduce": objects.reduce,
    "allreduce": objects.allreduce, "scan": objects.scan, "exscan": objects.exscan,
}  # fmt: skip
for _name, _make in _BUFFERS.items():
    setattr(Collectives, _name.capitalize(), _blocking(_name.capitalize(), _make))
    setattr(Collectives, f"I{_name}", _starting(f"I{_name}", _make))
for _name, _make in _OBJECTS.items():
    setattr(Collectives, _name, _blocking(_name, _make))

ROUTED = (*(n.capitalize() for n in _BUFFERS), *(f"I{n}" for n in _BUFFERS), *_OBJECTS)


class Comm(Passing, MPI.Comm):
    """mpi4py's Comm; a plain one has mpi4py's collectives."""


class Intracomm(Collectives, Comm, MPI.Intracomm):
    """mpi4py's Intracomm with our collectives."""

    def __reduce__(self) -> Any:
        for name in ("COMM_WORLD", "COMM_SELF"):
            ours = _predefined(name)
            if self == ours:
                return (_predefined, (name,)) if self is ours else (type(self), (ours,))
        return super().__reduce__()


class Topocomm(Intracomm, MPI.Topocomm):
    """mpi4py's Topocomm with our collectives."""


class Cartcomm(Topocomm, MPI.Cartcomm):
    """mpi4py's Cartcomm with our collectives."""


class Graphcomm(Topocomm, MPI.Graphcomm):
    """mpi4py's Graphcomm with our collectives."""


class Distgraphcomm(Topocomm, MPI.Distgraphcomm):
    """mpi4py's Distgraphcomm with our collectives."""


class Intercomm(Comm, MPI.Intercomm):
    """mpi4py's Intercomm; its collectives are mpi4py's, and counted as passed on."""


def _checking(real: type) -> Any:
    def __new__(cls: Any, comm: MPI.Comm | None = None) -> Any:
        """``comm`` as one of ours; mpi4py checks that it is of this kind."""
        return MPI.Comm.__new__(cls, real(comm))

    return __new__


_FACES: dict[type, type] = {
    MPI.Intracomm: Intracomm, MPI.Topocomm: Topocomm, MPI.Cartcomm: Cartcomm, MPI.Graphcomm: Graphcomm,
    MPI.Distgraphcomm: Distgraphcomm, MPI.Intercomm: Intercomm,
}  # fmt: skip


for _real, _ours in _FACES.items():
    _ours.__new__ = _checking(_real)  # type: ignore[method-assign]


def face(given: Any) -> Any:
    """What mpi4py gave, with communicators and requests as ours."""
    if isinstance(given, tuple):
        return tuple(face(part) for part in given)
    kind = _FACES.get(type(given))
    return kind(given) if kind is not None else wrap(given)


def _creating(name: str, at_once: bool) -> Any:
    """``at_once``: all ranks of what is made are here, so its Communicator can be made too."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if at_once:
            together(self)
        made = face(getattr(super(Passing, self), name)(*args, **kwargs))
        if at_once and made and isinstance(made, Collectives):
            made._find_queue()
        return made

    return method


def _giving(name: str) -> Any:
    def method(cls: Any, *args: Any, **kwargs: Any) -> Any:
        return face(getattr(super(Passing, cls), name)(*args, **kwargs))

    return method


def _predefined(name: str) -> Any:
    """COMM_WORLD or COMM_SELF, for pickle."""
    from ringleader.mpi4py import MPI as ours

    return getattr(ours, name)


for _name in CREATORS:
    install(_name, _creating(_name, at_once=True))
for _name in LATER:
    install(_name, _creating(_name, at_once=False))
for _name in CLASS_METHODS:
    install(_name, _giving(_name), as_class_method=True)
for _name in ROUTED:
    install(_name, passing_on(_name), Intercomm)
