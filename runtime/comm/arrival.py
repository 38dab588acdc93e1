"""Which messages can be folded into their place as they arrive, instead of being staged first."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ringleader.collectives import Program
from ringleader.collectives.program import STAGE

COPY, BEHIND, BEFORE = 0, 1, 2  # how a message enters its place: replaced; place op message; message op place


@lru_cache(maxsize=128)
def folded_on_arrival(whole: Program) -> dict[tuple[int, int], tuple[int, int]]:
    """(message, place in it) -> (the reduction that does nothing but fold it into a cell, which side it is on).

    The reduction may move up to the message if all else that it waits for comes before the message, and if the
    messages among that (or folded on arrival themselves) are waited for by the message itself: a receive that
    waited for more than before might wait for ever.
    """
    instructions = whole.instructions
    messages = {i for i, ins in enumerate(instructions) if ins.kind in ("send", "recv")}
    readers: dict[Any, list[int]] = {}
    for i, ins in enumerate(instructions):
        for cells in ins.src:
            readers.setdefault(cells, []).append(i)
    found: dict[tuple[int, int], tuple[int, int]] = {}
    moved: dict[int, int] = {}  # reduction -> its message
    for i, ins in enumerate(instructions):
        if ins.kind != "recv":
            continue
        for j, cells in enumerate(ins.dst):
            later = [r for r in readers.get(cells, ()) if r > i]
            if cells.buffer != STAGE or not later:
                continue
            reduce = instructions[later[0]]
            target = reduce.dst[0] if reduce.dst else None
            if reduce.kind != "reduce" or set(reduce.src) != {cells, target} or len(reduce.src) != 2:
                continue
            others = set(reduce.after) - {i}
            known = {moved.get(a, a) for a in ins.after}
            if all(a < i for a in others) and {moved.get(a, a) for a in others} & messages <= known:
                moved[later[0]] = i
                found[i, j] = (later[0], BEHIND if reduce.src[1] == cells else BEFORE)
    return found
