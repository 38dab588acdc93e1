"""Deaths of ranks, as an MPI with User-Level Failure Mitigation tells of them; one without it never does.

Bland, Bouteiller, Herault, Bosilca, Dongarra, "Post-failure recovery of MPI communication capability" (IJHPCA 2013).
Open MPI 5 has it, and goes on after a death if it was started with ``mpirun --with-ft ulfm``. Its rules: what needs a
dead rank raises ERR_PROC_FAILED when it is tested, never when it is started. What any rank may serve (a receive from
ANY, a probe of all) raises as well, until the death is acknowledged on that communicator; then it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mpi4py import MPI

# mpi4py has these names everywhere, with one number for all that the MPI does not know.
KNOWN = MPI.ERR_PROC_FAILED != MPI.ERR_PROC_FAILED_PENDING
DEATHS = (MPI.ERR_PROC_FAILED, MPI.ERR_PROC_FAILED_PENDING, MPI.ERR_REVOKED) if KNOWN else ()


def raising(comm: MPI.Intracomm) -> MPI.Intracomm:
    """``comm``, whose errors are exceptions from here on, whatever handler it has inherited."""
    comm.Set_errhandler(MPI.ERRORS_RETURN)
    return comm


def dead(comm: MPI.Intracomm) -> set[int]:
    """Ranks of ``comm`` that are known to have died. MPI hears of new ones while it is called for something else."""
    failed = comm.Get_failed()
    ranks = []
    if failed.size:
        group = comm.Get_group()
        ranks = MPI.Group.Translate_ranks(failed, list(range(failed.size)), group)
        group.Free()
    failed.Free()
    return {int(rank) for rank in ranks}


def acknowledge(comm: MPI.Intracomm, error: MPI.Exception) -> bool:
    """``error``, raised on ``comm``, tells of deaths? Then it will not be told of these again. True: what raised it
    needed a dead rank, and is over. Any other error is raised."""
    kind = error.Get_error_class()
    if kind not in DEATHS:
        raise error
    comm.Ack_failed(comm.size)
    return bool(kind != MPI.ERR_PROC_FAILED_PENDING)


def ask(comm: MPI.Intracomm, call: Callable[..., Any], *arguments: Any) -> Any:
    """``call(*arguments)``, which may raise since some rank of ``comm`` has died; None if it is about a dead one."""
    for _ in range(2):
        try:
            return call(*arguments)
        except MPI.Exception as error:
            acknowledge(comm, error)
    return None


def arrived(comm: MPI.Intracomm) -> Iterator[tuple[int, Any]]:
    """What has come on ``comm``, which carries small objects only, as (rank, object)."""
    status = MPI.Status()  # a matched probe, since communicators may be used in several threads
    while (message := ask(comm, comm.improbe, MPI.ANY_SOURCE, MPI.ANY_TAG, status)) is not None:
        rank = status.source
        try:
            value = message.recv()
        except MPI.Exception as error:  # its sender died halfway
            acknowledge(comm, error)
        else:
            yield rank, value


def under_way(comm: MPI.Intracomm, sends: list[MPI.Request]) -> list[MPI.Request]:
    """Those that are not through; what was for a dead rank is."""
    return [send for send in sends if ask(comm, send.Test) is False]
