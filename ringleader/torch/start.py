"""How PyTorch's process groups find their ranks: the environment it reads, and a Communicator for each group."""

from __future__ import annotations

import atexit
import os
import socket
import weakref
from datetime import timedelta
from typing import Any

import numpy as np
import torch.distributed as dist

from ringleader.runtime.comm import Communicator, adopt, init
from ringleader.torch.group import ProcessGroup
from ringleader.torch.mail import Mail

NAME = "ringleader"
ADDRESS = 512  # bytes in which rank 0 tells its address
LOOPBACK = "127.0.0.1"

_groups: weakref.WeakSet[ProcessGroup] = weakref.WeakSet()
_store: list[Any] = []  # rank 0's, which holds the port until init_process_group takes it over
_set_here: set[str] = set()  # environment variables


def register() -> None:
    """Make ``ringleader`` known to ``torch.distributed``; collective over all ranks of the job."""
    if NAME in dist.Backend.backend_list:  # this module is being reloaded
        return
    _announce(init())
    dist.Backend.register_backend(NAME, _create, extended_api=True, devices=["cpu"])
    atexit.register(_finish)  # after init's, so run before it: nothing must be under way when a rank leaves


def _announce(world: Communicator) -> None:
    """Set the environment variables of ``env://`` that the user has not set, the address being rank 0's."""
    told = np.zeros(ADDRESS, np.uint8)
    if world.rank == 0:
        host = _users("MASTER_ADDR") or _host(world)
        port = _users("MASTER_PORT") or _open_port()
        address = f"{host} {port}".encode()
        told[: len(address)] = np.frombuffer(address, np.uint8)
    host, port = world.broadcast(told).tobytes().rstrip(b"\0").decode().split()
    for name, value in {
        "MASTER_ADDR": host, "MASTER_PORT": port, "RANK": world.rank, "WORLD_SIZE": world.size,
        "LOCAL_RANK": world.local_rank, "LOCAL_WORLD_SIZE": world.local_size,
    }.items():  # fmt: skip
        if not _users(name):
            os.environ[name] = str(value)
            _set_here.add(name)


def _users(variable: str) -> str | None:
    """Its value unless it is from here."""
    return None if variable in _set_here else os.environ.get(variable)


def _host(world: Communicator) -> str:
    return LOOPBACK if world.local_size == world.size else socket.gethostname()


def _open_port() -> str:
    """A free port, kept by a store that PyTorch's own will share (both are of this process: multi-tenant)."""
    store = dist.TCPStore(LOOPBACK, 0, is_master=True, wait_for_workers=False, multi_tenant=True)
    _store[:] = [store]
    return str(store.port)


def _create(options: Any, _backend_options: Any) -> ProcessGroup:
    """What ``init_process_group`` and ``new_group`` call on the members of a group."""
    world = init()
    rank, size, timeout = options.group_rank, options.group_size, options.timeout
    members = list(options.global_ranks_in_group) or list(range(size))
    first = not dist.is_initialized()
    mine, total = (rank, size) if first else (dist.get_rank(), dist.get_world_size())
    if (mine, total) != (world.rank, world.size):
        raise RuntimeError(_disagreement(mine, total, world))
    name = options.group_id
    if world.size == 1:
        group = ProcessGroup(rank, size, name, world, None)
    else:
        _meet(options.store, rank, members, timeout)
        comm = _mpi_communicator(members)
        seconds = timeout.total_seconds()
        communicator = adopt(comm, name=f"torch group {name}", timeout=seconds)
        mail = Mail(comm, communicator._transport.gone, seconds)
        group = ProcessGroup(rank, size, name, communicator, mail)
    if first:
        # Should it be destroyed and another made, a rank that is early must not find the old store: a new address.
        _announce(world)
    _groups.add(group)
    return group


def _disagreement(rank: int, size: int, world: Communicator) -> str:
    torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    return (
        f"the ringleader backend needs PyTorch's ranks to be MPI's, but PyTorch says rank {rank} of {size}, and MPI "
        f"rank {world.rank} of {world.size}. "
        + ("torchrun starts processes that MPI does not know of. " if torchrun else "")
        + f"Start the script with: mpirun -n {max(size, 2)} python script.py, and set neither RANK nor WORLD_SIZE "
        "(importing ringleader.torch does)."
    )


def _meet(store: Any, rank: int, members: list[int], timeout: timedelta) -> None:
    """Wait until every member is here, since creating an MPI communicator would wait for ever."""
    keys = [f"here/{member}" for member in members]
    store.set(keys[rank], "yes")
    try:
        store.wait(keys, timeout)
    except RuntimeError as error:
        missing = [member for member, key in zip(members, keys) if not store.check([key])]
        raise RuntimeError(
            f"rank {members[rank]}: a process group of ranks {members} is being made, but ranks {missing} have not "
            f"come to it within {timeout.total_seconds():g} s. All ranks must call init_process_group and new_group "
            "in the same order."
        ) from error


def _mpi_communicator(members: list[int]) -> Any:
    """A communicator of these ranks of MPI's world, in this order; collective over them alone."""
    from mpi4py import MPI

    if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
        raise RuntimeError(
            "the ringleader backend works in threads, and this MPI does not let threads call it "
            "(MPI_THREAD_MULTIPLE); leave mpi4py.rc.thread_level as it is"
        )
    everyone = MPI.COMM_WORLD.Get_group()
    group = everyone.Incl(members)
    comm = MPI.COMM_WORLD.Create_group(group)
    group.Free()
    everyone.Free()
    return comm


def _finish() -> None:
    """At exit: complete what is under way in groups that were not destroyed."""
    for group in list(_groups):
        group.shutdown()
