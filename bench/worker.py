"""One rank of one contestant: ``python worker.py SOCKET LIBRARY [RANK SIZE]``.

A script of its own, run by its path in the contestant's environment, where Ringleader need not be: numpy, the
standard library and the library that is measured are all it knows. It connects to the orchestrator's Unix socket
and does what the lines of JSON that it gets there say; until the next one comes it sleeps, so that jobs whose
turn it is not leave the cores alone.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

PERIOD = (
    1009  # contents repeat after so many elements: a prime, so that no block of a usual size is like another
)
HANDED = 128 << 10  # bytes of a block that is handed over: a cache holds it
POISON = -1  # what a buffer holds that a call must overwrite; no contents and no sum is negative

Array = Any  # numpy's; the version of numpy's stubs is the contestant's
Call = Callable[[], Any]


class NotOfferedError(Exception):
    """The library has no such collective."""


# What each rank puts in, and what must come out: whole numbers below 2**24 for up to 16,000 ranks, so that float32
# folds them exactly in any order.


def contents(rank: int, start: int, count: int, dtype: str) -> Array:
    """Elements ``start`` ... of what ``rank`` contributes."""
    return np.resize(_period(rank, start).astype(dtype), count)


def _period(rank: int, start: int) -> Array:
    return ((np.arange(PERIOD) + start) * 7 + rank * 131) % PERIOD


def folded(ranks: int, start: int, count: int, dtype: str) -> Array:
    """The sum of what ranks 0 ... ``ranks`` - 1 contribute."""
    return np.resize(sum(_period(r, start) for r in range(ranks)).astype(dtype), count)


def expected(collective: str, rank: int, n: int, count: int, dtype: str) -> Array | None:
    """What must be in the output of ``rank``; None: nothing. Roots are rank 0."""
    if collective == "allreduce" or (collective == "reduce" and rank == 0):
        return folded(n, 0, count, dtype)
    if collective == "broadcast":
        return contents(0, 0, count, dtype)
    if collective == "allgather" or (collective == "gather" and rank == 0):
        return np.concatenate([contents(r, 0, count, dtype) for r in range(n)])
    if collective == "reduce_scatter":
        return folded(n, rank * count, count, dtype)
    if collective == "alltoall":
        return np.concatenate([contents(r, rank * count, count, dtype) for r in range(n)])
    if collective == "scatter":
        return contents(0, rank * count, count, dtype)
    if collective == "scan":
        return folded(rank + 1, 0, count, dtype)
    return None


class Ringleader:
    def __init__(self, _: str) -> None:
        from importlib.metadata import version

        from ringleader.runtime.comm import init

        self.world = init()
        self.rank, self.size = self.world.rank, self.world.size
        self.barrier: Call = self.world.barrier
        # by kind, which is part of the contestant's name in the tables
        self.buffers: dict[str, Callable[..., Any]] = {"": np.empty, "empty": self.world.empty}
        self.version = f"Ringleader {version('ringleader')} over {self.world.transport}"

    def prepare(self, collective: str, x: Array, out: Array, algorithm: str) -> Call:
        """A call from ``x`` to ``out``, in place where they share memory, with no option that is the default."""
        world, here = self.world, self.rank == 0
        how: dict[str, Any] = {} if algorithm == "auto" else {"algorithm": algorithm}
        to = how if x is out else {"out": out, **how}
        if collective == "allreduce" and not how and x is not out:
            allreduce = world.allreduce
            return lambda: allreduce(x, out=out)  # partial would make a dictionary in every call
        calls: dict[str, Call] = {
            "allreduce": partial(world.allreduce, x, **to),
            "broadcast": partial(world.broadcast, x, **how),
            "reduce": partial(world.reduce, x, **to),
            "allgather": partial(world.allgather, x, out=out, **how),
            "reduce_scatter": partial(world.reduce_scatter, x, out=out, **how),
            "alltoall": partial(world.alltoall, x, out=out, **how),
            "gather": partial(world.gather, x, out=out if here else None, **how),
            "scatter": partial(world.scatter, x if here else None, out=out, **how),
            "scan": partial(world.scan, x, out=out, **how),
            "barrier": partial(world.barrier, **how),
        }
        return calls[collective]

    def alone(self) -> Call:
        """A call that has nobody to wait for: what it takes is our own code."""
        world = self.world.split(self.rank)
        assert world is not None
        x = self.buffers[""](1, np.float32)
        return partial(world.allreduce, x)


class Mpi:
    def __init__(self, _: str) -> None:
        import mpi4py
        from mpi4py import MPI

        self.mpi, self.comm = MPI, MPI.COMM_WORLD
        self.rank, self.size = self.comm.rank, self.comm.size
        self.barrier: Call = self.comm.Barrier
        self.buffers: dict[str, Callable[..., Any]] = {"": np.empty}
        said = MPI.Get_library_version().replace("Version:", "").split("\n")[0].split(",")[0]
        self.version = f"{' '.join(said.split())}, mpi4py {mpi4py.__version__}"

    def prepare(self, collective: str, x: Array, out: Array, algorithm: str) -> Call:
        comm, here = self.comm, self.rank == 0
        shared = np.may_share_memory(x, out)
        given = self.mpi.IN_PLACE if shared else x
        got = out if here else None
        calls: dict[str, Call] = {
            "allreduce": partial(comm.Allreduce, given, out),
            "broadcast": partial(comm.Bcast, x),
            "reduce": partial(comm.Reduce, given if here else x, got),
            "allgather": partial(comm.Allgather, given, out),
            "reduce_scatter": partial(comm.Reduce_scatter_block, x, out),
            "alltoall": partial(comm.Alltoall, x, out),
            "gather": partial(comm.Gather, x, got),
            "scatter": partial(comm.Scatter, x if here else None, out),
            "scan": partial(comm.Scan, given, out),
            "barrier": comm.Barrier,
        }
        return calls[collective]


class Gloo:
    def __init__(self, rank: str, size: str, address: str) -> None:
        import torch
        from torch import distributed

        torch.set_num_threads(1)
        self.torch, self.dist, self.rank, self.size = torch, distributed, int(rank), int(size)
        meeting = f"file://{address}.store"
        distributed.init_process_group("gloo", init_method=meeting, rank=self.rank, world_size=self.size)
        self.barrier: Call = distributed.barrier
        self.buffers: dict[str, Callable[..., Any]] = {"": np.empty}
        self.version = f"Gloo of PyTorch {torch.__version__}"

    def prepare(self, collective: str, x: Array, out: Array, algorithm: str) -> Call:
        dist = self.dist
        if collective == "scan":
            raise NotOfferedError
        source, target = self.torch.from_numpy(x), self.torch.from_numpy(out)
        shared = np.may_share_memory(x, out)

        def copied(call: Callable[..., Any], *root: int) -> Call:
            """These calls only know in place: out of place is a copy first, as a user must write it."""
            if shared:
                return partial(call, target, *root)
            return lambda: call(target.copy_(source), *root)

        whole = target if collective == "gather" else source
        blocks = list(whole.chunk(self.size)) if self.rank == 0 else None
        calls: dict[str, Call] = {
            "allreduce": copied(dist.all_reduce),
            "broadcast": partial(dist.broadcast, source, 0),
            "reduce": copied(dist.reduce, 0),
            "allgather": partial(dist.all_gather_into_tensor, target, source),
            "reduce_scatter": partial(dist.reduce_scatter_tensor, target, source),
            "alltoall": partial(dist.all_to_all_single, target, source),
            "gather": partial(dist.gather, source, blocks, 0),
            "scatter": partial(dist.scatter, target, blocks, 0),
            "barrier": dist.barrier,
        }
        return calls[collective]


class Worker:
    """Answers the orchestrator's messages, each by the method of its name."""

    def __init__(self, library: Any) -> None:
        self.library, self.rank, self.n = library, library.rank, library.size
        self.collective, self.count, self.dtype = "barrier", 0, "float32"
        self.arrays: dict[tuple[str, str], tuple[Array, Array]] = {}
        self.copied: tuple[Array, Array] | None = None
        self.handed: Array | None = None

    def hello(self) -> dict[str, Any]:
        return {
            "buffers": list(self.library.buffers), "version": self.library.version, "numpy": np.__version__,
            "python": sys.version.split()[0],
        }  # fmt: skip

    def point(self, collective: str, count: int, dtype: str) -> dict[str, Any]:
        """From now on it is about this collective on blocks of ``count`` elements. The memory of the last is free."""
        self.collective, self.count, self.dtype = collective, count, dtype
        self.arrays.clear()
        self.copied = None
        return {}

    def measure(self, place: str, buffers: str, algorithm: str, samples: int, batch: int) -> dict[str, Any]:
        """Nanoseconds of each of ``samples`` batches of ``batch`` calls, after one that warms up."""
        x, out = self._arrays(place, buffers)
        try:
            call = self.library.prepare(self.collective, x, out, algorithm)
        except NotOfferedError:
            return {"offered": False}
        x[...] = 0  # sums in place stay finite, however often
        out[...] = 0
        call()
        return {"offered": True, "times": self._together(call, samples, batch)}

    def check(self, place: str, buffers: str, algorithm: str) -> dict[str, Any]:
        """How many elements of the output differ from what they must be, after one call on coded contents."""
        x, out = self._arrays(place, buffers)
        call = self.library.prepare(self.collective, x, out, algorithm)
        out[...] = POISON
        given = self.collective in ("broadcast", "scatter") and self.rank
        x[...] = POISON if given else contents(self.rank, 0, x.size, self.dtype)
        self.library.barrier()
        call()
        self.library.barrier()
        right = expected(self.collective, self.rank, self.n, self.count, self.dtype)
        return {"wrong": 0 if right is None else int(np.count_nonzero(out != right))}

    def _together(self, call: Call, samples: int, batch: int) -> list[int]:
        self.library.barrier()
        times = timed(call, samples, batch)
        self.library.barrier()  # nobody goes to sleep while others need its progress
        return times

    def _arrays(self, place: str, buffers: str) -> tuple[Array, Array]:
        """Input and output, made once for each collective and count."""
        key = (place, buffers)
        if key not in self.arrays:
            empty = self.library.buffers[buffers]
            given, got = self._lengths()
            if place == "out":
                self.arrays[key] = empty(given, self.dtype), empty(got, self.dtype)
            elif given == got:
                whole = empty(got, self.dtype)
                self.arrays[key] = whole, whole
            else:  # its own block of the whole
                whole = empty(got, self.dtype)
                self.arrays[key] = whole[self.rank * given : (self.rank + 1) * given], whole
        return self.arrays[key]

    def _lengths(self) -> tuple[int, int]:
        """Elements of input and output."""
        block, whole = self.count, self.count * self.n
        if self.collective in ("allgather", "gather"):
            return block, whole
        if self.collective in ("reduce_scatter", "scatter"):
            return whole, block
        return (whole, whole) if self.collective == "alltoall" else (block, block)

    def copy(self, nbytes: int, times: int) -> dict[str, Any]:
        """Nanoseconds of copying ``nbytes`` so many times, on all ranks at once."""
        if self.copied is None:
            self.copied = np.ones(nbytes, np.uint8), np.ones(nbytes, np.uint8)
        source, target = self.copied
        return {"times": self._together(partial(np.copyto, target, source), 1, times)}

    def share(self) -> dict[str, Any]:
        """Rank 0 makes memory that all ranks can map, a block for each, and says where it is."""
        return {"path": None if self.rank else shared_file(self.n * HANDED)}

    def hand(self, path: str, times: int) -> dict[str, Any]:
        """Nanoseconds of so many turns of ``handing``, all ranks at once. ``path``: as ``share`` says."""
        if self.handed is None:
            self.handed = np.memmap(path, np.uint8, "r+", shape=(self.n, HANDED))
        turn = handing(self.handed, self.rank, self.library.barrier)
        return {"times": self._together(turn, 1, times), "bytes": times * HANDED}

    def alone(self, samples: int, batch: int) -> dict[str, Any]:
        """As measure, but of a communicator of one rank; rank 0 alone is timed while the others sleep."""
        call = self.library.alone()
        return {"times": [] if self.rank else timed(call, samples, batch)}


def shared_file(nbytes: int) -> str | None:
    """Where the ranks of this machine find memory that all of them can map, for as long as this process lives. None: the
    system has no such files."""
    if not hasattr(os, "memfd_create"):
        return None
    file = os.memfd_create("shared")
    os.truncate(file, nbytes)
    return f"/proc/{os.getpid()}/fd/{file}"


def handing(shared: Array, rank: int, barrier: Call) -> Call:
    """Hands blocks over, all ranks at once: each writes its own where all can read it, then reads the next one's, by plain
    copies, with a barrier after each. ``shared``: rank r's block is ``shared[r]``."""
    own, wanted = shared[rank], shared[(rank + 1) % len(shared)]
    private = np.ones(own.shape, own.dtype)  # of its own, not of the shared file

    def turn() -> None:
        np.copyto(own, private)
        barrier()
        np.copyto(private, wanted)
        barrier()

    return turn


def timed(call: Call, samples: int, batch: int) -> list[int]:
    """Nanoseconds of each of ``samples`` batches of ``batch`` calls."""
    now, again, times = time.perf_counter_ns, range(batch), []
    for _ in range(samples):
        start = now()
        for _ in again:
            call()
        times.append(now() - start)
    return times


def leave_with(connection: socket.socket) -> None:
    """End this process as soon as the orchestrator is gone, even amid a call that will never return."""
    watch = select.poll()
    watch.register(connection, 0)  # hang-ups alone
    watch.poll()
    os._exit(1)


def stay(rank: int) -> None:
    """Keep this thread on one core, ranks going round over them.

    Two ranks that wake up on the same core and then wait for each other without sleeping may stay there for many
    milliseconds, which would be measured. Threads that the library has started already stay free.
    """
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[rank % len(cores)]})


def obey(path: str, start: Callable[[], Any], pinned: bool = True) -> None:
    """Connect to the orchestrator's socket and do what it says until it says "end", or is gone.

    ``start`` makes the worker, which has ``rank`` and a method for each order. ``pinned``: see ``stay``.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(path)
    lines = connection.makefile("rw", encoding="utf-8")

    def say(answer: dict[str, Any]) -> None:
        lines.write(json.dumps(answer) + "\n")
        lines.flush()

    say({"pid": os.getpid()})  # before anything can go wrong
    threading.Thread(target=leave_with, args=[connection], daemon=True).start()
    rank = -1  # not known yet
    try:
        worker = start()
        rank = worker.rank
        if pinned:
            stay(rank)
        for line in lines:
            order = json.loads(line)
            if (what := order.pop("do")) == "end":
                return
            say({"rank": rank, **getattr(worker, what)(**order)})
    except Exception as error:
        who = f"rank {rank}: " if rank >= 0 else ""
        say({"rank": rank, "error": f"{who}{type(error).__name__}: {error}"})
    threading.Event().wait()  # for the end; leaving by itself would be an error more, of the launcher's


def main() -> None:
    path, name, *rest = sys.argv[1:]
    obey(path, lambda: Worker({"ringleader": Ringleader, "mpi": Mpi, "gloo": Gloo}[name](*rest, path)))


if __name__ == "__main__":
    main()
