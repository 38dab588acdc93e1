"""Running a program: start instructions in order, complete them in any order that they allow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from ringleader.collectives.program import STAGE, Cells, Program
from ringleader.runtime.comm.arrival import BEHIND, folded_on_arrival
from ringleader.runtime.comm.transport import Bytes, Channel, Request, Sizes, Transport

Span = tuple[str, int, int]  # buffer, first element, element after the last


class Entrance(NamedTuple):
    """A message that is folded into ``target`` as it arrives; ``side``: BEHIND or BEFORE."""

    target: Span
    side: int


class Step(NamedTuple):
    """An instruction with its cells as element ranges. ``after``: only the messages it waits for, since
    copies and reductions are complete as soon as they are started. ``enter``: for each of ``dst`` of a message
    what becomes of it (see ``arrival``), where it is not simply put there."""

    kind: str
    peer: int
    src: tuple[Span, ...]
    dst: tuple[Span, ...]
    after: tuple[int, ...]
    enter: tuple[Entrance | None, ...] = ()


class Placed(NamedTuple):
    """A program on buffers of a given size; ``scratch`` and ``stage`` are elements to provide."""

    steps: tuple[Step, ...]
    scratch: int
    stage: int


@lru_cache(maxsize=128)
def place(program: Program, sizes: Sizes, literally: bool = False) -> Placed:
    """Compile for blocks of these sizes. Slot s of k of a block of c elements is elements s*c//k ... .

    ``literally``: one step for each instruction; otherwise what can be is folded as it arrives (see ``arrival``).
    Unequal blocks need a schedule that keeps blocks (see Schedule.keeps_blocks).
    """
    k = program.slots
    offset = _offsets(sizes, k)
    blocks = [sizes] if isinstance(sizes, int) else [c for _, counts in sizes for c in counts]
    largest = max(-(-c // k) for c in blocks)

    def span(c: Cells) -> Span:
        start = c.slot * largest if c.buffer == STAGE else offset(c.buffer, c.slot)
        return c.buffer, start, start + offset(c.buffer, c.like + c.width) - offset(c.buffer, c.like)

    steps: list[Step] = []
    numbers: dict[int, int] = {}  # of messages, among the steps
    arriving = {} if literally else folded_on_arrival(program)
    moved = {reduction: message for (message, _), (reduction, _) in arriving.items()}
    for i, ins in enumerate(program.instructions):
        if i in moved:
            continue
        waits = {moved.get(a, a) for a in ins.after} - {i}
        after = tuple(sorted(numbers[a] for a in waits if a in numbers))
        if ins.kind in ("send", "recv"):
            numbers[i] = len(steps)
        enter = tuple(
            Entrance(span(program.instructions[arriving[i, j][0]].dst[0]), arriving[i, j][1])
            if (i, j) in arriving
            else None
            for j in range(len(ins.dst))
        )
        steps.append(
            Step(ins.kind, ins.peer, tuple(map(span, ins.src)), tuple(map(span, ins.dst)), after, enter)
        )
    return Placed(tuple(steps), offset("scratch", program.scratch), program.stage * largest)


def _offsets(sizes: Sizes, k: int) -> Callable[[str, int], int]:
    """First element of a slot of a buffer. What is staged is as large as where it came from: the output."""
    if isinstance(sizes, int):
        count = sizes
        return lambda buffer, slot: slot // k * count + slot % k * count // k
    blocks = {buffer: (*counts, 0) for buffer, counts in sizes}
    starts = {buffer: [0, *accumulate(counts)] for buffer, counts in sizes}

    def offset(buffer: str, slot: int) -> int:
        name = buffer if buffer in blocks else "output"
        block, part = divmod(slot, k)
        return starts[name][block] + part * blocks[name][block] // k

    return offset


class InFlight(ABC):
    """A call that goes on when somebody advances it."""

    divides = False  # a mean is divided by whoever waits for it

    @abstractmethod
    def advance(self) -> Request | None:
        """Go as far as possible without waiting: what is waited for, None when all is done."""

    @abstractmethod
    def cancel(self) -> None:
        """Give up: nothing touches the arrays any more."""


class Work(InFlight):
    """A program in flight on one rank. ``buffers``: 1-d contiguous arrays of one dtype by name."""

    def __init__(
        self, transport: Transport, placed: Placed, buffers: dict[str, NDArray[Any]],
        ufunc: Callable[..., Any], channel: Channel,
    ) -> None:  # fmt: skip
        self.transport, self.placed, self.ufunc, self.channel = transport, placed, ufunc, channel
        dtype = next(iter(buffers.values())).dtype
        self.buffers = dict(
            buffers, scratch=np.empty(placed.scratch, dtype), stage=np.empty(placed.stage, dtype)
        )
        self.next = 0
        self.open: dict[int, tuple[Request, Bytes | None]] = {}
        self.folded: dict[int, int] = {}  # elements of a message that have been folded already

    def advance(self) -> Request | None:
        steps = self.placed.steps
        while self.next < len(steps):
            step = steps[self.next]
            for message in step.after:
                if (blocked := self._pending(message)) is not None:
                    return blocked
            self._start(step)
            self.next += 1
        for message in list(self.open):
            if (blocked := self._pending(message)) is not None:
                return blocked
        return None

    def cancel(self) -> None:
        for request, _ in self.open.values():
            request.cancel()
        self.open.clear()

    def _pending(self, message: int) -> Request | None:
        """The request of this step if it is still under way; completes it otherwise."""
        if message not in self.open:
            return None
        request, packed = self.open[message]
        step = self.placed.steps[message]
        done = request.test()
        if packed is None and step.enter and step.enter[0] is not None:
            self._fold_in(message, step.dst[0], step.enter[0], request.received if not done else None)
        if not done:
            return request
        del self.open[message]
        if packed is not None:
            self._unpack(packed, step.dst)
            for span, entrance in zip(step.dst, step.enter):
                if entrance is not None:
                    self._fold_in(message, span, entrance, None)
        return None

    def _fold_in(self, message: int, span: Span, entrance: Entrance, received: int | None) -> None:
        """What has come of a message, ``received`` bytes of it (None: all), is folded while the rest comes."""
        arrived, target = self._view(span), self._view(entrance.target)
        start = self.folded.get(message, 0)
        stop = arrived.size if received is None else received // arrived.itemsize
        if stop > start:
            x, y = target[start:stop], arrived[start:stop]
            operands = (x, y) if entrance.side == BEHIND else (y, x)
            self.ufunc(*operands, out=x)
        self.folded[message] = stop if received is not None else 0

    def _view(self, span: Span) -> NDArray[Any]:
        name, start, stop = span
        return self.buffers[name][start:stop]

    def _start(self, step: Step) -> None:
        if step.kind == "send":
            parts = [self._view(s).view(np.uint8) for s in step.src]
            payload = parts[0] if len(parts) == 1 else np.concatenate(parts)
            self.open[self.next] = (self.transport.isend(payload, step.peer, self.channel), None)
        elif step.kind == "recv":
            if len(step.dst) == 1:
                view, packed = self._view(step.dst[0]).view(np.uint8), None
            else:
                view = packed = np.empty(sum(self._view(d).nbytes for d in step.dst), np.uint8)
            self.open[self.next] = (self.transport.irecv(view, step.peer, self.channel), packed)
        elif step.kind == "copy":
            np.copyto(self._view(step.dst[0]), self._view(step.src[0]))
        else:
            self._reduce([self._view(s) for s in step.src], self._view(step.dst[0]), step)

    def _unpack(self, packed: Bytes, spans: tuple[Span, ...]) -> None:
        at = 0
        for span in spans:
            target = self._view(span).view(np.uint8)
            target[:] = packed[at : at + target.size]
            at += target.size

    def _reduce(self, operands: list[NDArray[Any]], target: NDArray[Any], step: Step) -> None:
        """Left fold in order. The target may be an operand: it is overwritten only in the last fold."""
        value = operands[0]
        for i, operand in enumerate(operands[1:], start=2):
            last = i == len(operands) or step.dst[0] not in step.src[i:]
            value = self.ufunc(value, operand, out=target if last else None)
