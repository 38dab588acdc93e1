"""Requests that keep our collectives moving while they are waited for.

A non-blocking collective of ours is one of MPI's generalised requests, so MPI itself handles lists of mixed
requests, statuses and completion. Only its progress is ours: waiting is testing in a loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpi4py import MPI

from ringleader.mpi4py.progress import Task, advance, under_way, until

Read = Callable[[Any], Any]


def _require(requests: Any) -> None:
    """Raise what went wrong in the collectives that these requests stand for."""
    for request in requests:
        task = getattr(request, "task", None)
        if task is not None and task.done:
            request.task = None
            task.require()


def _polled(test: Callable[[], Any], done: Read, answer: Read) -> Any:
    """Test until done, keeping all collectives moving."""
    heard: list[Any] = [None]

    def ready() -> Any:
        heard[0] = test()
        return done(heard[0])

    until(ready)
    return answer(heard[0])


def _waiting(name: str, test: str, done: Read, answer: Read) -> Any:
    """Method ``name``, while collectives are under way as a loop around method ``test``."""

    def wait(self: Any, *args: Any, **kwargs: Any) -> Any:
        real = super(Request, self)
        if under_way():
            result = _polled(lambda: getattr(real, test)(*args, **kwargs), done, answer)
        else:
            result = getattr(real, name)(*args, **kwargs)
        _require([self])
        return result

    wait.__name__, wait.__doc__ = name, getattr(MPI.Request, name).__doc__
    return wait


def _waiting_for_many(name: str, test: str, done: Read, answer: Read) -> Any:
    """The same for class methods that take lists of requests."""

    def wait(cls: Any, requests: Any, *args: Any, **kwargs: Any) -> Any:
        requests = list(requests)
        if under_way():
            tester = getattr(MPI.Request, test)
            result = _polled(lambda: tester(requests, *args, **kwargs), done, answer)
        else:
            result = getattr(MPI.Request, name)(requests, *args, **kwargs)
        _require(requests)
        return result

    wait.__name__, wait.__doc__ = name, getattr(MPI.Request, name).__doc__
    return classmethod(wait)


def _testing(name: str, many: bool) -> Any:
    """Method ``name``, after a look at the collectives under way."""

    def test(self: Any, *args: Any, **kwargs: Any) -> Any:
        advance()
        owner = MPI.Request if many else super(Request, self)
        result = getattr(owner, name)(*args, **kwargs)
        _require(args[0] if many and args else kwargs.get("requests", ()) if many else [self])
        return result

    test.__name__, test.__doc__ = name, getattr(MPI.Request, name).__doc__
    return classmethod(test) if many else test


class Request(MPI.Request):
    """mpi4py's Request; see the module. ``task``: the collective of ours that it stands for, if it does."""

    task: Task | None = None

    Wait = _waiting("Wait", "Test", bool, bool)
    wait = _waiting("wait", "test", lambda got: got[0], lambda got: got[1])
    Waitall = _waiting_for_many("Waitall", "Testall", bool, bool)
    waitall = _waiting_for_many("waitall", "testall", lambda got: got[0], lambda got: got[1])
    Waitany = _waiting_for_many("Waitany", "Testany", lambda got: got[1], lambda got: got[0])
    waitany = _waiting_for_many("waitany", "testany", lambda got: got[1], lambda got: (got[0], got[2]))
    Waitsome = _waiting_for_many(
        "Waitsome", "Testsome", lambda got: got is None or len(got) > 0, lambda got: got
    )
    waitsome = _waiting_for_many(
        "waitsome", "testsome", lambda got: got[0] is None or len(got[0]) > 0, lambda got: got
    )


for _name in ("Test", "test", "Get_status"):
    setattr(Request, _name, _testing(_name, many=False))
for _name in ("Testall", "testall", "Testany", "testany", "Testsome", "testsome"):
    setattr(Request, _name, _testing(_name, many=True))
for _name in ("Get_status_all", "Get_status_any", "Get_status_some", "get_status_all"):
    if hasattr(MPI.Request, _name):
        setattr(Request, _name, _testing(_name, many=True))


class Prequest(Request, MPI.Prequest):
    """mpi4py's Prequest, waited for as ``Request``."""

    def __new__(cls, request: Any = None) -> Any:
        return MPI.Request.__new__(cls, MPI.Prequest(request))  # which checks what it is given


class Grequest(Request, MPI.Grequest):
    """mpi4py's Grequest, waited for as ``Request``."""


def wrap(given: Any) -> Any:
    """A request that mpi4py made, as one of ours; anything else as it is."""
    if isinstance(given, Request) or not isinstance(given, MPI.Request):
        return given
    if isinstance(given, MPI.Grequest):
        return Grequest(given)
    return Prequest(given) if isinstance(given, MPI.Prequest) else Request(given)


def _giving(name: str) -> Any:
    def method(cls: Any, arg: int) -> Any:
        real = next(kind for kind in cls.__mro__ if kind.__module__ == MPI.__name__)
        return wrap(getattr(real, name)(arg))

    method.__name__, method.__doc__ = name, getattr(MPI.Request, name).__doc__
    return classmethod(method)


for _name in ("fromhandle", "fromint", "f2py"):
    setattr(Request, _name, _giving(_name))
