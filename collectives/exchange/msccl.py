"""MSCCL-IR, the XML that MSCCL's executors run: its words, and where its chunks lie in our buffers.

A *gpu* (our rank) runs *threadblocks*, each an ordered list of *steps*. A threadblock sends to at most one gpu
and receives from at most one, both on its *channel*; messages between two gpus on one channel match in
order. A step moves ``cnt`` consecutive *chunks* (our slots) of the buffers ``i``, ``o`` and ``s`` (input,
output, scratch), after the step ``deps`` of threadblock ``depid`` of the same gpu; nothing else orders
threadblocks. Cowan et al., "MSCCLang: Microsoft Collective Communication Language" (2023).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ringleader.collectives.collective import COLLECTIVES, Collective

LONGEST_NAME = 100  # the executors have room for 255 bytes


def printable(name: str) -> str:
    """The name of an algorithm as it may stand in one line on a terminal."""
    return "".join(c if c.isprintable() else "?" for c in name[:LONGEST_NAME])


class Kind(NamedTuple):
    """What a step of some type does. It receives first, then folds or copies, then sends on."""

    receives: bool = False
    sends: bool = False
    reads: bool = False  # what is at src
    writes: bool = False  # dst
    folds: bool = False  # src with what was received; for ``re``: src into dst


KINDS = {
    "s": Kind(sends=True, reads=True),
    "r": Kind(receives=True, writes=True),
    "rcs": Kind(receives=True, writes=True, sends=True),
    "rrs": Kind(receives=True, reads=True, folds=True, sends=True),
    "rrc": Kind(receives=True, reads=True, folds=True, writes=True),
    "rrcs": Kind(receives=True, reads=True, folds=True, writes=True, sends=True),
    "cpy": Kind(reads=True, writes=True),
    "re": Kind(reads=True, folds=True, writes=True),
    "nop": Kind(),
}


class Layout(NamedTuple):
    """A collective, and whether its input and its output have a block per rank, or only one."""

    collective: Collective
    many_in: bool
    many_out: bool


LAYOUTS = {  # by ``coll``; the first name of a collective is the executors', the other msccl-tools'
    "allreduce": Layout(COLLECTIVES["allreduce"], False, False),
    "allgather": Layout(COLLECTIVES["allgather"], False, True),
    "reducescatter": Layout(COLLECTIVES["reduce_scatter"], True, False),
    "reduce_scatter": Layout(COLLECTIVES["reduce_scatter"], True, False),
    "alltoall": Layout(COLLECTIVES["alltoall"], True, True),
    "broadcast": Layout(COLLECTIVES["broadcast"], False, False),
    "reduce": Layout(COLLECTIVES["reduce"], False, False),
}


class Chunks(NamedTuple):
    """Consecutive chunks of a buffer from ``first`` on."""

    buffer: str
    first: int


class Cell(NamedTuple):
    """One chunk of a gpu. ``i`` and ``o`` are counted as our slots are, so that chunks that are one memory in
    place have one number. The importer has further buffers of its own, all of them scratch in the end."""

    gpu: int
    buffer: str
    slot: int


class Step(NamedTuple):
    """``dep``: (threadblock, step) that must be complete before. ``block``: index of its threadblock in
    ``Algo.blocks``; ``at``: its number there."""

    type: str
    src: Chunks
    dst: Chunks
    cnt: int
    dep: tuple[int, int] | None
    hasdep: bool
    block: int
    at: int
    line: int

    @property
    def kind(self) -> Kind:
        return KINDS[self.type]


@dataclass(frozen=True)
class Threadblock:
    """``send``, ``recv``: peers, or -1. ``first``: index of its first step in ``Algo.steps``."""

    gpu: int
    id: int
    send: int
    recv: int
    chan: int
    first: int
    line: int


@dataclass(frozen=True)
class Algo:
    """A whole file. ``slots``: chunks in a block."""

    name: str
    layout: Layout
    n: int
    slots: int
    in_place: bool
    root: int
    line: int
    blocks: list[Threadblock] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def size(self, buffer: str) -> int:
        """Chunks that ``i`` or ``o`` has."""
        many = self.layout.many_in if buffer == "i" else self.layout.many_out
        return self.slots * (self.n if many else 1)

    def shift(self, gpu: int, buffer: str) -> int:
        """A gpu's only block is counted as its own among the blocks of all ranks."""
        lone = self.size(buffer) == self.slots and (self.layout.many_in or self.layout.many_out)
        return gpu * self.slots if lone else 0

    def cells(self, gpu: int, chunks: Chunks, cnt: int) -> list[Cell]:
        """The cells of ``cnt`` chunks."""
        buffer, first = chunks
        if buffer != "s":
            first += self.shift(gpu, buffer)
            buffer = "o" if self.in_place else buffer
        return [Cell(gpu, buffer, slot) for slot in range(first, first + cnt)]

    def named(self, cell: Cell) -> str:
        """A cell in words, as the file counts it."""
        if self.in_place and cell.buffer == "o":
            return f"chunk {cell.slot} of buffer i/o on gpu {cell.gpu}"
        slot = cell.slot - (self.shift(cell.gpu, cell.buffer) if cell.buffer != "s" else 0)
        return f"chunk {slot} of buffer {cell.buffer} on gpu {cell.gpu}"

    def where(self, number: int) -> str:
        """A step in words."""
        step = self.steps[number]
        block = self.blocks[step.block]
        return f"gpu {block.gpu} tb {block.id} step {step.at} (line {step.line})"
