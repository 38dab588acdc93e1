"""All that ``mpi4py.MPI`` has, with communicators and requests of ours.

Importing it is collective over MPI's world, as MPI_Init is: it makes the Communicator of COMM_WORLD.
"""

from __future__ import annotations

from mpi4py import MPI as _mpi

from ringleader.mpi4py import communicators as _communicators
from ringleader.mpi4py import requests as _requests
from ringleader.runtime.comm import finish as _finish

globals().update({name: value for name, value in vars(_mpi).items() if name not in globals()})

Comm, Intracomm, Intercomm = _communicators.Comm, _communicators.Intracomm, _communicators.Intercomm
Topocomm, Cartcomm = _communicators.Topocomm, _communicators.Cartcomm
Graphcomm, Distgraphcomm = _communicators.Graphcomm, _communicators.Distgraphcomm
Request, Prequest, Grequest = _requests.Request, _requests.Prequest, _requests.Grequest

COMM_WORLD = Intracomm(_mpi.COMM_WORLD)
COMM_SELF = Intracomm(_mpi.COMM_SELF)
_communicators.queue_of(COMM_WORLD)
_communicators.queue_of(COMM_SELF)


def Finalize() -> None:
    """Terminate MPI, once all ranks are through with their collectives. Where a rank has died, MPI is left alone: it
    would wait for that rank."""
    if _finish():
        _mpi.Finalize()
