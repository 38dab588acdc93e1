"""The Communicator: MPI's calls, in lower case, on numpy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray
from ringleader.collectives import Schedule
from ringleader.runtime.comm.call import AUTO, EMPTY
from ringleader.runtime.comm.caller import Caller, shortened
from ringleader.runtime.comm.message import receive, send
from ringleader.runtime.comm.ops import Op
from ringleader.runtime.comm.settings import ANYWHERE, read_table
from ringleader.runtime.comm.transport import ANY

Array = TypeVar("Array", bound=NDArray[Any])


class Communicator(Caller):
    """A group of ranks that call collectives together.

    Every collective takes ``algorithm``: "auto", the name of a registered algorithm, "vendor" (the MPI
    library's own), or a Schedule. All ranks must pass the same shape, dtype, op, root and algorithm; if
    they do not, or an argument is not usable on some rank, all ranks raise the same ArgumentError. A rank
    that never calls is named by CollectiveTimeout. A rank that has already returned (the root of a
    broadcast, say) raises at its next call or at its end.
    """

    @property
    def rank(self) -> int:
        """This rank's number, 0 ... size - 1."""
        return self._transport.rank

    @property
    def size(self) -> int:
        return self._transport.size

    @property
    def local_rank(self) -> int:
        """Number of this rank among the communicator's ranks on the same node."""
        return self._transport.nodes[: self.rank].count(self._transport.nodes[self.rank])

    @property
    def local_size(self) -> int:
        """How many of the communicator's ranks run on this node."""
        return self._transport.nodes.count(self._transport.nodes[self.rank])

    @property
    def node_rank(self) -> int:
        """Number of this rank's node, counted in the order in which the ranks first meet them."""
        return list(dict.fromkeys(self._transport.nodes)).index(self._transport.nodes[self.rank])

    @property
    def transport(self) -> str:
        """What carries bytes: "threads", "mpi", "shm" (all ranks share memory), "shm+mpi" (some do) or "windows"
        (MPI, and its shared windows for AllReduce: see docs/how-it-works.md)."""
        return self._transport.name

    def __repr__(self) -> str:
        return f"<Communicator {self.name!r}: rank {self.rank} of {self.size} over {self.transport}>"

    # Collectives

    @shortened
    def allreduce(
        self, x: Array, op: str | Op = "sum", *, out: Array | None = None,
        algorithm: str | Schedule = AUTO, async_op: bool = False,
    ) -> Any:  # fmt: skip
        """Fold the ranks' arrays; every rank gets the result, bit for bit the same ("vendor", which "auto" may
        have measured to be the fastest: as MPI does).

        ``x``: any shape and numeric dtype, the same on all ranks; changed in place unless ``out`` (same
        shape and dtype) is given. Returns the array that holds the result, or a Handle. "mean" divides the
        sum by the number of ranks and refuses integers.
        """
        return self._call("allreduce", x, out=out, op=op, algorithm=algorithm, async_op=async_op)

    @shortened
    def broadcast(
        self, x: Array, root: int = 0, *, algorithm: str | Schedule = AUTO, async_op: bool = False
    ) -> Any:
        """Every rank's ``x`` becomes a copy of ``root``'s, in place; returns it, or a Handle."""
        return self._call("broadcast", x, root=root, algorithm=algorithm, async_op=async_op)

    def reduce(
        self, x: Array, op: str | Op = "sum", root: int = 0, *, out: Array | None = None,
        algorithm: str | Schedule = AUTO, async_op: bool = False,
    ) -> Any:  # fmt: skip
        """Fold the ranks' arrays on ``root``, in place there unless ``out`` is given.

        The other ranks' ``x`` (and ``out``) stay as they are, and they get back their ``x``.
        """
        return self._call("reduce", x, out=out, op=op, root=root, algorithm=algorithm, async_op=async_op)

    def allgather(
        self, x: Array, *, out: Array | None = None, counts: Sequence[int] | bool | None = None,
        algorithm: str | Schedule = AUTO, async_op: bool = False,
    ) -> Any:  # fmt: skip
        """Every rank gets all ranks' arrays, joined along axis 0 in rank order, in a new array or ``out``.

        Shapes are equal, or lengths of axis 0 differ: then ``counts`` holds those of all ranks, the same on
        every rank, or is True if a rank only knows its own (one small collective more asks the others).
        """
        known = self._known_counts("allgather", x, counts)
        return self._call("allgather", x, out=out, counts=known, algorithm=algorithm, async_op=async_op)

    def reduce_scatter(
        self, x: Array, op: str | Op = "sum", *, out: Array | None = None,
        counts: Sequence[int] | None = None, algorithm: str | Schedule = AUTO, async_op: bool = False,
    ) -> Any:  # fmt: skip
        """Fold the ranks' arrays and cut the result along axis 0; rank r gets block r, in a new array or
        ``out``. ``x`` is left as it is. Blocks are equal, or block r has ``counts[r]`` rows."""
        return self._call(
            "reduce_scatter", x, out=out, op=op, counts=counts, algorithm=algorithm, async_op=async_op
        )

    def alltoall(
        self, x: Array, *, out: Array | None = None, counts: Sequence[int] | None = None,
        received: Sequence[int] | None = None, algorithm: str | Schedule = AUTO, async_op: bool = False,
    ) -> Any:  # fmt: skip
        """Cut axis 0 into ``size`` blocks and send block d to rank d; returns the blocks received, in rank
        order, in a new array or ``out``. ``x`` is left as it is.

        Blocks are equal, or block d has ``counts[d]`` rows, which may differ on every rank; what a rank
        will get is then asked by one small collective first. ``received``: ranks that have agreed already
        say here how many rows they get from each, and nothing is asked; wrong numbers give wrong results.
        """
        if counts is not None:
            return self._exchange(x, out, counts, received, algorithm, async_op)
        return self._call("alltoall", x, out=out, algorithm=algorithm, async_op=async_op)

    def gather(
        self, x: Array, root: int = 0, *, out: Array | None = None,
        counts: Sequence[int] | bool | None = None, algorithm: str | Schedule = AUTO, async_op: bool = False,
    ) -> Any:  # fmt: skip
        """``root`` gets all ranks' arrays as in ``allgather``; the others get None. ``out`` only counts on
        ``root``; ``counts`` as in ``allgather``."""
        known = self._known_counts("gather", x, counts)
        return self._call(
            "gather", x, out=out, root=root, counts=known, algorithm=algorithm, async_op=async_op
        )

    def scatter(
        self, x: Array | None, root: int = 0, *, out: Array | None = None,
        counts: Sequence[int] | None = None, algorithm: str | Schedule = AUTO, async_op: bool = False,
    ) -> Any:  # fmt: skip
        """Rank r gets block r of ``root``'s ``x``, cut along axis 0, in a new array or ``out``.

        Blocks are equal, or block r has ``counts[r]`` rows, the same list on every rank. Off ``root``, x only
        says shape and dtype; it may be None if ``out`` is given.
        """
        return self._call(
            "scatter", x, out=out, root=root, counts=counts, algorithm=algorithm, async_op=async_op
        )

    def scan(self, x: Array, op: str | Op = "sum", *, out: Array | None = None,
             algorithm: str | Schedule = AUTO, async_op: bool = False) -> Any:  # fmt: skip
        """Rank r gets the fold, in rank order, of ranks 0 ... r, in a new array or ``out``."""
        return self._call("scan", x, out=out, op=op, algorithm=algorithm, async_op=async_op)

    def exscan(self, x: Array, op: str | Op = "sum", *, out: Array | None = None,
               algorithm: str | Schedule = AUTO, async_op: bool = False) -> Any:  # fmt: skip
        """Rank r gets the fold, in rank order, of ranks 0 ... r - 1, in a new array or ``out``. Rank 0's
        ``out`` is left as it is; without ``out`` it gets a copy of its own ``x``."""
        return self._call("exscan", x, out=out, op=op, algorithm=algorithm, async_op=async_op)

    @shortened
    def barrier(self, *, algorithm: str | Schedule = AUTO, async_op: bool = False) -> Any:
        """Return once every rank has called it; or a Handle that completes then."""
        handle = self._call("barrier", EMPTY, algorithm=algorithm, async_op=async_op)
        return handle if async_op else None

    def refuse(self, what: str, why: str) -> NoReturn:
        """Instead of the collective ``what``, which the other ranks call: all raise ArgumentError, which says
        ``why`` of this rank. (In a world of one it is a ValueError.)"""

        def check() -> NoReturn:
            raise ValueError(why)

        self._run(what, check, False)
        raise AssertionError("a refused call does not return")

    # Point to point

    def send(self, x: NDArray[Any], dest: int, tag: int = 0) -> None:
        """Send an array to rank ``dest``; returns once ``x`` may be changed again."""
        send(self._transport, self._wait, x, dest, tag)

    def recv(self, out: NDArray[Any] | None = None, source: int = ANY, tag: int = ANY) -> NDArray[Any]:
        """Receive an array sent by ``send`` into ``out``, or into a new array; returns it.

        ``source`` and ``tag`` default to any. ValueError if ``out`` has another shape or dtype than what
        came (which is then lost).
        """
        return receive(self._transport, self._wait, out, source, tag)

    # Memory

    def empty(self, shape: int | Sequence[int], dtype: DTypeLike = np.float64) -> NDArray[Any]:
        """A new array in memory that the other ranks of this node can read where it lies: collectives on it are
        not copied first. Its contents are arbitrary.

        Local: no other rank need do the same, and it is as good in every communicator as in this one. It is
        freed with its last reference. MemoryError if there is not as much memory. Over transports that share no
        memory it is an ordinary array.
        """
        return self._transport.empty([shape] if isinstance(shape, (int, np.integer)) else shape, dtype)

    # How "auto" chooses

    def use_tuning(self, path: str | Path | None) -> None:
        """From now on "auto" asks the table that ``ringleader tune -o`` or ``Table.save`` wrote to ``path``.

        Collective. Rank 0 reads the file (its ``path`` alone counts; None: the built-in model) and tells all,
        so that every rank chooses alike. ValueError on every rank if it cannot be used. RINGLEADER_TUNING=path
        in rank 0's environment does the same at the start; without either, "auto" asks what ``ringleader tune -n N``
        measured on this machine (docs/tuning.md).
        """
        parts = [part.encode() for part in read_table(path)] if self.rank == 0 else []
        lengths = self.broadcast(np.array([len(part) for part in parts] or [0, 0]))
        whole = (
            np.frombuffer(b"".join(parts), np.uint8).copy() if parts else np.empty(lengths.sum(), np.uint8)
        )
        told = self.broadcast(whole).tobytes()
        text, error = told[: lengths[0]].decode(), told[lengths[0] :].decode()
        self._tune(replace(self._settings, tables={ANYWHERE: text}, error=error).require())

    # Groups

    def split(self, color: int | None, key: int = 0) -> Communicator | None:
        """A communicator of all ranks that pass the same ``color``, ordered by (``key``, rank).

        Collective. Ranks that pass None get None.
        """
        number = self._calls.next
        self._transport.publish(number, (color, key))
        self._call("barrier", EMPTY, what="split")
        transport = self._transport.split(number, color, key)
        if transport is None:
            return None
        name = f"{self.name}/{number}:{color}"
        child = Communicator(transport, name, self.timeout, self._pending, self._settings)
        self._children.append(child)
        return child
