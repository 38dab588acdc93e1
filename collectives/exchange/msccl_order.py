"""What happens before what in an MSCCL algorithm: deadlocks, data races, reads of what nobody wrote.

A step happens after the one above it in its threadblock, after the one that it names, and, if it receives,
after the step that sends. Sends do not wait for their receives: MSCCL's connections are buffered. Steps that
touch one chunk of a gpu, one of them writing, must be ordered by that; otherwise the result hangs on timing.
Vector clocks: Mattern, "Virtual time and global states of distributed systems" (1989).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from ringleader.collectives.exchange.msccl import Algo, Cell, Step

MOST_MEMORY = 1 << 26  # entries of all clocks that are kept at a time: 256 MiB
MOST_TIME = 1 << 31  # entries of all clocks: seconds
SHOWN = 4  # steps of a deadlock named in the message

Link = tuple[int, int, int]  # sender, receiver, channel
Clock = NDArray[np.int32]


def order(algo: Algo) -> Order:
    """Sort the steps and check them. ValueError names the line of what is wrong."""
    found = Order(algo)
    _Accesses(found).check()
    return found


def wrong(step: Step, text: str) -> ValueError:
    return ValueError(f"line {step.line}: <step s='{step.at}' type='{step.type}'>: {text}")


class Order:
    """``steps``: all of them, each after those it waits for. ``sender_of``: for each step that receives, the
    step that sends what it gets.

    ``displaced``, as (gpu, slot): chunks of ``i`` that cannot stay where our collective has its input, because they
    are written, or still read when the chunk of ``o`` of that number, with which they would share memory, is.
    """

    def __init__(self, algo: Algo) -> None:
        self.algo = algo
        self.sender_of = _matched(algo)
        self.displaced: set[tuple[int, int]] = set()
        self.steps = self._sorted()

    def waits_for(self, number: int) -> Iterator[int]:
        """What must be complete just before a step: the one above it, the one it names, its sender."""
        step = self.algo.steps[number]
        if step.at:
            yield number - 1
        yield from self.across(number)

    def across(self, number: int) -> Iterator[int]:
        """Those in other threadblocks."""
        step = self.algo.steps[number]
        if step.dep is not None:
            yield self.algo.blocks[step.dep[0]].first + step.dep[1]
        if number in self.sender_of:
            yield self.sender_of[number]

    def _sorted(self) -> list[int]:
        """Kahn's algorithm. What has just become ready goes first, so that few clocks are needed at a time."""
        total = len(self.algo.steps)
        taken: list[int] = []
        waiting = [0] * total
        followers: dict[int, list[int]] = defaultdict(list)
        for number in range(total):
            for earlier in self.waits_for(number):
                followers[earlier].append(number)
                waiting[number] += 1
        ready = [number for number in reversed(range(total)) if not waiting[number]]
        while ready:
            taken.append(ready.pop())
            for follower in followers.pop(taken[-1], ()):
                waiting[follower] -= 1
                if not waiting[follower]:
                    ready.append(follower)
        if len(taken) < total:
            raise self._deadlock(set(range(total)) - set(taken))
        return taken

    def _deadlock(self, stuck: set[int]) -> ValueError:
        """Follow what is waited for until a step comes again: that is the circle."""
        path: list[int] = []
        place: dict[int, int] = {}
        number = min(stuck)
        while number not in place:
            place[number] = len(path)
            path.append(number)
            number = next(earlier for earlier in self.waits_for(number) if earlier in stuck)
        circle = path[place[number] :]
        text = ", which waits for ".join(
            self.algo.where(step) for step in [*circle[:SHOWN], circle[0]][: SHOWN + 1]
        )
        return ValueError(f"line {self.algo.steps[number].line}: deadlock of {len(circle)} steps: {text}")


def _matched(algo: Algo) -> dict[int, int]:
    """The k-th step that receives on a link gets what the k-th one sends."""
    sends: dict[Link, list[int]] = defaultdict(list)
    receives: dict[Link, list[int]] = defaultdict(list)
    for number, step in enumerate(algo.steps):
        block = algo.blocks[step.block]
        if step.kind.sends:
            _append(algo, sends[block.gpu, block.send, block.chan], number, "sends to")
        if step.kind.receives:
            _append(algo, receives[block.recv, block.gpu, block.chan], number, "receives from")
    sender_of = {}
    for link in sorted(sends.keys() | receives.keys()):
        there, here = sends[link], receives[link]
        if len(there) != len(here):
            extra = (there if len(there) > len(here) else here)[min(len(there), len(here))]
            a, b, chan = link
            text = (
                f"gpu {a} sends gpu {b} {len(there)} messages on channel {chan}, which receives {len(here)}"
            )
            raise wrong(algo.steps[extra], text)
        for sender, receiver in zip(there, here):
            sent, taken = algo.steps[sender], algo.steps[receiver]
            if sent.cnt != taken.cnt:
                raise wrong(
                    taken, f"receives {taken.cnt} chunks, but its sender (line {sent.line}) sends {sent.cnt}"
                )
            sender_of[receiver] = sender
    return sender_of


def _append(algo: Algo, steps: list[int], number: int, does: str) -> None:
    """Two threadblocks on one link would race for it."""
    step = algo.steps[number]
    if steps and algo.steps[steps[-1]].block != step.block:
        other = algo.blocks[algo.steps[steps[-1]].block]
        raise wrong(
            step, f"threadblock {other.id} (line {other.line}) {does} the same gpu on the same channel"
        )
    steps.append(number)


class _Accesses:
    """Who wrote each cell last, and who has read it since, by threadblock."""

    def __init__(self, found: Order) -> None:
        self.found, self.algo = found, found.algo
        self.asked: dict[int, int] = defaultdict(int)  # how many steps of other threadblocks wait for a step
        for number in found.steps:
            for earlier in found.across(number):
                self.asked[earlier] += 1
        telling = sorted({self.algo.steps[number].block for number in self.asked})
        self.column = {block: at for at, block in enumerate(telling)}  # in a clock
        self.clock: Clock = np.zeros(0, np.int32)
        self.writer: dict[Cell, int] = {}
        self.readers: dict[Cell, dict[int, int]] = defaultdict(dict)
        self.input_readers: dict[Cell, dict[int, int]] = defaultdict(dict)  # since o, there, was last written
        self.overwritten: set[Cell] = set()  # chunks of o that hold more than the chunk of i of their number

    def check(self) -> None:
        for number, clock in self._clocks():
            self.clock = clock
            step = self.algo.steps[number]
            gpu = self.algo.blocks[step.block].gpu
            src = self.algo.cells(gpu, step.src, step.cnt) if step.kind.reads else []
            dst = self.algo.cells(gpu, step.dst, step.cnt) if step.kind.writes else []
            if src != dst and not set(src).isdisjoint(dst):
                raise wrong(step, "what it reads and what it writes overlap")
            for cell in src + dst if step.type == "re" else src:
                self._read(number, cell)
            for cell in dst:
                self._write(number, cell)
            self._displace(number, src, dst)
        self._complete()

    def _complete(self) -> None:
        """Out of place, what is promised of ``o`` must have been written there: in our buffers, where ``i`` is the
        same memory, ``verify`` could not tell."""
        algo, ours = self.algo, self.algo.layout.collective
        if algo.in_place or not ours.in_place:
            return
        promise = ours.promise(algo.n, algo.slots, algo.root)
        for gpu, slot in np.argwhere(promise.lo >= 0).tolist():
            cell = Cell(gpu, "o", slot)
            if cell not in self.writer:
                text = f"nothing is written to {algo.named(cell)}, which is promised a result"
                raise ValueError(f"line {algo.line}: <algo inplace='0'>: {text}")

    def _clocks(self) -> Iterator[tuple[int, Clock]]:
        """Each step with how many steps are complete when it starts, for threadblocks that others wait for."""
        steps, width = self.algo.steps, len(self.column)
        if len(steps) * width > MOST_TIME:
            raise self._too_many()
        kept: dict[int, Clock] = {}
        current: dict[int, Clock] = {}
        for number in self.found.steps:
            step = steps[number]
            clock = current.pop(step.block) if step.at else np.zeros(width, np.int32)
            for earlier in self.found.across(number):
                np.maximum(clock, kept[earlier], out=clock)
                self.asked[earlier] -= 1
                if not self.asked[earlier]:
                    del kept[earlier]
            yield number, clock
            if step.block in self.column:
                clock[self.column[step.block]] = step.at + 1
            if self.asked.get(number):
                kept[number] = clock.copy()
            if number + 1 < len(steps) and steps[number + 1].block == step.block:
                current[step.block] = clock
            if (len(kept) + len(current)) * width > MOST_MEMORY:
                raise self._too_many()

    def _too_many(self) -> ValueError:
        text = f"{len(self.algo.steps)} steps in {len(self.algo.blocks)} threadblocks are too many to check"
        return ValueError(f"line {self.algo.line}: <algo>: {text}")

    def _before(self, earlier: int, number: int) -> bool:
        """Is ``earlier`` complete when ``number``, whose clock is set and which comes later, starts?"""
        step = self.algo.steps[earlier]
        if step.block == self.algo.steps[number].block:
            return True
        return step.block in self.column and bool(self.clock[self.column[step.block]] > step.at)

    def _read(self, number: int, cell: Cell) -> None:
        writer = self.writer.get(cell)
        if writer is None and (cell.buffer == "s" or (cell.buffer == "o" and not self.algo.in_place)):
            raise wrong(
                self.algo.steps[number], f"reads {self.algo.named(cell)}, which nothing has written before"
            )
        if writer is not None and not self._before(writer, number):
            raise self._race(writer, number, cell)
        self.readers[cell][self.algo.steps[number].block] = number

    def _write(self, number: int, cell: Cell) -> None:
        others = list(self.readers.pop(cell, {}).values())
        others += [self.writer[cell]] if cell in self.writer else []
        for other in others:
            if not self._before(other, number):
                raise self._race(other, number, cell)
        self.writer[cell] = number

    def _race(self, other: int, number: int, cell: Cell) -> ValueError:
        text = f"data race for {self.algo.named(cell)}: neither it nor {self.algo.where(other)} waits for the other"
        return wrong(self.algo.steps[number], text)

    def _displace(self, number: int, src: list[Cell], dst: list[Cell]) -> None:
        """A copy of ``i`` to the same chunk of ``o`` does nothing if both share memory, which is right as long as
        nothing else has been written there."""
        step = self.algo.steps[number]
        pairs = zip(src, dst) if step.type == "cpy" else ()
        same = {(a, b) for a, b in pairs if a.buffer == "i" and a._replace(buffer="o") == b}
        idle = {cell for pair in same if pair[1] not in self.overwritten for cell in pair}
        for cell in src if self.algo.layout.collective.in_place else []:
            if cell.buffer == "i" and cell not in idle:
                self.input_readers[cell][step.block] = number
                if cell._replace(buffer="o") in self.overwritten:
                    self.found.displaced.add((cell.gpu, cell.slot))
        for cell in dst:
            if cell.buffer == "i":
                self.found.displaced.add((cell.gpu, cell.slot))
            elif cell.buffer == "o" and cell not in idle:
                self.overwritten.add(cell)
                readers = self.input_readers.pop(cell._replace(buffer="i"), {})
                if not all(self._before(reader, number) for reader in readers.values()):
                    self.found.displaced.add((cell.gpu, cell.slot))
