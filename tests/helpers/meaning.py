"""What collectives mean, said a second time in plain numpy, and words on which every mistake shows.

Shares no code with the verifier nor with the promises that it checks. An element is four random 64-bit
words, each folded in its own way, so that one run answers every question about the contents:

``sum``: wrapping sums: is everything in it, exactly once? ``affine``: affine maps one after the other, which
do not commute: in rank order? ``shape``: a mix that commutes but does not associate: did all ranks fold in
the same shape? ``union``: sets of bits, each input cell with bits of its own: is everything in it?
"""

import random
from collections.abc import Callable, Iterator
from functools import reduce
from typing import NamedTuple

import numpy as np
from ringleader.collectives import Schedule

CELL = np.dtype([(word, np.uint64) for word in ("sum", "affine", "shape", "union")])
ODD = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: spreads bits
MASK = (1 << 64) - 1
LOW = (1 << 32) - 1


def combine(x: np.ndarray, y: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """All four folds, with a ufunc's calling convention; in Python integers, as slots are few."""
    result = np.empty(x.shape, CELL) if out is None else out
    folded = [
        ((s + t) & MASK, _after(a, b), _mixed(h, i), u | v)
        for (s, a, h, u), (t, b, i, v) in zip(x.tolist(), y.tolist(), strict=True)
    ]
    result[:] = np.array(folded, CELL)
    return result


def _after(x: int, y: int) -> int:
    """x(y(.)): a word is the map t -> a t + b modulo 2^32, a in its upper half and odd, so nothing is lost."""
    a, b = x >> 32, x & LOW
    c, d = y >> 32, y & LOW
    return ((a * c) & LOW) << 32 | (a * d + b) & LOW


def _mixed(x: int, y: int) -> int:
    """Symmetric in x and y, and far from associative."""
    mixed = ((x + y) * ODD ^ (x | 1) * (y | 1)) & MASK
    return mixed ^ mixed >> 29


class Wrong(NamedTuple):
    """The first output cell, in order of rank and slot, that is not as promised, and in which word; or the
    first rank (slot 0) whose input was written to."""

    word: str
    rank: int
    slot: int


class Case:
    """Random contents for a schedule's buffers, and what they must be at the end.

    ``size``: elements of a block, at least one for every slot; an element is the four words. ``inputs[rank,
    element]``, ``old`` alike: what stands in the output at the start, which in place is the input.
    """

    def __init__(self, schedule: Schedule, rng: random.Random, size: int) -> None:
        assert schedule.collective is not None and size >= schedule.slots
        self.schedule, self.rng, self.size = schedule, rng, size
        self.name = schedule.collective.name
        self.inputs = self._random("input")
        self.old = self.inputs if schedule.collective.in_place else self._random("output")
        if self.name == "barrier":
            self._own_bits()
        self.expected, self.matters = MEANING[self.name](self.inputs, self.old, size, schedule.root)

    def _random(self, buffer: str) -> np.ndarray:
        n, elements = self.schedule.n, self.schedule.size(buffer) // self.schedule.slots * self.size
        drawn = np.frombuffer(self.rng.randbytes(n * elements * CELL.itemsize), CELL)
        cells = drawn.reshape(n, elements).copy()
        cells["affine"] |= np.uint64(1 << 32)
        return cells

    def _own_bits(self) -> None:
        n, elements = self.inputs.shape
        assert n * elements <= 64, "every input element needs a bit of its own"
        bits = self.rng.sample(range(64), 64)
        for cell in range(n * elements):
            own = sum(1 << b for b in bits[cell :: n * elements])
            self.inputs["union"][cell // elements, cell % elements] = own

    def buffers(self) -> list[dict[str, np.ndarray]]:
        """Every rank's, to run programs on."""
        given = [{"output": old.copy()} for old in self.old]
        if self.old is not self.inputs:
            for buffers, x in zip(given, self.inputs):
                buffers["input"] = x.copy()
        return given

    def wrong(self, buffers: list[dict[str, np.ndarray]]) -> Wrong | None:
        """What is wrong with the contents at the end; None if they are right."""
        found = np.stack([b["output"] for b in buffers])
        best: tuple[int, int, str] | None = None
        for word, mistaken in self._mistakes(found):
            for rank, element in np.argwhere(mistaken)[:1].tolist():
                if best is None or (rank, element) < best[:2]:
                    best = (rank, element, word)
        if best is not None:
            rank, element, word = best
            return Wrong(word, rank, self._slot(element))
        for rank, (b, x) in enumerate(zip(buffers, self.inputs)):
            if "input" in b and np.any(b["input"] != x):
                return Wrong("input", rank, 0)
        return None

    def _mistakes(self, found: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Where each word that this collective asks about is wrong; the first word that is wrong in a cell counts."""
        ordered = ["sum", "affine"] if self.schedule.ordered else ["sum"]
        for word in ["union"] if self.name == "barrier" else ordered:
            yield word, (found[word] != self.expected[word]) & self.matters
        if self.name == "allreduce":
            yield "shape", found["shape"] != found["shape"][0]

    def _slot(self, element: int) -> int:
        k, (block, at) = self.schedule.slots, divmod(element, self.size)
        return block * k + next(s for s in range(k) if at < (s + 1) * self.size // k)


Answer = tuple[np.ndarray, np.ndarray]  # what the outputs are [rank, element], and where it matters
Meaning = Callable[[np.ndarray, np.ndarray, int, int], Answer]


def _folded(rows: np.ndarray) -> np.ndarray:
    """Ranks' rows folded in rank order."""
    return reduce(combine, rows)


def _blocks(rank: int, k: int) -> slice:
    return slice(rank * k, (rank + 1) * k)


def _nothing_yet(old: np.ndarray) -> Answer:
    return old.copy(), np.zeros(old.shape, dtype=bool)


def _everywhere(x: np.ndarray, old: np.ndarray, k: int, root: int) -> Answer:
    want, matters = _nothing_yet(old)
    want[:], matters[:] = _folded(x), True
    return want, matters


def _broadcast(x: np.ndarray, old: np.ndarray, k: int, root: int) -> Answer:
    want, matters = _nothing_yet(old)
    want[:], matters[:] = x[root], True
    return want, matters


def _reduce(x: np.ndarray, old: np.ndarray, k: int, root: int) -> Answer:
    want, matters = _nothing_yet(old)
    want[root], matters[root] = _folded(x), True
    return want, matters


def _allgather(x: np.ndarray, old: np.ndarray, k: int, root: int) -> Answer:
    want, matters = _nothing_yet(old)
    for r in range(len(x)):
        want[:, _blocks(r, k)], matters[:, _blocks(r, k)] = x[r, _blocks(r, k)], True
    return want, matters


def _gather(x: np.ndarray, old: np.ndarray, k: int, root: int) -> Answer:
    want, matters = _allgather(x, old, k, root)
    matters[np.arange(len(x)) != root] = False
    return want, matters


def _scatter(x: np.ndarray, old: np.ndarray, k: int, root: int) -> Answer:
    want, matters = _nothing_yet(old)
    for r in range(len(x)):
        want[r, _blocks(r, k)], matters[r, _blocks(r, k)] = x[root, _blocks(r, k)], True
    return want, matters


def _reduce_scatter(x: np.ndarray, old: np.ndarray, k: int, root: int) -> Answer:
    want, matters = _nothing_yet(old)
    total = _folded(x)
    for r in range(len(x)):
        want[r, _blocks(r, k)], matters[r, _blocks(r, k)] = total[_blocks(r, k)], True
    return want, matters


def _alltoall(x: np.ndarray, old: np.ndarray, k: int, root: int) -> Answer:
    want, matters = _nothing_yet(old)
    for r in range(len(x)):
        for s in range(len(x)):
            want[r, _blocks(s, k)], matters[r, _blocks(s, k)] = x[s, _blocks(r, k)], True
    return want, matters


def _scan(x: np.ndarray, old: np.ndarray, k: int, root: int) -> Answer:
    want, matters = _nothing_yet(old)
    for r in range(len(x)):
        want[r], matters[r] = _folded(x[: r + 1]), True
    return want, matters


def _exscan(x: np.ndarray, old: np.ndarray, k: int, root: int) -> Answer:
    want, matters = _nothing_yet(old)
    matters[:] = True  # rank 0's is left as it is
    for r in range(1, len(x)):
        want[r] = _folded(x[:r])
    return want, matters


MEANING: dict[str, Meaning] = {
    "allreduce": _everywhere, "barrier": _everywhere, "broadcast": _broadcast, "reduce": _reduce,
    "allgather": _allgather, "gather": _gather, "scatter": _scatter, "reduce_scatter": _reduce_scatter,
    "alltoall": _alltoall, "scan": _scan, "exscan": _exscan,
}  # fmt: skip
