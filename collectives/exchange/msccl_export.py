"""From a schedule to MSCCL-IR: the programs of all ranks, one threadblock per peer and direction.

Each rank sends to a peer in one threadblock, receives from a peer in another, and does its local work in a
third, so that nothing waits that the program would not let wait. What a program's ``after`` asks for across
threadblocks becomes ``depid`` and ``deps``; a step has room for one, so further ones stand on ``nop`` steps
above it. The stage, where lowering keeps what is not yet folded, becomes scratch.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from ringleader.collectives.exchange.msccl import LAYOUTS, Chunks, printable
from ringleader.collectives.lower import lower
from ringleader.collectives.program import STAGE, Cells, Instruction, Program, each_cell
from ringleader.collectives.schedule import Schedule

PRIVATE = "private"  # buffer in which a rank folds when it must leave its input alone
SPARE = "spare"  # buffer for the operands of a fold that stand before its target
MOST_CHUNKS = 71  # that a step may move, in the executors

Peers = tuple[int, int]  # whom a threadblock sends to and receives from: they name it
LOCAL: Peers = (-1, -1)


def export_msccl(schedule: Schedule, path: str | os.PathLike[str] | None = None) -> str:
    """The schedule as MSCCL-IR XML, written to ``path`` as well if that is given.

    ``import_msccl`` reads it back, ``verify`` proves it again. Everything is in place but AllToAll, and rank
    order is not promised: MSCCL knows commutative operations only. Executors have limits of their own that
    are not checked here; msccl-executor-nccl takes 64 steps a threadblock unless built for more.
    """
    coll = _coll(schedule)
    assert schedule.collective is not None
    gpus = [_Gpu(_spared(schedule, lower(schedule, rank)), coll) for rank in range(schedule.n)]
    _exchange(gpus)
    in_place = schedule.collective.in_place
    attributes: dict[str, str | int] = {
        "name": printable(schedule.name), "proto": "Simple", "nchannels": 1,
        "nchunksperloop": schedule.size("output"), "ngpus": schedule.n, "coll": coll,
        "inplace": int(in_place), "outofplace": int(not in_place), "minBytes": 0, "maxBytes": 0,
    }  # fmt: skip
    if schedule.collective.rooted:
        attributes["root"] = schedule.root
    algo = ElementTree.Element("algo", _text(attributes))
    for gpu in gpus:
        gpu.build()
        gpu.write(algo, schedule)
    ElementTree.indent(algo)
    xml = ElementTree.tostring(algo, encoding="unicode").replace(" />", "/>") + "\n"
    if path is not None:
        Path(path).write_text(xml, encoding="utf-8")
    return xml


def _text(attributes: Mapping[str, str | int]) -> dict[str, str]:
    return {key: str(value) for key, value in attributes.items()}


def _coll(schedule: Schedule) -> str:
    names = {layout.collective.name: coll for coll, layout in reversed(LAYOUTS.items())}
    what = schedule.collective.name if schedule.collective else "a fragment"
    if what not in names:
        raise ValueError(f"export_msccl: MSCCL-IR cannot say {what}; it can say {', '.join(sorted(names))}")
    return names[what]


def _spared(schedule: Schedule, program: Program) -> Program:
    """A reduce leaves the input of a rank that is not the root alone: if that folds, it does so in a copy."""
    assert schedule.collective is not None
    if schedule.collective.name != "reduce" or program.rank == schedule.root or not program.writes_output:
        return program

    def moved(cells: tuple[Cells, ...]) -> tuple[Cells, ...]:
        return tuple(c._replace(buffer=PRIVATE) if c.buffer == "output" else c for c in cells)

    whole = (Cells("output", 0, program.slots, 0),)
    instructions = [Instruction("copy", program.rank, whole, moved(whole), (), 0)]
    for i in program.instructions:
        after = tuple(j + 1 for j in i.after) or (0,)
        instructions.append(i._replace(src=moved(i.src), dst=moved(i.dst), after=after))
    return replace(program, instructions=tuple(instructions))


def _peers(i: Instruction) -> Peers:
    """The threadblock for an instruction."""
    return {"send": (i.peer, -1), "recv": (-1, i.peer)}.get(i.kind, LOCAL)


class _Run(NamedTuple):
    """``cnt`` chunks, consecutive at both ends."""

    src: Chunks
    dst: Chunks
    cnt: int


NOTHING = _Run(Chunks("i", -1), Chunks("o", -1), 0)


def _runs(src: Iterable[Chunks], dst: Iterable[Chunks]) -> list[_Run]:
    """Single chunks, from end to end, as runs that are as long as a step may be."""
    runs: list[_Run] = []
    for a, b in zip(src, dst, strict=True):
        if runs:
            s, d, cnt = runs[-1]
            if (a, b) == (
                s._replace(first=s.first + cnt),
                d._replace(first=d.first + cnt),
            ) and cnt < MOST_CHUNKS:
                runs[-1] = _Run(s, d, cnt + 1)
                continue
        runs.append(_Run(a, b, 1))
    return runs


class _Gpu:
    """One rank: where its buffers are, and its threadblocks, whose steps are kept as XML attributes."""

    def __init__(self, program: Program, coll: str) -> None:
        self.program = program
        self.ids = {peers: at for at, peers in enumerate(sorted(set(map(_peers, program.instructions))))}
        self.blocks: list[list[dict[str, str | int]]] = [[] for _ in self.ids]
        self.messages: dict[int, list[_Run]] = {}  # by the number of the instruction that sends or receives
        cells = [c for i in program.instructions for c in i.src + i.dst]
        private = program.scratch + program.stage
        spare = private + (program.slots if any(c.buffer == PRIVATE for c in cells) else 0)
        self.scratch = spare + max((_spare(i) for i in program.instructions), default=0)
        home = "o" if coll in ("allgather", "alltoall", "broadcast") else "i"
        self.places = {
            "input": Chunks("i", 0), "output": Chunks(home, 0), "scratch": Chunks("s", 0),
            STAGE: Chunks("s", program.scratch), PRIVATE: Chunks("s", private), SPARE: Chunks("s", spare),
        }  # fmt: skip

    def chunks(self, cells: tuple[Cells, ...]) -> Iterator[Chunks]:
        """Each chunk on its own."""
        for buffer, slot in each_cell(cells):
            name, first = self.places[buffer]
            yield Chunks(name, first + slot)

    def build(self) -> None:
        """All steps."""
        last: list[tuple[int, int]] = []  # of each instruction: its threadblock and its last step there
        seen: dict[tuple[int, int], int] = {}  # the last step of the second that the first has waited for
        for number, i in enumerate(self.program.instructions):
            me, needed = self.ids[_peers(i)], dict[int, int]()
            for block, step in sorted(last[j] for j in i.after):
                if block != me and step > seen.get((me, block), -1):
                    needed[block] = seen[me, block] = step  # of several in a threadblock, the last
            steps = [(i.kind[0], run) for run in self.messages.get(number, ())] or list(self._local(i))
            steps = [("nop", NOTHING)] * (len(needed) - 1) + steps
            waits = [*needed.items(), *[None] * len(steps)]
            for (kind, run), wait in zip(steps, waits):
                self._append(me, kind, run, wait)
            last.append((me, len(self.blocks[me]) - 1))

    def _append(self, me: int, kind: str, run: _Run, wait: tuple[int, int] | None) -> None:
        block, step = wait or (-1, -1)
        self.blocks[me].append({
            "s": len(self.blocks[me]), "type": kind, "srcbuf": run.src.buffer, "srcoff": run.src.first,
            "dstbuf": run.dst.buffer, "dstoff": run.dst.first, "cnt": run.cnt,
            "depid": block, "deps": step, "hasdep": 0,
        })  # fmt: skip
        if wait is not None:
            self.blocks[block][step]["hasdep"] = 1

    def _local(self, i: Instruction) -> Iterator[tuple[str, _Run]]:
        """A copy; or a fold, in the shape that it has: what stands before the target is first folded alone."""
        folded, target = list(i.src), i.dst[0]
        if i.kind == "copy":
            yield from self._moved("cpy", i.src[0], target)
            return
        at = folded.index(target)
        if _spare(i):
            spare = target._replace(buffer=SPARE, slot=0)
            yield from self._moved("cpy", folded[0], spare)
            for source in folded[1:at]:
                yield from self._moved("re", source, spare)
            folded[:at] = [spare]
        for source in folded:
            if source != target:
                yield from self._moved("re", source, target)

    def _moved(self, kind: str, source: Cells, target: Cells) -> Iterator[tuple[str, _Run]]:
        for run in _runs(self.chunks((source,)), self.chunks((target,))):
            yield kind, run

    def write(self, algo: ElementTree.Element, schedule: Schedule) -> None:
        """The <gpu> element."""
        sizes = {"i_chunks": 0, "o_chunks": 0, "s_chunks": self.scratch}
        assert schedule.collective is not None
        for buffer in ("output",) if schedule.collective.in_place else ("input", "output"):
            sizes[f"{self.places[buffer].buffer}_chunks"] = schedule.size(buffer)
        gpu = ElementTree.SubElement(algo, "gpu", _text({"id": self.program.rank, **sizes}))
        for (send, recv), at in self.ids.items():
            tb = ElementTree.SubElement(gpu, "tb", _text({"id": at, "send": send, "recv": recv, "chan": 0}))
            for step in self.blocks[at]:
                ElementTree.SubElement(tb, "step", _text(step))


def _spare(i: Instruction) -> int:
    """Chunks that a fold of two or more operands before its target needs on the way."""
    return i.dst[0].width if i.kind == "reduce" and i.src.index(i.dst[0]) > 1 else 0


def _exchange(gpus: Sequence[_Gpu]) -> None:
    """Find the runs of each message, which both its ends must cut alike."""
    ends: dict[tuple[int, int], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for gpu in gpus:
        for number, i in enumerate(gpu.program.instructions):
            if i.kind == "send":
                ends[gpu.program.rank, i.peer][0].append(number)
            elif i.kind == "recv":
                ends[i.peer, gpu.program.rank][1].append(number)
    for (a, b), (sends, receives) in ends.items():
        for send, receive in zip(sends, receives, strict=True):
            src, dst = gpus[a].program.instructions[send].src, gpus[b].program.instructions[receive].dst
            runs = _runs(gpus[a].chunks(src), gpus[b].chunks(dst))
            gpus[a].messages[send] = gpus[b].messages[receive] = runs
