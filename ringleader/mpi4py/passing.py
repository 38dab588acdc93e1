"""What is passed on to mpi4py, with two things added: communicators and requests come back as ours, and a call that
would block inside MPI while our collectives are under way keeps them moving."""

from __future__ import annotations

from typing import Any

from mpi4py import MPI

from ringleader.mpi4py.counter import PASSED_ON, passed
from ringleader.mpi4py.progress import advance, under_way, until
from ringleader.mpi4py.requests import wrap

# Blocking calls and the non-blocking ones that do the same; a status is given to the request instead.
_SENDS = {"Send": "Isend", "Ssend": "Issend", "Rsend": "Irsend", "send": "isend", "ssend": "issend"}
_RECEIVES = {"Recv": "Irecv", "Sendrecv_replace": "Isendrecv_replace"}
_PROBES = {"Probe": "Iprobe", "probe": "iprobe", "Mprobe": "Improbe", "mprobe": "improbe"}
_REQUESTS = (
    "Isend", "Ibsend", "Issend", "Irsend", "Irecv", "Isendrecv", "Isendrecv_replace", "isend", "ibsend", "issend",
    "irecv", "Send_init", "Bsend_init", "Ssend_init", "Rsend_init", "Recv_init", "Psend_init", "Precv_init",
    "Iagree", "Iflush_buffer",
)  # fmt: skip
# Collective over all ranks of the communicator; they may give a communicator.
CREATORS = (
    "Dup", "Clone", "Dup_with_info", "Create", "Split", "Split_type", "Create_cart", "Create_graph",
    "Create_dist_graph_adjacent", "Create_dist_graph", "Sub", "Create_intercomm", "Merge", "Spawn", "Spawn_multiple",
    "Accept", "Connect", "Shrink",
)  # fmt: skip
# Not collective over all, or complete only later: what they give gets its Communicator at its first collective.
LATER = ("Create_group", "Idup", "Idup_with_info", "Ishrink")
CLASS_METHODS = (
    "fromhandle",
    "fromint",
    "f2py",
    "Create_from_group",
    "Create_from_groups",
    "Get_parent",
    "Join",
)


class Passing:
    """Methods of every communicator of ours. (Most are made below, from the tables.)"""

    def Sendrecv(
        self, sendbuf: Any, dest: int, sendtag: int = 0, recvbuf: Any = None, source: int = MPI.ANY_SOURCE,
        recvtag: int = MPI.ANY_TAG, status: MPI.Status | None = None,
    ) -> None:  # fmt: skip
        """See mpi4py."""
        real: Any = super()
        if not under_way():
            real.Sendrecv(sendbuf, dest, sendtag, recvbuf, source, recvtag, status)
            return
        sent = real.Isend(sendbuf, dest, sendtag)
        received = real.Irecv(recvbuf, source, recvtag)
        until(lambda: received.Test(status))
        until(sent.Test)

    def recv(
        self, buf: Any = None, source: int = MPI.ANY_SOURCE, tag: int = MPI.ANY_TAG,
        status: MPI.Status | None = None,
    ) -> Any:  # fmt: skip
        """See mpi4py."""
        real: Any = super()
        if under_way():
            until(lambda: real.Iprobe(source, tag))
        return real.recv(buf, source, tag, status)

    def sendrecv(
        self, sendobj: Any, dest: int, sendtag: int = 0, recvbuf: Any = None, source: int = MPI.ANY_SOURCE,
        recvtag: int = MPI.ANY_TAG, status: MPI.Status | None = None,
    ) -> Any:  # fmt: skip
        """See mpi4py."""
        real: Any = super()
        if not under_way():
            return real.sendrecv(sendobj, dest, sendtag, recvbuf, source, recvtag, status)
        sent = real.isend(sendobj, dest, sendtag)
        received = self.recv(recvbuf, source, recvtag, status)
        until(lambda: sent.test()[0])
        return received


def _sending(name: str, start: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> None:
        real: Any = super(Passing, self)
        if under_way():
            until(getattr(real, start)(*args, **kwargs).Test)
        else:
            getattr(real, name)(*args, **kwargs)

    return method


def _receiving(name: str, start: str, status_at: int) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> None:
        real: Any = super(Passing, self)
        if not under_way():
            getattr(real, name)(*args, **kwargs)
            return
        status = kwargs.pop("status", args[status_at] if len(args) > status_at else None)
        request = getattr(real, start)(*args[:status_at], **kwargs)
        until(lambda: request.Test(status))

    return method


def _probing(name: str, test: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        real: Any = super(Passing, self)
        if not under_way():
            return getattr(real, name)(*args, **kwargs)
        found: list[Any] = [None]

        def ready() -> Any:
            found[0] = getattr(real, test)(*args, **kwargs)
            return found[0]

        until(ready)
        return found[0]

    return method


def _testing(name: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        advance()
        return getattr(super(Passing, self), name)(*args, **kwargs)

    return method


def _requesting(name: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return wrap(getattr(super(Passing, self), name)(*args, **kwargs))

    return method


def together(comm: Any) -> None:
    """Before a call that blocks inside MPI until all ranks have come: wait for them here, keeping ours moving."""
    if under_way():
        until(MPI.Comm.Ibarrier(comm).Test)


def passing_on(name: str) -> Any:
    """A collective that MPI runs, counted."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        passed[name] += 1
        together(self)
        return wrap(getattr(super(Passing, self), name)(*args, **kwargs))

    return method


def install(name: str, method: Any, owner: type = Passing, as_class_method: bool = False) -> None:
    """As a method of ``owner``, with mpi4py's documentation; not if this mpi4py has no such method."""
    for kind in (MPI.Comm, MPI.Intracomm, MPI.Topocomm, MPI.Cartcomm, MPI.Intercomm):
        if hasattr(kind, name):
            method.__name__, method.__doc__ = name, getattr(kind, name).__doc__
            setattr(owner, name, classmethod(method) if as_class_method else method)
            return


def _install_all() -> None:
    for name, start in _SENDS.items():
        install(name, _sending(name, start))
    for name, start in _RECEIVES.items():
        install(name, _receiving(name, start, status_at=3 if name == "Recv" else 5))
    for name, test in _PROBES.items():
        install(name, _probing(name, test))
        install(test, _testing(test))
    for name in _REQUESTS:
        install(name, _requesting(name))
    for name in PASSED_ON:
        install(name, passing_on(name))


_install_all()
