"""How a process finds its ranks: ``init`` under a launcher, ``spawn`` for ranks as threads."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from ringleader.runtime.comm import settings
from ringleader.runtime.comm.caller import TIMEOUT
from ringleader.runtime.comm.communicator import Communicator
from ringleader.runtime.comm.errors import CollectiveError, RankLost
from ringleader.runtime.comm.threads import Hub, ThreadsTransport
from ringleader.runtime.comm.transport import Transport

# Who says how many ranks there are, the most specific first. SLURM_NTASKS is also set in a batch script.
SIZE_VARIABLES = (
    "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS",
)  # fmt: skip
LAUNCHERS = ("OMPI_", "PMI_", "PMIX_", "MV2_", "SLURM_PROCID")  # prefixes of what launchers set
TRANSPORT_VARIABLE = "RINGLEADER_TRANSPORT"  # one of:
TRANSPORTS = ("shm", "windows", "mpi")  # the fastest first
SIGINT_CODE = 130
LAST_WORDS = 0.2  # seconds for the other ranks to print the error that they raise too
MOST_TURNS = 10  # so many times longer at most waits a rank that ends the job after a death

_world = threading.local()  # ranks may be threads, so each has its own


def init(timeout: float | None = None, single: bool = False) -> Communicator:
    """The communicator of all ranks: MPI's world under mpirun, a world of one otherwise.

    In a rank started by ``spawn`` it is that rank's world. Calling it again returns the same one.
    ``timeout``: seconds after which a call names the ranks that are missing (default 300, or
    RINGLEADER_TIMEOUT). ``single`` (or RINGLEADER_SINGLE=1): a world of one whatever the launcher says.

    From here on an uncaught exception on one rank ends the whole job. RuntimeError: the launcher's
    variables claim several ranks but MPI says one, or mpi4py is missing.
    """
    if not hasattr(_world, "communicator"):
        seconds = float(os.environ.get("RINGLEADER_TIMEOUT", TIMEOUT)) if timeout is None else timeout
        single = single or os.environ.get("RINGLEADER_SINGLE") == "1"
        _world.communicator = _single(seconds) if single or not _launched() else _mpi(seconds)
    elif timeout is not None:
        _world.communicator._set_timeout(timeout)
    world: Communicator = _world.communicator
    return world


def _launched() -> bool:
    return "mpi4py.MPI" in sys.modules or any(
        key.startswith(LAUNCHERS) or key in SIZE_VARIABLES for key in os.environ
    )


def _single(timeout: float) -> Communicator:
    told = settings.read("threads", [0]).require()
    return Communicator(ThreadsTransport(Hub(1), "world", [0], 0), timeout=timeout, settings=told)


def claimed_size() -> tuple[str, int] | None:
    """The launcher's own word on the number of ranks: variable and value, None if it says nothing."""
    for variable in SIZE_VARIABLES:
        value = os.environ.get(variable, "")
        if value.isdigit():
            return variable, int(value)
    return None


def _mpi(timeout: float) -> Communicator:
    claim = claimed_size()
    remedy = (
        "Start it with the mpirun of the MPI that mpi4py uses ('ringleader train ... -n N' finds it), "
        "or set RINGLEADER_SINGLE=1 if a world of one is meant."
    )
    os.environ.setdefault("OMPI_MCA_osc_ucx_verbose", "-1")  # of windows, which need no UCX
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        if claim is None or claim[1] == 1:
            return _single(timeout)
        raise RuntimeError(
            f"the launcher says {claim[0]}={claim[1]}, but MPI cannot be used here: {error}. "
            f"Install it with: pip install 'ringleader[mpi]'. {remedy}"
        ) from error
    size = MPI.COMM_WORLD.size
    if size == 1:
        if claim is not None and claim[1] > 1:
            raise RuntimeError(
                f"the launcher says {claim[0]}={claim[1]}, but MPI says that this is a world of one "
                f"({MPI.Get_library_version().split(',')[0]}). {remedy}"
            )
        return _single(timeout)
    sys.excepthook = _abort_job
    _outlive_others(MPI.Get_library_version())
    transport = _transport(MPI.COMM_WORLD)
    sys.excepthook = partial(_abort_job, transport=transport)
    told = settings.read(transport.name, transport.nodes) if transport.rank == 0 else None
    told = MPI.COMM_WORLD.bcast(told).require()
    world = Communicator(transport, timeout=timeout, settings=told)
    atexit.register(_finish_mpi, world, transport)
    return world


def _outlive_others(library: str) -> None:
    """MPICH's launcher, told not to end the job when a rank dies (-disable-auto-cleanup), tells the others by
    SIGUSR1, which would end them too."""
    in_main = threading.current_thread() is threading.main_thread()
    if "MPICH" in library and in_main and signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def _transport(world: Any) -> Transport:
    """Shared memory where the engine is built and the ranks of a node can see each other's memory; else MPI's
    windows, or MPI alone. The ranks take the best that all can use."""
    from ringleader.runtime.comm.mpi import MpiTransport
    from ringleader.runtime.comm.windows import WindowsTransport

    wanted = os.environ.get(TRANSPORT_VARIABLE, TRANSPORTS[0])
    if wanted not in TRANSPORTS:
        raise ValueError(f"{TRANSPORT_VARIABLE}={wanted!r}: use one of {', '.join(TRANSPORTS)}")
    able = TRANSPORTS.index(wanted)
    try:
        from ringleader.runtime.comm.shm import Home, ShmTransport
    except ImportError:  # the engine is not built; ``ringleader doctor`` says so
        able = max(able, TRANSPORTS.index("windows"))
    able = max(world.allgather(able))
    if TRANSPORTS[able] == "shm":
        try:
            home = Home(world)
        except RuntimeError:
            home = None
        shared = all(world.allgather(home is not None))
        if home is not None and shared:
            return ShmTransport(world, home)
    return MpiTransport(world) if TRANSPORTS[able] == "mpi" else WindowsTransport(world)


def adopt(
    comm: Any, *, name: str | None = None, timeout: float | None = None, apart: bool = False
) -> Communicator:
    """A communicator over a duplicate of ``comm``, an mpi4py Intracomm. Collective over its ranks.

    ``name``: in messages. ``timeout``: seconds, that of the world by default. ``apart``: it will be used in
    another thread than the world, so calls under way on one of them do not move those of the other. Give it back
    with ``release``.
    """
    world = init()
    seconds = world.timeout if timeout is None else timeout
    if comm.size == 1:
        return _single(seconds)
    if isinstance(world._transport, ThreadsTransport):  # a world of one that others have joined since
        from ringleader.runtime.comm.mpi import MpiTransport

        transport: Transport = MpiTransport(comm)
        told = comm.bcast(world._settings)  # each has read its own
    else:
        transport, told = world._transport.over(comm), world._settings
    pending = None if apart else world._pending
    adopted = Communicator(transport, name or comm.name or "unnamed", seconds, pending, told)
    world._children.append(adopted)
    return adopted


def release(communicator: Communicator) -> None:
    """Free what ``adopt`` made; no call may be under way on it. Collective."""
    children = init()._children
    if communicator in children:
        children.remove(communicator)
        communicator._transport.free()


def _abort_job(kind: type[BaseException], error: BaseException, trace: Any, transport: Any = None) -> None:
    """An exception nobody caught: show it whole, then end every rank."""
    from mpi4py import MPI

    interrupted = issubclass(kind, KeyboardInterrupt)
    if not interrupted:
        text = "".join(traceback.format_exception(kind, error, trace))
        # The process's own: who wraps this hook (torch.distributed) may hold back what goes to sys.stderr.
        stream = sys.__stderr__ or sys.stderr
        sys.stdout.flush()
        stream.write(f"\nRank {MPI.COMM_WORLD.rank} of {MPI.COMM_WORLD.size} failed:\n{text}")
        stream.flush()
        time.sleep(LAST_WORDS)
    if transport is not None:
        _await_turn(transport)
    MPI.COMM_WORLD.Abort(SIGINT_CODE if interrupted else 1)


def _await_turn(transport: Transport) -> None:
    """After a death the survivors often fail together, but Open MPI's launcher may hang if several end the job at
    once: so one after the other, and the first ends them all."""
    if dead := transport.dead():
        before = sum(rank not in dead for rank in range(transport.rank))
        time.sleep(LAST_WORDS * min(before, MOST_TURNS))


def _finish_mpi(world: Communicator, transport: Any) -> None:
    """At exit."""
    _see_through(world, transport)
    if transport.dead():
        _end_without_mpi()


def _see_through(world: Communicator, transport: Any) -> None:
    """Wait until all ranks are through, so that nobody waits for one that has left silently."""
    try:
        world._drain()
        transport.leave()
        _stay(world, "has finished")
    except BaseException as error:
        _abort_job(type(error), error, error.__traceback__, transport)


def _end_without_mpi() -> None:
    """A rank has died and this one has come through. MPI_Finalize would wait for the dead one for ever: always in
    MPICH, and now and then in Open MPI, even when it knows of the death."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def finish() -> bool:
    """What happens at the end of a rank under mpirun, now: wait until all ranks are through with their calls. To
    be called by who ends MPI before Python ends; False: who must not, since a rank has died."""
    atexit.unregister(_finish_mpi)
    transport = init()._transport
    if not hasattr(transport, "membership"):
        return True
    _see_through(init(), transport)
    if not transport.dead():
        return True
    atexit.register(_end_without_mpi)
    return False


def _stay(world: Communicator, state: str) -> None:
    turn = 0
    while len(world._transport.gone()) < world.size:
        world._listen(state)
        world._transport.pause(turn := turn + 1)


def spawn(n: int, fn: Callable[..., Any], *args: Any, timeout: float = TIMEOUT) -> list[Any]:
    """Run ``fn(world, *args)`` on ``n`` ranks, as threads of this process; returns what each returned.

    If ranks raise, the others are told and raise too; the first exception that is not merely the
    consequence of another's is raised here, with a note that names its rank.
    """
    if n < 1:
        raise ValueError(f"spawn: the number of ranks must be at least 1, got {n}")
    told = settings.read("threads", [0] * n).require()
    hub = Hub(n)
    results: list[Any] = [None] * n
    errors: list[BaseException | None] = [None] * n

    def rank_main(rank: int) -> None:
        transport = ThreadsTransport(hub, "world", list(range(n)), rank)
        world = Communicator(transport, timeout=timeout, settings=told)
        _world.communicator = world
        try:
            results[rank] = fn(world, *args)
            world._drain()
        except BaseException as error:
            errors[rank] = error
        hub.leave(rank)
        try:
            failed = errors[rank]
            _stay(world, f"has failed with {type(failed).__name__}: {failed}" if failed else "has finished")
        except CollectiveError as error:
            errors[rank] = errors[rank] or error

    threads = [threading.Thread(target=rank_main, args=(r,), name=f"rank {r}", daemon=True) for r in range(n)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(0.1)  # short, so that Ctrl-C is seen
    except KeyboardInterrupt:
        for rank in range(n):
            hub.leave(rank)
        raise
    _raise_first(errors)
    return results


def _raise_first(errors: list[BaseException | None]) -> None:
    """Causes before consequences."""
    raised = [(isinstance(e, RankLost), rank, e) for rank, e in enumerate(errors) if e is not None]
    if raised:
        _, rank, error = min(raised, key=lambda r: r[:2])
        if hasattr(error, "add_note"):
            error.add_note(f"raised on rank {rank} of {len(errors)}")
        raise error
