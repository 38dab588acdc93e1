"""The Communicator: MPI's calls, in lower case, on numpy arrays."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from ringleader.collectives import Schedule
from ringleader.runtime.comm import call as calls
from ringleader.runtime.comm.agreement import Agreement
from ringleader.runtime.comm.call import AUTO, Call, choose, usable
from ringleader.runtime.comm.message import receive, send
from ringleader.runtime.comm.ops import Op, find_op
from ringleader.runtime.comm.transport import ANY, Channel, Request, Transport
from ringleader.runtime.comm.work import Work, place

TIMEOUT = 300.0  # seconds that a call waits for other ranks before it says who is missing
IN_FLIGHT = 32  # asynchronous calls under way at once; the next one waits for the oldest

Array = TypeVar("Array", bound=NDArray[Any])


class Handle:
    """A call under way (``async_op=True``). Calls must be started in the same order on all ranks; they
    may be waited for in any order. Waiting for any call keeps all others of this rank moving."""

    def __init__(
        self, comm: Communicator, number: int, work: Work | None, finish: Callable[[], Any]
    ) -> None:  # fmt: skip
        """Without ``work`` the call is already complete."""
        self._comm, self._number, self._work, self._finish = comm, number, work, finish
        self._done = work is None
        self._result: Any = finish() if work is None else None

    def test(self) -> bool:
        """Has it completed? Never blocks; call it now and then to keep the transfer moving."""
        return self._advance() is None

    def wait(self, timeout: float | None = None) -> Any:
        """Block until it has completed; returns the array. CollectiveTimeout after ``timeout`` seconds
        (default: the communicator's)."""
        self._comm._wait(self._advance, self._number, timeout)
        return self._result

    def _advance(self) -> Request | None:
        if self._done or self._work is None:
            return None
        blocked = self._work.advance()
        if blocked is None:
            self._result, self._done = self._finish(), True
            self._comm._pending.remove(self)
        return blocked


class Communicator:
    """A group of ranks that call collectives together.

    Every collective takes ``algorithm``: "auto", the name of a registered algorithm, "vendor" (the MPI
    library's own), or a Schedule. All ranks must pass the same shape, dtype, op, root and algorithm; if
    they do not, or an argument is not usable on some rank, all ranks raise the same ArgumentError. A rank
    that never calls is named by CollectiveTimeout. A rank that has already returned (the root of a
    broadcast, say) raises at its next call or at its end.
    """

    def __init__(self, transport: Transport, name: str = "world", timeout: float = TIMEOUT,
                 pending: list[Handle] | None = None) -> None:  # fmt: skip
        self._transport, self.name, self.timeout = transport, name, timeout
        self._agreement = Agreement(transport, name, timeout)
        self._number = 0
        self._pending: list[Handle] = [] if pending is None else pending  # of this rank, all communicators
        self._children: list[Communicator] = []

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
        """Name of the transport: "threads" or "mpi"."""
        return self._transport.name

    def __repr__(self) -> str:
        return f"<Communicator {self.name!r}: rank {self.rank} of {self.size} over {self.transport}>"

    # Collectives

    def allreduce(
        self, x: Array, op: str | Op = "sum", *, out: Array | None = None,
        algorithm: str | Schedule = AUTO, async_op: bool = False,
    ) -> Any:  # fmt: skip
        """Fold the ranks' arrays; every rank gets the result, bit for bit the same ("vendor": as MPI does).

        ``x``: any shape and numeric dtype, the same on all ranks; changed in place unless ``out`` (same
        shape and dtype) is given. Returns the array that holds the result, or a Handle. "mean" divides the
        sum by the number of ranks and refuses integers.
        """
        return self._in_place("allreduce", x, out, op, 0, algorithm, async_op)

    def broadcast(
        self, x: Array, root: int = 0, *, algorithm: str | Schedule = AUTO, async_op: bool = False
    ) -> Any:
        """Every rank's ``x`` becomes a copy of ``root``'s, in place; returns it, or a Handle."""
        return self._in_place("broadcast", x, None, None, root, algorithm, async_op)

    def alltoall(self, x: Array, *, out: Array | None = None, algorithm: str | Schedule = AUTO,
                 async_op: bool = False) -> Any:  # fmt: skip
        """Cut axis 0 into ``size`` equal blocks and send block d to rank d; returns the blocks received,
        in rank order, in a new array or ``out``. ``x`` is left as it is."""
        return self._apart("alltoall", x, out, None, algorithm, async_op)

    def exscan(self, x: Array, op: str | Op = "sum", *, out: Array | None = None,
               algorithm: str | Schedule = AUTO, async_op: bool = False) -> Any:  # fmt: skip
        """Rank r gets the fold, in rank order, of ranks 0 ... r - 1, in a new array or ``out``. Rank 0's
        ``out`` is left as it is; without ``out`` it gets a copy of its own ``x``."""
        return self._apart("exscan", x, out, op, algorithm, async_op)

    def barrier(self, *, algorithm: str | Schedule = AUTO) -> None:
        """Return once every rank has called it."""
        self._in_place("barrier", np.empty(0, np.uint8), None, None, 0, algorithm, False)

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

    # Groups

    def split(self, color: int | None, key: int = 0) -> Communicator | None:
        """A communicator of all ranks that pass the same ``color``, ordered by (``key``, rank).

        Collective. Ranks that pass None get None.
        """
        number = self._number
        self._transport.publish(number, (color, key))
        self._in_place("barrier", np.empty(0, np.uint8), None, None, 0, AUTO, False, what="split")
        transport = self._transport.split(number, color, key)
        if transport is None:
            return None
        child = Communicator(transport, f"{self.name}/{number}:{color}", self.timeout, self._pending)
        self._children.append(child)
        return child

    # How a call runs

    def _in_place(
        self, collective: str, x: Any, out: Any, op: str | Op | None, root: int,
        algorithm: str | Schedule, async_op: bool, what: str | None = None,
    ) -> Any:  # fmt: skip
        def check() -> Call:
            operation = self._check(x, op, root)
            target = usable(x) if out is None else _like(x, out)
            schedule = choose(collective, algorithm, self.size, root, x.nbytes)
            if schedule is None and (refusal := self._transport.vendor_refuses(collective, x.dtype)):
                raise ValueError(refusal)
            if out is not None:
                out[...] = x
            flat = calls.flat(target)

            def finish() -> Any:
                if operation and operation.divide:
                    np.divide(flat, self.size, out=flat)
                calls.bring_home(target, flat)
                return target

            signature = _signature(what or collective, x, operation, root, schedule)
            name, ufunc = (operation.name, operation.ufunc) if operation else ("", np.add)
            buffers = {"output": flat}
            return Call(collective, schedule, signature, name, root, flat.size, buffers, ufunc, finish)

        return self._run(collective, check, async_op)

    def _apart(
        self, collective: str, x: Any, out: Any, op: str | Op | None,
        algorithm: str | Schedule, async_op: bool,
    ) -> Any:  # fmt: skip
        def check() -> Call:
            operation = self._check(x, op, 0)
            blocks = self.size if collective == "alltoall" else 1
            if (x.shape[0] if x.ndim else 1) % blocks:
                raise ValueError(f"axis 0 of shape {x.shape} does not divide into {blocks} blocks")
            target = x.copy() if out is None else _like(x, out)
            schedule = choose(collective, algorithm, self.size, 0, x.nbytes)
            if schedule is None:
                raise ValueError(f"{collective} has no route to the vendor's yet; use another algorithm")
            result = calls.flat(target)

            def finish() -> Any:
                calls.bring_home(target, result)
                return target

            signature = _signature(collective, x, operation, 0, schedule)
            buffers = {"input": calls.flat(x), "output": result}
            ufunc = operation.ufunc if operation else None
            return Call(collective, schedule, signature, "", 0, x.size // blocks, buffers, ufunc, finish)

        return self._run(collective, check, async_op)

    def _check(self, x: Any, op: str | Op | None, root: int) -> Op | None:
        if not isinstance(x, np.ndarray):
            raise TypeError(f"x must be a numpy array, not {type(x).__name__}")
        if not 0 <= root < self.size:
            raise ValueError(f"root {root} is out of range for {self.size} ranks (0 ... {self.size - 1})")
        return None if op is None else find_op(op, x.dtype)

    def _run(self, collective: str, check: Callable[[], Call], async_op: bool) -> Any:
        """Check the arguments, agree, start; wait unless asynchronous."""
        number, self._number = self._number, self._number + 1
        try:
            call = check()
        except (TypeError, ValueError) as error:
            if self.size == 1:
                raise
            self._agreement.refuse(number, collective, f"{type(error).__name__}: {error}")
        while len(self._pending) >= IN_FLIGHT:
            self._pending[0].wait()
        self._agreement.enter(number, call.signature)
        if call.schedule is None:
            self._vendor(call, number)
            handle = Handle(self, number, None, call.finish)
        else:
            handle = self._start(call, call.schedule, number)
        return handle if async_op else handle.wait()

    def _start(self, call: Call, schedule: Schedule, number: int) -> Handle:
        placed = place(calls.program(schedule, self.rank), call.count)
        digest = zlib.crc32(call.signature.encode())
        what = schedule.collective
        channel = Channel(number, digest, synchronous=what is not None and what.one_way)
        work = Work(self._transport, placed, call.buffers, call.ufunc, channel)
        handle = Handle(self, number, work, call.finish)
        self._pending.append(handle)
        work.advance()
        return handle

    def _vendor(self, call: Call, number: int) -> None:
        """The vendor's collective carries no signature, so the ranks first agree by a barrier of ours."""
        schedule = choose("barrier", AUTO, self.size, 0, 0)
        assert schedule is not None
        agreeing = Call("barrier", schedule, call.signature, "", 0, 0, {"output": np.empty(0)}, np.add, bool)
        self._start(agreeing, schedule, number).wait()
        op = "sum" if call.op == "mean" else call.op
        self._transport.vendor(call.collective, call.buffers["output"], op, call.root)

    def _wait(
        self, advance: Callable[[], Request | None], number: int | None, timeout: float | None = None
    ) -> None:
        """Wait until ``advance`` says that nothing is missing, keeping all pending calls moving."""
        limit = self.timeout if timeout is None else timeout
        turn, start = 0, time.monotonic()
        try:
            while (blocked := advance()) is not None:
                for other in list(self._pending):
                    if other._advance != advance:
                        other._advance()
                self._transport.pause(turn)
                turn += 1
                if turn % self._transport.watch_every == 0:
                    self._agreement.watch(number, blocked, time.monotonic() - start, limit)
        except BaseException:
            self._give_up()
            raise

    def _give_up(self) -> None:
        """Something failed: nothing may write into the user's arrays any more."""
        for handle in [h for h in self._pending if h._comm is self]:
            if handle._work is not None:
                handle._work.cancel()
            self._pending.remove(handle)

    def _drain(self) -> None:
        """Complete what was started and never waited for, so that other ranks get their data."""
        while self._pending:
            self._pending[0].wait()

    def _set_timeout(self, seconds: float) -> None:
        for comm in self._family():
            comm.timeout = comm._agreement.timeout = seconds

    def _family(self) -> list[Communicator]:
        """This communicator and all split from it."""
        return [self] + [c for child in self._children for c in child._family()]

    def _listen(self, state: str) -> None:
        """After the last call: answer ranks that still ask, and raise with them."""
        for comm in self._family():
            comm._agreement.hear_out(state)


def _like(x: NDArray[Any], out: Any) -> NDArray[Any]:
    usable(out, "out")
    if out.shape != x.shape or out.dtype != x.dtype:
        raise ValueError(f"out is {out.dtype}{list(out.shape)}, but x is {x.dtype}{list(x.shape)}")
    return np.asarray(out)


def _signature(what: str, x: NDArray[Any], op: Op | None, root: int, schedule: Schedule | None) -> str:
    """What must be equal on all ranks, as the error message shows it."""
    parts = [] if what in ("barrier", "split") else [f"{x.dtype}{list(x.shape)}"]
    parts += [op.name] if op else []
    parts += [f"root {root}"] if what == "broadcast" else []
    parts += ["vendor"] if schedule is None else [f"{schedule.name}#{schedule.digest[:6]}"]
    return f"{what}({', '.join(parts)})"
