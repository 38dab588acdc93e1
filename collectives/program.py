"""A program: what one rank runs. Instructions on cells, with what each must wait for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

STAGE = "stage"  # buffer that lowering adds: its slots are all as large as the largest slot


class Cells(NamedTuple):
    """``width`` slots of a buffer from ``slot`` on; as large as slots ``like`` ... of a block row."""

    buffer: str
    slot: int
    width: int
    like: int


def each_cell(cells: tuple[Cells, ...]) -> Iterator[tuple[str, int]]:
    """The (buffer, slot) of every single cell."""
    for c in cells:
        for slot in range(c.slot, c.slot + c.width):
            yield c.buffer, slot


class Instruction(NamedTuple):
    """One step.

    send: ``src`` packed into one message to ``peer``. recv: one message from ``peer`` unpacked into
    ``dst``. copy: ``src[0]`` to ``dst[0]``. reduce: ``dst[0]`` becomes the left fold of ``src``, in order.
    ``after``: indices of earlier instructions that must be complete before this one starts.
    """

    kind: Literal["send", "recv", "copy", "reduce"]
    peer: int
    src: tuple[Cells, ...]
    dst: tuple[Cells, ...]
    after: tuple[int, ...]
    round: int


@dataclass(frozen=True, eq=False)
class Program:
    """Instructions of one rank, started in this order, completed in any that ``after`` allows.

    Messages between two ranks match in order, so every transport needs only one stream per pair.
    ``slots``: slots of a block; ``stage``: staging slots needed.
    """

    rank: int
    n: int
    slots: int
    scratch: int
    stage: int
    instructions: tuple[Instruction, ...]

    @cached_property
    def writes_output(self) -> bool:
        """Does anything here write to the output? If not, it may be memory that must stay as it is."""
        return any(c.buffer == "output" for i in self.instructions for c in i.dst)
