"""Calls that the native engine runs: ranks of one node, over shared memory (csrc/cpu)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from ringleader.collectives import COLLECTIVES, Schedule, build, tuning
from ringleader.collectives.program import STAGE
from ringleader.collectives.tuning import Choice, Model
from ringleader.csrc.cpu import _engine
from ringleader.runtime.comm.agreement import Calls
from ringleader.runtime.comm.arrival import COPY
from ringleader.runtime.comm.call import AUTO, EMPTY, Call, program
from ringleader.runtime.comm.errors import CollectiveError
from ringleader.runtime.comm.ops import OPS, Op
from ringleader.runtime.comm.transport import Request
from ringleader.runtime.comm.work import Placed, place

# What the engine's own messages cost, and the bytes up to which one-shot beats two-shot, on up to 4 ranks (on more,
# that many times 4 / n): measured on two cores of a Xeon. ``ringleader tune`` measures this machine.
SHARED = Model(alpha=0.5e-6, beta=1 / 8e9, gamma=1 / 20e9)
ONE_SHOT = 10 << 10
BUFFERS = {"input": 0, "output": 1, "scratch": 2, STAGE: 3}
# Calls with one operation or root at most, so recognised by array, that and algorithm: the name of the second
# parameter and its default, and the array of a call that has none.
QUICK: dict[str, tuple[str, Any, Any]] = {
    "allreduce": ("op", "sum", None), "broadcast": ("root", 0, None), "barrier": ("", None, EMPTY),
}  # fmt: skip
PLANS = 512  # remembered; the oldest is forgotten


def untuned(collective: str, n: int, nbytes: int, ordered: bool, equal: bool, vendor: bool = False) -> Choice:
    """What "auto" asks where nothing has been tuned."""
    if collective == "allreduce":
        return Choice("one-shot" if nbytes * max(n, 4) <= 4 * ONE_SHOT else "two-shot")
    if collective == "barrier":
        return Choice("one-shot")
    return tuning.choose(collective, n, nbytes, SHARED, ordered, equal, vendor)


def runs(op: Op | None, dtype: np.dtype[Any]) -> bool:
    """Can the engine fold with this operation? Without one it moves bytes, whatever they mean."""
    if op is None:
        return True
    fold = _fold(op)
    native = dtype.isnative and dtype.name in _engine.TYPES
    return native and OPS.get(op.name) == op and _engine.folds(fold, dtype.name)


def _fold(op: Op) -> str:
    return "sum" if op.divide else op.name


class EngineCalls(Calls):
    """Counted by the engine, which makes calls that Python does not see."""

    def __init__(self, caller: Any) -> None:
        self.caller = caller

    @property
    def next(self) -> int:  # type: ignore[override]
        return int(self.caller.calls)

    def enter(self, signature: str, digest: int) -> int:
        return int(self.caller.enter(digest, signature))

    def signature(self, number: int) -> str | None:
        text: str | None = self.caller.signature(number)
        return text

    def close(self) -> None:
        self.caller.close()


class Engine:
    """One communicator's calls. ``caller``: the native group, connected to its peers."""

    def __init__(self, caller: Any) -> None:
        self.caller = caller
        self.calls = EngineCalls(caller)
        self.quick = {name: _engine.Quick(caller, second, usual, AUTO, nothing)
                      for name, (second, usual, nothing) in QUICK.items()}  # fmt: skip
        self._plans: dict[Any, Any] = {}
        self._suspected: tuple[int, int] | None = None

    def forget(self) -> None:
        """What "auto" means has changed."""
        for known in self.quick.values():
            known.forget()

    def plan(self, call: Call, rank: int) -> Any | None:
        """How the engine runs it; None if it cannot."""
        assert call.schedule is not None
        output = call.buffers["output"]
        if not runs(call.op, output.dtype):
            return None
        key = call.signature, call.schedule, call.sizes
        found = self._plans.get(key)
        if found is None:
            if len(self._plans) >= PLANS:
                del self._plans[next(iter(self._plans))]
            found = self._plans[key] = _plan(call, rank, output)
        return found

    def run(self, call: Call, plan: Any, number: int) -> bool:
        """Blocking. Was a mean divided?"""
        self.caller.call(plan, number, call.buffers.get("input"), call.buffers["output"])
        if call.quick and call.collective in QUICK and (not call.op or not call.op.divide or plan.divides):
            self.quick[call.collective].remember(*call.quick, plan)
        return bool(plan.divides)

    def start(self, call: Call, plan: Any, number: int) -> NativeWork:
        return NativeWork(self, plan, number, call.buffers.get("input"), call.buffers["output"])

    def awaited(self, number: int, missing: int) -> Awaited:
        """Call ``number`` has been waiting for some milliseconds, for rank ``missing`` (or for several)."""
        return Awaited(self, number, int(self.caller.suspect(missing)))

    def is_deserted(self, number: int, rank: int) -> bool:
        """Has this call waited for this rank, which is gone, for two looks in a row? In between, all that the
        rank has still written was seen."""
        before, self._suspected = self._suspected, (number, rank)
        return before == (number, rank)


class Awaited(Request):
    """The call under way, as the agreement watches it."""

    is_recv = True
    tag = 0

    def __init__(self, engine: Engine, number: int, peer: int) -> None:
        self.engine, self.number, self.peer = engine, number, peer

    def test(self) -> bool:
        return not self.engine.is_deserted(self.number, self.peer)

    def cancel(self) -> None:
        """The engine has left the call when an error is raised."""

    def conflict(self) -> bool:
        return bool(self.engine.caller.conflict(self.number))


class NativeWork:
    """A call under way on the engine's own thread."""

    def __init__(self, engine: Engine, plan: Any, number: int, input: Any, output: Any) -> None:
        self.engine, self.number, self.divides = engine, number, bool(plan.divides)
        self.keep = input, output
        self.job = engine.caller.submit(plan, number, input, output)

    def advance(self) -> Request | None:
        if not self.job.done:
            return self.engine.awaited(self.number, self.job.missing)
        if self.job.error:
            raise CollectiveError(f"call {self.number} failed in the engine: {self.job.error}")
        return None

    def wait(self) -> None:
        """Until it is done; the communicator is asked now and then (see Caller._look)."""
        self.engine.caller.wait(self.job)

    def cancel(self) -> None:
        """Nothing touches the arrays any more when this returns."""
        self.engine.caller.stop(self.job)


def _plan(call: Call, rank: int, output: np.ndarray) -> Any:
    assert call.schedule is not None
    way = _way(call.collective, call.schedule, output.nbytes)
    divides = way != "program" and call.op is not None and call.op.divide and output.dtype.char in "fd"
    collective = COLLECTIVES[call.collective]
    placed = place(program(call.schedule, rank), call.sizes)
    native = _compiled(placed, output.itemsize) if way == "program" else None
    type_name, fold = (output.dtype.name, _fold(call.op)) if call.op else ("uint8", "sum")
    count = output.size if call.op else output.nbytes
    return _engine.Plan(
        way, call.digest, call.signature, type_name, fold, count, divides, collective.one_way, native
    )


def _way(collective: str, schedule: Schedule, nbytes: int) -> str:
    """One-shot and two-shot AllReduce, and the barrier, have ways of their own; all else is a program."""
    name = _special(collective, schedule.n).get(schedule.digest)
    if name == "two-shot" and nbytes:
        return "direct"
    if name is not None and nbytes <= _engine.SMALL:
        return "small"
    return "program"


@lru_cache(maxsize=64)
def _special(collective: str, n: int) -> dict[str, str]:
    names = {"allreduce": ("one-shot", "two-shot"), "barrier": ("one-shot",)}.get(collective, ())
    return {build(collective, name, n).digest: name for name in names}


def _compiled(placed: Placed, item: int) -> Any:
    """For the engine: in bytes, and with the places that messages end in."""
    steps = []
    for step in placed.steps:
        into, how = list(step.dst), [COPY] * len(step.dst)
        for j, entrance in enumerate(step.enter):
            if entrance is not None:
                into[j], how[j] = entrance
        steps.append((step.kind, step.peer, _bytes(step.src, item), _bytes(into, item), how, step.after))
    return _engine.Program(steps, placed.scratch * item, placed.stage * item)


def _bytes(spans: Any, item: int) -> list[tuple[int, int, int]]:
    return [(BUFFERS[name], start * item, (stop - start) * item) for name, start, stop in spans]
