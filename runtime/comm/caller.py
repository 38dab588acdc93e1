"""How a call runs: checked, agreed on, started, waited for."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from ringleader.collectives import COLLECTIVES, Schedule
from ringleader.runtime.comm.agreement import Agreement, Calls
from ringleader.runtime.comm.call import AUTO, Call, choose, program, signature, ufunc_of
from ringleader.runtime.comm.chooser import Chooser, Chosen, Log
from ringleader.runtime.comm.errors import CollectiveError, RankLost
from ringleader.runtime.comm.layout import Layout, checked_counts, exchanged, lay_out, rows, usual
from ringleader.runtime.comm.ops import Op, find_op
from ringleader.runtime.comm.settings import CHOICE, NOTHING, Settings
from ringleader.runtime.comm.transport import Channel, Request, Transport
from ringleader.runtime.comm.work import InFlight, Work, place

if TYPE_CHECKING:
    from ringleader.runtime.comm.engine import NativeWork

TIMEOUT = 300.0  # seconds that a call waits for other ranks before it says who is missing
SHORTENED = "shortened"
IN_FLIGHT = 32  # asynchronous calls under way at once; the next one waits for the oldest

Method = TypeVar("Method", bound=Callable[..., Any])


def shortened(method: Method) -> Method:
    """A method of a Communicator that the engine stands before: calls that it knows do not come here."""
    setattr(method, SHORTENED, True)
    return method


@cache
def _help(method: Callable[..., Any]) -> str:
    """Signature and docstring, as CPython wants them of a function in C."""
    given = [p.replace(annotation=p.empty) for p in list(inspect.signature(method).parameters.values())[1:]]
    signature = inspect.Signature(given)
    return f"{method.__name__}{signature}\n--\n\n{inspect.getdoc(method)}"


class Handle:
    """A call under way (``async_op=True``). Calls must be started in the same order on all ranks; they
    may be waited for in any order. Waiting for any call keeps all others of this rank moving."""

    def __init__(
        self, comm: Caller, number: int, work: InFlight | NativeWork | None, call: Call
    ) -> None:  # fmt: skip
        """Without ``work`` the call is already complete."""
        self._comm, self._number, self._work, self._call = comm, number, work, call
        self._done = work is None
        self._awaited = False
        self._result: Any = call.finish(False) if work is None else None

    def __del__(self) -> None:
        if not self._awaited and self._done:
            warnings.warn(
                f"rank {self._comm._transport.rank}: call {self._number} on communicator {self._comm.name!r}, "
                f"{self._call.signature}, was started with async_op=True and never waited for. It is complete, "
                "but was its result used before it was? Call wait() on what the call returned.",
                RuntimeWarning, stacklevel=2,
            )  # fmt: skip

    def test(self) -> bool:
        """Has it completed? Never blocks; over threads and MPI, call it now and then to keep the transfer
        moving."""
        self._awaited = True
        return self._advance() is None

    def wait(self, timeout: float | None = None) -> Any:
        """Block until it has completed; returns the array. CollectiveTimeout after ``timeout`` seconds
        (default: the communicator's)."""
        self._awaited = True
        self._comm._complete(self, timeout)
        return self._result

    def watch(self, waited: float = 0.0) -> None:
        """For loops around ``test``, now and then: raise if ranks disagree or have gone, or if ``waited``
        seconds are over the communicator's time limit. Never blocks while all is well."""
        blocked = self._advance()
        if blocked is not None:
            try:
                self._comm._agreement.watch(self._number, blocked, waited, self._comm.timeout)
            except BaseException:
                self._comm._give_up()
                raise

    def _advance(self) -> Request | None:
        if self._done or self._work is None:
            return None
        blocked = self._work.advance()
        if blocked is None:
            self._result, self._done = self._call.finish(self._work.divides), True
            self._comm._pending.remove(self)
        return blocked


class Caller:
    """What a Communicator does behind its methods."""

    def __init__(
        self, transport: Transport, name: str = "world", timeout: float = TIMEOUT,
        pending: list[Handle] | None = None, settings: Settings = NOTHING,
    ) -> None:  # fmt: skip
        self._transport, self.name, self.timeout = transport, name, timeout
        self._engine = transport.engine
        for collective, quick in self._engine.quick.items() if self._engine else ():
            method = getattr(self, collective)
            if getattr(method, SHORTENED, False):  # not where a subclass has its own
                setattr(self, collective, quick.before(collective, _help(method.__func__), method))
        self._calls = self._engine.calls if self._engine else Calls()
        self._agreement = Agreement(transport, self._calls, name, timeout)
        self._tune(settings)
        self._log = Log(name) if CHOICE in settings.log and transport.rank == 0 else None
        self._limit = timeout  # of the native call under way
        if self._engine:
            self._engine.caller.watch = self._look
        self._pending: list[Handle] = [] if pending is None else pending  # of this rank, all communicators
        self._children: list[Caller] = []

    def _call(
        self, collective: str, x: Any, *, out: Any = None, op: str | Op | None = None, root: int = 0,
        counts: Sequence[int] | None = None, algorithm: str | Schedule = AUTO, async_op: bool = False,
        what: str | None = None,
    ) -> Any:  # fmt: skip
        """One collective call. ``what``: its name in messages, if it serves something else."""
        rank, n = self._transport.rank, self._transport.size

        def check() -> Call:
            if not 0 <= root < n:
                raise ValueError(f"root {root} is out of range for {n} ranks (0 ... {n - 1})")
            layout = lay_out(collective, x, out, root, counts, rank, n)
            operation = None if op is None else find_op(op, layout.dtype)
            if operation and operation.divide and collective in ("scan", "exscan"):
                raise ValueError(f"op 'mean' means nothing in {collective}; use 'sum' and divide")
            given = root if collective == "broadcast" else op
            quick = (x, given, algorithm) if what is None and usual(x) else None
            return self._ready(collective, layout, operation, root, counts is None, algorithm, what, quick)

        return self._run(what or collective, check, async_op)

    def _known_counts(
        self, collective: str, x: Any, counts: Sequence[int] | bool | None
    ) -> Sequence[int] | None:
        """Rows of every rank's x. True: this rank knows only its own, so all ranks are asked."""
        n = self._transport.size

        def check() -> Call:
            layout = lay_out("allgather", np.array([rows(x)]), None, 0, None, self._transport.rank, n)
            return self._ready("allgather", layout, None, 0, True, AUTO, f"{collective}, row counts")

        if counts is True:
            asked: list[int] = self._run(collective, check, False).tolist()
            return asked
        return None if counts is None or counts is False else counts

    def _exchange(
        self, x: Any, out: Any, sent: Sequence[int], known: Sequence[int] | None,
        algorithm: str | Schedule, async_op: bool,
    ) -> Any:  # fmt: skip
        """AllToAll of unequal blocks: unless ``known``, their sizes go ahead, so that each rank knows what it
        gets."""
        n = self._transport.size

        def sizes() -> Call:
            checked = checked_counts(sent, n, rows(x))
            told = np.array([[count, sum(checked)] for count in checked])
            layout = lay_out("alltoall", told, None, 0, None, self._transport.rank, n)
            return self._ready("alltoall", layout, None, 0, True, AUTO, "alltoall, row counts")

        received, most = [] if known is None else known, None
        if known is None:
            told = self._run("alltoall", sizes, False)
            received, most = told[:, 0].tolist(), int(told[:, 1].max())

        def check() -> Call:
            layout = exchanged(x, out, checked_counts(sent, n, rows(x)), checked_counts(received, n), most)
            return self._ready("alltoall", layout, None, 0, False, algorithm, None)

        return self._run("alltoall", check, async_op)

    def _ready(
        self, collective: str, layout: Layout, op: Op | None, root: int, equal: bool,
        algorithm: str | Schedule, what: str | None, quick: tuple[Any, Any, Any] | None = None,
    ) -> Call:  # fmt: skip
        n = self._transport.size
        suits = algorithm == AUTO and self._transport.vendor_suits(collective, layout.dtype, op, equal)
        chosen = choose(collective, algorithm, n, root, layout.nbytes, op, equal, suits, self._chooser)
        if self._log and n > 1:
            self._tell(what or collective, layout, op, equal, chosen)
        schedule = chosen.schedule
        if schedule is None:
            refusal = self._transport.vendor_refuses(collective, layout.dtype, op, equal)
            if refusal:
                raise ValueError(refusal)
        writes = schedule is None or program(schedule, self._transport.rank).writes_output
        buffers = layout.load(writes)

        def finish(divided: bool) -> Any:
            result = layout.result(buffers)
            if op is not None and op.divide and layout.gets and not divided:
                np.divide(result, n, out=result)
            return result

        shown = root if COLLECTIVES[collective].rooted else None
        text, digest = signature(what or collective, layout.agreed, op.name if op else "", shown, schedule)
        return Call(collective, schedule, text, digest, op, root, layout.sizes, buffers, finish, quick)

    def _run(self, collective: str, check: Callable[[], Call], async_op: bool) -> Any:
        """Check the arguments, agree, start; wait unless asynchronous."""
        try:
            call = self._checked(collective, check)
            while len(self._pending) >= IN_FLIGHT:
                self._pending[0].wait()
            number = self._agreement.enter(call.signature, call.digest)
        except CollectiveError:
            if self._agreement.broken:
                self._give_up()  # what is under way cannot end any more
            raise
        if call.schedule is None:
            self._vendor(call, number)
            handle = Handle(self, number, None, call)
        elif self._engine and (plan := self._engine.plan(call, self._transport.rank)):
            if not async_op:
                return call.finish(self._native(call, plan, number))
            handle = Handle(self, number, self._engine.start(call, plan, number), call)
            self._pending.append(handle)
        else:
            handle = self._start(call, call.schedule, number)
        return handle if async_op else handle.wait()

    def _checked(self, collective: str, check: Callable[[], Call]) -> Call:
        """The call that ``check`` makes; all ranks raise if its arguments are wrong."""
        try:
            return check()
        except (TypeError, ValueError) as error:
            if self._transport.size == 1:
                raise
            self._agreement.refuse(collective, f"{type(error).__name__}: {error}")

    def _native(self, call: Call, plan: Any, number: int) -> bool:
        assert self._engine is not None
        self._limit = self.timeout
        try:
            return self._engine.run(call, plan, number)
        except BaseException:
            self._give_up()
            raise

    def _look(self, number: int, missing: int, waited: float) -> None:
        """The engine has waited for some milliseconds: keep other calls moving, and raise if it waits in vain."""
        assert self._engine is not None
        for other in list(self._pending):
            if isinstance(other._work, InFlight):
                other._advance()
        try:
            self._agreement.watch(number, self._engine.awaited(number, missing), waited, self._limit)
        except BaseException:
            self._give_up()  # here, since a call that the engine recognised has no frame of ours around it
            raise

    def _complete(self, handle: Handle, timeout: float | None) -> None:
        if not isinstance(handle._work, InFlight) and handle._work is not None and not handle._done:
            self._limit = self.timeout if timeout is None else timeout
            try:
                handle._work.wait()
            except BaseException:
                self._give_up()
                raise
            finally:
                self._limit = self.timeout  # of calls that the engine recognises without asking
        self._wait(handle._advance, handle._number, timeout)

    def _start(self, call: Call, schedule: Schedule, number: int) -> Handle:
        work = self._transport.work_for(call, number)
        if work is None:
            placed = place(program(schedule, self._transport.rank), call.sizes)
            channel = Channel(number, call.digest, synchronous=COLLECTIVES[call.collective].one_way)
            work = Work(self._transport, placed, call.buffers, ufunc_of(call.op), channel)
        handle = Handle(self, number, work, call)
        self._pending.append(handle)
        work.advance()
        return handle

    def _vendor(self, call: Call, number: int) -> None:
        """The vendor's collective carries no signature, so the ranks first agree by a barrier of ours."""
        schedule = choose("barrier", AUTO, self._transport.size, 0, 0).schedule
        assert schedule is not None
        nothing = {"output": np.empty(0)}
        agreeing = replace(
            call, collective="barrier", op=None, sizes=0, buffers=nothing, finish=lambda _: None
        )
        self._start(agreeing, schedule, number).wait()
        try:
            self._transport.vendor(call.collective, call.buffers, call.op, call.root, call.sizes)
        except RankLost:
            self._agreement.abandon(number)

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
            handle._awaited = True
            if handle._work is not None:
                handle._work.cancel()
            self._pending.remove(handle)

    def _tune(self, settings: Settings) -> None:
        """From now on "auto" asks their table; where there is none, what suits the transport."""
        self._settings = settings
        table = settings.table(self._transport.name, self._transport.nodes)
        self._chooser = Chooser(table, self._transport.untuned)
        if self._engine:
            self._engine.forget()

    def _tell(self, what: str, layout: Layout, op: Op | None, equal: bool, chosen: Chosen) -> None:
        assert self._log is not None
        kind = [str(layout.dtype)] + ([op.name] if op else []) + ([] if equal else ["unequal blocks"])
        moves = what not in ("barrier", "split")
        self._log(what, layout.nbytes if moves else None, kind, self._transport.size, chosen)

    def _drain(self) -> None:
        """Complete what was started and never waited for, so that other ranks get their data."""
        while self._pending:
            handle = self._pending[0]
            self._complete(handle, None)

    def _set_timeout(self, seconds: float) -> None:
        for comm in self._family():
            comm.timeout = comm._limit = comm._agreement.timeout = seconds

    def _family(self) -> list[Caller]:
        """This communicator and all split from it."""
        return [self] + [c for child in self._children for c in child._family()]

    def _listen(self, state: str) -> None:
        """After the last call: answer ranks that still ask, and raise with them."""
        for comm in self._family():
            comm._agreement.hear_out(state)
