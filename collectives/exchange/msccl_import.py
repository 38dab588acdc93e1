"""From MSCCL-IR to a schedule.

Where things go. The chunk is our slot. A chunk of ``o`` is the slot of its number in our output. In place,
``i`` is the same memory: where one of both has a single block, it is the gpu's own among the blocks of all
ranks. Out of place, ``i`` shares our output all the same, except for AllToAll (our input is a buffer of its own)
and except for chunks that this would spoil (see ``Order.displaced``): those are copied to scratch first.

When. Everything happens in the first round in which its data allow it, but the messages of a threadblock keep
their order, a round each, so that pipelines stay pipelines. A message is one transfer, in a round in which the
sender's cells still hold what is sent and the receiver's may already be written. Where no such round exists,
because a buffered message outlives its source, it goes through scratch on the receiver. A step that receives,
folds and sends without storing folds in scratch.
"""

from __future__ import annotations

import os
from collections import defaultdict, deque
from dataclasses import dataclass, field, replace

import numpy as np
from ringleader.collectives.exchange.msccl import Algo, Cell, Step
from ringleader.collectives.exchange.msccl_order import Order, order
from ringleader.collectives.exchange.msccl_read import read
from ringleader.collectives.schedule import COPY, Round, Schedule, Transfers

HOMES = {"i": "input", "o": "output"}
MOST_SCRATCH = 1 << 24  # scratch slots of all ranks together

Spot = tuple[str, int]  # buffer and slot of the schedule


def import_msccl(path_or_text: str | bytes | os.PathLike[str], root: int | None = None) -> Schedule:
    """The schedule of an MSCCL-IR file, or of its text (anything with a ``<``).

    What is wrong with the XML, deadlocks and data races are ValueErrors that name the line. Whether the
    collective is done right is for ``verify`` to say. ``root``: of broadcast and reduce; MSCCL-IR has no
    place for it (``export_msccl`` writes it into an attribute), so it is 0 unless said otherwise.
    """
    algo = read(path_or_text)
    if root is not None:
        if not 0 <= root < algo.n:
            raise ValueError(
                f"import_msccl: root {root} is out of range for {algo.n} gpus (0 ... {algo.n - 1})"
            )
        algo = replace(algo, root=root)
    found = order(algo)
    moves = _Moves(found, frozenset())
    level, held = _levels(moves)
    if held:
        moves = _Moves(found, frozenset(held))
        level, held = _levels(moves)
        assert not held, "with all messages of a circle in scratch, moves go the way of the steps"
    return _schedule(algo, moves, level)


@dataclass
class _Move:
    """Cells that are copied or folded at the same time. ``message``: the step that sends it, if one does."""

    src: list[Spot]
    folds: bool = False
    message: int | None = None
    src_gpu: int = 0
    dst_gpu: int = 0
    dst: list[Spot] = field(default_factory=list)


class _Moves:
    """All steps as moves. ``after[a, b]`` = 1: move b must be in a later round than a; 0: not in an earlier one.
    ``queued``: pairs of messages, of which the second should be in a later round.

    ``held``: steps whose messages go through scratch. ``written``: moves, in the order of their writes.
    """

    def __init__(self, found: Order, held: frozenset[int]) -> None:
        self.algo, self.found, self.held = found.algo, found, held
        self.moves: list[_Move] = []
        self.written: list[int] = []
        self.after: dict[tuple[int, int], int] = {}
        self.queued: set[tuple[int, int]] = set()
        self.latest: dict[tuple[int, str], int] = {}  # of a threadblock, sent and received
        self.writer: dict[Cell, int] = {}
        self.readers: dict[Cell, list[int]] = defaultdict(list)
        self.like: dict[Cell, int] = {}  # for scratch: the slot of a block that its value belongs to
        self.spots: dict[tuple[Cell, int], int] = {}
        self.used: dict[tuple[int, int], int] = defaultdict(int)
        self.flying: dict[
            int, tuple[int, list[int]]
        ] = {}  # of a message: its move, and the like of its values
        self._start()
        for number in found.steps:
            self._step(number, self.algo.steps[number])

    def _start(self) -> None:
        """Inputs that cannot stay where our collective has them."""
        algo, ours = self.algo, self.algo.layout.collective
        displaced: dict[int, list[int]] = defaultdict(list)
        for gpu, slot in sorted(self.found.displaced):
            displaced[gpu].append(slot)
        for gpu, slots in displaced.items():
            homes = [Cell(gpu, "o" if ours.in_place else "i", slot) for slot in slots]
            self._local(homes, [Cell(gpu, "displaced", slot) for slot in slots], folds=False)
        if algo.in_place and not ours.in_place:
            for gpu in range(algo.n):
                inputs = [Cell(gpu, "i", slot) for slot in range(algo.size("i"))]
                self._local(inputs, [cell._replace(buffer="o") for cell in inputs], folds=False)

    def _cells(self, gpu: int, step: Step, end: str) -> list[Cell]:
        cells = self.algo.cells(gpu, step.src if end == "src" else step.dst, step.cnt)
        return [self._home(cell) for cell in cells]

    def _home(self, cell: Cell) -> Cell:
        if cell.buffer != "i":
            return cell
        if (cell.gpu, cell.slot) in self.found.displaced:
            return cell._replace(buffer="displaced")
        return cell._replace(buffer="o") if self.algo.layout.collective.in_place else cell

    def _step(self, number: int, step: Step) -> None:
        kind, gpu = step.kind, self.algo.blocks[step.block].gpu
        src = self._cells(gpu, step, "src") if kind.reads else []
        dst = self._cells(gpu, step, "dst") if kind.writes else []
        if kind.receives and kind.folds:
            if not kind.writes:
                dst = [Cell(gpu, f"folded {number}", j) for j in range(step.cnt)]
            self._local(src, dst, folds=False)
        if kind.receives:
            self._queue(step, "received", self.flying[self.found.sender_of[number]][0])
            self._receive(self.found.sender_of[number], dst, kind.folds)
        elif kind.writes:
            self._local(src, dst, kind.folds)
        if kind.sends:
            self._send(number, dst if kind.receives else src)

    def _local(self, src: list[Cell], dst: list[Cell], folds: bool) -> None:
        pairs = [(s, d) for s, d in zip(src, dst) if s != d or folds]
        if pairs:
            src, dst = [s for s, _ in pairs], [d for _, d in pairs]
            move, like = self._read(src)
            self._write(move, dst, like, folds)

    def _send(self, number: int, src: list[Cell]) -> None:
        move, like = self._read(src)
        self.moves[move].message = number
        if number in self.held:
            receiver = self.algo.blocks[self.algo.steps[number].block].send
            box = [Cell(receiver, f"message {number}", j) for j in range(len(src))]
            self._write(move, box, like, folds=False)
        self.flying[number] = move, like
        self._queue(self.algo.steps[number], "sent", move)

    def _receive(self, number: int, dst: list[Cell], folds: bool) -> None:
        move, like = self.flying.pop(number)
        if number in self.held:
            self._local([Cell(dst[0].gpu, f"message {number}", j) for j in range(len(dst))], dst, folds)
        else:
            self._write(move, dst, like, folds)

    def _queue(self, step: Step, way: str, move: int) -> None:
        if (step.block, way) in self.latest:
            self.queued.add((self.latest[step.block, way], move))
        self.latest[step.block, way] = move

    def _read(self, src: list[Cell]) -> tuple[int, list[int]]:
        """A new move out of ``src``, and the slots of a block that its values belong to."""
        me = len(self.moves)
        self.moves.append(_Move([self._spot(cell) for cell in src], src_gpu=src[0].gpu))
        for cell in src:
            if cell in self.writer:
                self.after[self.writer[cell], me] = 1
            self.readers[cell].append(me)
        return me, [self._like(cell) for cell in src]

    def _write(self, me: int, dst: list[Cell], like: list[int], folds: bool) -> None:
        move = self.moves[me]
        move.folds, move.dst_gpu = folds, dst[0].gpu
        self.written.append(me)
        for cell, slot in zip(dst, like):
            for reader in self.readers.pop(cell, ()):
                if reader != me:
                    self.after.setdefault((reader, me), 0)
            if cell in self.writer:
                writer = self.writer[cell]
                both = folds and self.moves[writer].folds  # then they may be one fold, in this order
                self.after[writer, me] = max(self.after.get((writer, me), 0), 0 if both else 1)
            self.writer[cell] = me
            if not folds:
                self.like[cell] = slot
            move.dst.append(self._spot(cell))

    def _like(self, cell: Cell) -> int:
        return cell.slot % self.algo.slots if cell.buffer in HOMES else self.like[cell]

    def _spot(self, cell: Cell) -> Spot:
        """Scratch slot s is as large as slot s mod ``slots`` of a block: each value gets one that fits."""
        if cell.buffer in HOMES:
            return HOMES[cell.buffer], cell.slot
        like = self.like[cell]
        if (cell, like) not in self.spots:
            self.spots[cell, like] = like + self.algo.slots * self.used[cell.gpu, like]
            self.used[cell.gpu, like] += 1
        return "scratch", self.spots[cell, like]

    @property
    def scratch(self) -> int:
        return self.algo.slots * max(self.used.values(), default=0)


def _levels(moves: _Moves) -> tuple[list[int], set[int]]:
    """The first round that each move may be in; or the messages that circles leave no round for."""
    total = len(moves.moves)
    order = moves.after | dict.fromkeys(moves.queued, 1)
    circle, bad = _circles(total, order)
    if bad:  # give up the queues that are part of them
        order = moves.after | {
            (a, b): 1 for a, b in moves.queued if circle[a] != circle[b] or circle[a] not in bad
        }
        circle, bad = _circles(total, order)
    if bad:
        return [], {
            m.message for i, m in enumerate(moves.moves) if circle[i] in bad and m.message is not None
        }
    follows: dict[int, list[tuple[int, int]]] = defaultdict(list)
    waiting = [0] * total
    for (a, b), later in order.items():
        if circle[a] != circle[b]:
            follows[circle[a]].append((circle[b], later))
            waiting[circle[b]] += 1
    level = [0] * total
    ready = deque(c for c in sorted(set(circle)) if not waiting[c])
    while ready:
        first = ready.popleft()
        for second, later in follows[first]:
            level[second] = max(level[second], level[first] + later)
            waiting[second] -= 1
            if not waiting[second]:
                ready.append(second)
    return [level[circle[move]] for move in range(total)], set()


def _circles(total: int, order: dict[tuple[int, int], int]) -> tuple[list[int], set[int]]:
    """For each move the number of its strongly connected component, all in one round; and those that cannot be."""
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_nodes_from(range(total))
    graph.add_edges_from(order)
    circle = [0] * total
    for number, members in enumerate(nx.strongly_connected_components(graph)):
        for move in members:
            circle[move] = number
    return circle, {circle[a] for (a, b), later in order.items() if later and circle[a] == circle[b]}


def _schedule(algo: Algo, moves: _Moves, level: list[int]) -> Schedule:
    if moves.scratch * algo.n > MOST_SCRATCH:
        raise ValueError(
            f"line {algo.line}: <algo>: needs {moves.scratch} scratch slots on each of {algo.n} gpus"
        )
    rounds: dict[int, list[_Move]] = defaultdict(list)
    for i in moves.written:
        rounds[level[i]].append(moves.moves[i])
    ordered = not any(m.folds for m in moves.moves)  # MSCCL folds in any order
    return Schedule(
        algo.n, algo.slots, tuple(_round(rounds[number]) for number in sorted(rounds)), algo.layout.collective,
        algo.root, algo.name, ordered, moves.scratch,
    )  # fmt: skip


def _round(moves: list[_Move]) -> Round:
    """Several folds into one cell are one, in the order of the steps."""
    folded: dict[tuple[int, Spot], int] = defaultdict(int)
    groups: dict[tuple[str, str], list[tuple[int, int, int, int, int]]] = defaultdict(list)
    for m in moves:
        for (source, src_slot), (target, dst_slot) in zip(m.src, m.dst):
            place = COPY
            if m.folds:
                folded[m.dst_gpu, (target, dst_slot)] += 1
                place = folded[m.dst_gpu, (target, dst_slot)]
            groups[source, target].append((m.src_gpu, m.dst_gpu, src_slot, dst_slot, place))
    transfers = []
    for (source, target), rows in groups.items():
        src, dst, src_slot, dst_slot, place = np.array(rows, np.int64).T
        zeros = np.zeros(len(rows), np.int64)
        transfers.append(Transfers(src, dst, src_slot, dst_slot, place, zeros, None, source, target))
    return Round(tuple(transfers))
