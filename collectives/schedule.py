"""A schedule: what moves where, as data.

Words, used exactly so everywhere. A *cell* is (rank, buffer, slot). The buffer is ``input``,
``output`` or ``scratch``; in an in-place collective input and output are one buffer, called
``output``. A *transfer* copies or folds ``width`` consecutive cells of one rank into as many of
another (or the same) rank. A *round* is a set of transfers that all read the state at the round's
start. All writes to one cell in a round must form one fold. A *schedule* is a sequence of rounds;
rounds are logical, never barriers.

The compact form is the schedule. A round holds vectors over its transfers and may be repeated with
its slots shifted, so that ring AllReduce on 131,072 ranks is two rounds of four vectors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from ringleader.collectives.collective import Collective

Ints = NDArray[np.int64]
COPY = 0  # in ``order``: the cell's old value is replaced
BUFFERS = ("input", "output", "scratch")


@dataclass(frozen=True, eq=False)
class Transfers:
    """One message from each ``src[i]`` to each ``dst[i]``; elements with equal ends travel together.

    ``src, dst, src_slot, dst_slot, order, first``: int64 vectors of one length. In repetition t a slot
    stands for cell ``first + slot + t * shift``: modulo ``window`` from ``first`` on when ``wrap``,
    otherwise transfers that fall outside the window do not take place.

    ``order`` says how a value enters its cell: 0 copies; otherwise the cell becomes the fold, in
    ascending order, of everything written to it in this round and its old value, which stands at 0.
    """

    src: Ints
    dst: Ints
    src_slot: Ints
    dst_slot: Ints
    order: Ints
    first: Ints
    window: int | None = None  # None: all slots of the buffer, resolved by Schedule
    source: str = "output"
    target: str = "output"
    width: int = 1
    shift: int = 0
    wrap: bool = True

    def at(self, t: int) -> Transfers:
        """The transfers of repetition ``t``, slots absolute."""
        assert self.window is not None, "a Schedule resolves the window"
        src_slot, dst_slot = self.src_slot + t * self.shift, self.dst_slot + t * self.shift
        if self.wrap:
            src_slot, dst_slot = src_slot % self.window, dst_slot % self.window
        elif self.shift:
            lowest, highest = np.minimum(src_slot, dst_slot), np.maximum(src_slot, dst_slot)
            inside = (lowest >= 0) & (highest + self.width <= self.window)
            if not inside.all():
                return self.pick(inside).at(t)
        return Transfers(
            self.src, self.dst, self.first + src_slot, self.first + dst_slot, self.order,
            np.zeros_like(self.first), None, self.source, self.target, self.width, 0, self.wrap,
        )  # fmt: skip

    def pick(self, which: NDArray[Any]) -> Transfers:
        """Only the elements that the mask or index vector ``which`` selects."""
        vectors = ("src", "dst", "src_slot", "dst_slot", "order", "first")
        return replace(self, **{name: getattr(self, name)[which] for name in vectors})


@dataclass(frozen=True, eq=False)
class Round:
    """Groups of transfers that happen together, ``times`` times in a row."""

    groups: tuple[Transfers, ...]
    times: int = 1

    def repeat(self, times: int, shift: int = 0, wrap: bool = True) -> Round:
        """This round ``times`` times, each time with all slots ``shift`` further (see Transfers)."""
        return Round(tuple(replace(g, shift=shift, wrap=wrap) for g in self.groups), times)

    def at(self, t: int) -> tuple[Transfers, ...]:
        return tuple(g.at(t) for g in self.groups)


def copy(
    src: ArrayLike, dst: ArrayLike, slot: ArrayLike = 0, to: ArrayLike | None = None, *,
    source: str = "output", target: str = "output", width: int = 1,
) -> Round:  # fmt: skip
    """A round in which rank ``dst[i]`` gets slot ``slot[i]`` of rank ``src[i]`` into its slot ``to[i]``.

    ``to`` defaults to ``slot``; scalars stand for constant vectors.
    """
    return _round(src, dst, slot, to, COPY, source, target, width)


def fold(
    src: ArrayLike, dst: ArrayLike, slot: ArrayLike = 0, to: ArrayLike | None = None, *,
    order: ArrayLike = 1, source: str = "output", target: str = "output", width: int = 1,
) -> Round:  # fmt: skip
    """As ``copy``, but the value is folded into the cell: ``order`` > 0 behind its old value, < 0 before."""
    if np.any(np.asarray(order) == COPY):
        raise ValueError("fold: order 0 is the cell's old value; use a positive or a negative order")
    return _round(src, dst, slot, to, order, source, target, width)


def _round(
    src: ArrayLike, dst: ArrayLike, slot: ArrayLike, to: ArrayLike | None,
    order: ArrayLike, source: str, target: str, width: int,
) -> Round:  # fmt: skip
    for buffer in (source, target):
        if buffer not in BUFFERS:
            raise ValueError(f"no buffer {buffer!r}; there are {', '.join(BUFFERS)}")
    given = (src, dst, slot, slot if to is None else to, order, 0)
    vectors = np.broadcast_arrays(*(np.asarray(v, dtype=np.int64) for v in given))
    s, d, ss, ds, o, first = (v.ravel() for v in vectors)
    return Round((Transfers(s, d, ss, ds, o, first, None, source, target, width),))


def together(*rounds: Round) -> Round:
    """One round made of several that happen at the same time (repeated equally often)."""
    times = {r.times for r in rounds}
    if len(times) != 1:
        raise ValueError(f"together: rounds repeated {sorted(times)} times cannot be one round")
    return Round(tuple(g for r in rounds for g in r.groups), times.pop())


@dataclass(frozen=True, eq=False)
class Schedule:
    """Rounds over ``n`` ranks, each block of a buffer cut evenly into ``slots`` slots.

    ``collective`` is what the schedule promises (None: a fragment, to be composed). ``ordered``: folds
    keep rank order, so the operation need not commute. ``scratch``: scratch slots a rank needs; scratch
    slot s is as large as slot s mod ``slots`` of a block. Rounds in which nothing moves are left out.
    """

    n: int
    slots: int
    rounds: tuple[Round, ...]
    collective: Collective | None = None
    root: int = 0
    name: str = "unnamed"
    ordered: bool = False
    scratch: int = 0

    def __post_init__(self) -> None:
        if self.n < 1 or self.slots < 1 or not 0 <= self.root < self.n:
            raise ValueError(
                f"a schedule needs n >= 1, slots >= 1, 0 <= root < n; "
                f"got n={self.n}, slots={self.slots}, root={self.root}"
            )
        rounds = tuple(Round(tuple(self._resolve(g) for g in r.groups), r.times) for r in self.rounds)
        moving = (r for r in rounds if r.times > 0 and any(len(g.src) for g in r.groups))
        object.__setattr__(self, "rounds", tuple(moving))

    def _resolve(self, group: Transfers) -> Transfers:
        """In-place collectives have one buffer; a window not given is the whole of the larger buffer."""
        if self.collective is not None and self.collective.in_place:
            names = {"input": "output"}
            source, target = (names.get(b, b) for b in (group.source, group.target))
            group = replace(group, source=source, target=target)
        if group.window is None:
            group = replace(group, window=max(self.size(group.source), self.size(group.target)))
        return group

    def size(self, buffer: str) -> int:
        """Number of slots that ``buffer`` has on each rank."""
        if buffer == "scratch":
            return self.scratch
        if self.collective is None:
            return self.slots
        blocks = self.collective.blocks_in if buffer == "input" else self.collective.blocks_out
        return self.slots * blocks(self.n)

    @cached_property
    def keeps_blocks(self) -> bool:
        """Blocks never change place nor pass through scratch, so they need not be equally large."""
        return not self.scratch and all(
            g.source != g.target or bool(np.all(g.src_slot == g.dst_slot))
            for r in self.rounds
            for g in r.groups
        )

    def expand(self) -> Iterator[tuple[Transfers, ...]]:
        """Round after round, repetitions unrolled and slots absolute."""
        for r in self.rounds:
            for t in range(r.times):
                yield r.at(t)

    def __len__(self) -> int:
        return sum(r.times for r in self.rounds)

    @cached_property
    def digest(self) -> str:
        """A fingerprint of everything that decides what runs: equal on all ranks or the call is refused."""
        h = hashlib.blake2b(digest_size=8)
        what = self.collective.name if self.collective else None
        h.update(repr((self.n, self.slots, self.root, self.ordered, self.scratch, what)).encode())
        for r in self.rounds:
            for g in r.groups:
                h.update(repr((r.times, g.window, g.source, g.target, g.width, g.shift, g.wrap)).encode())
                for vector in (g.src, g.dst, g.src_slot, g.dst_slot, g.order, g.first):
                    h.update(np.ascontiguousarray(vector).tobytes())
        return h.hexdigest()

    # Combinators

    def then(self, other: Schedule) -> Schedule:
        """This schedule, then ``other``."""
        _same_shape("then", self, other)
        scratch = max(self.scratch, other.scratch)
        return replace(self, rounds=self.rounds + other.rounds, scratch=scratch)

    def beside(self, other: Schedule) -> Schedule:
        """Both at the same time, round by round; they must not touch the same cells."""
        _same_shape("beside", self, other)
        rounds = []
        mine, others = list(self.rounds), list(other.rounds)
        while mine and others:
            times = min(mine[0].times, others[0].times)
            heads = [_split(queue, times) for queue in (mine, others)]
            rounds.append(together(*heads))
        return replace(self, rounds=(*rounds, *mine, *others), scratch=max(self.scratch, other.scratch))

    def refine(self, k: int) -> Schedule:
        """The same transfers over slots cut ``k`` times finer (each now ``k`` slots wide)."""

        def finer(g: Transfers) -> Transfers:
            assert g.window is not None
            scaled = {name: getattr(g, name) * k for name in ("src_slot", "dst_slot", "first")}
            return replace(g, **scaled, window=g.window * k, width=g.width * k, shift=g.shift * k)

        rounds = tuple(Round(tuple(finer(g) for g in r.groups), r.times) for r in self.rounds)
        return replace(self, slots=self.slots * k, scratch=self.scratch * k, rounds=rounds)

    def mirrored(self) -> Schedule:
        """The schedule backwards, every copy a fold the other way: a broadcast becomes a reduce, an
        allgather a reduce_scatter (Träff, "Optimal broadcast schedules in logarithmic time" (2023), section 1).

        The result is a fragment. It is right if each cell was written at most once, by a copy to the same
        slot of another rank; several folds into one cell in a round are ordered by their place in it.
        """

        def turned(g: Transfers, times: int, first: int) -> Transfers:
            if np.any(g.order != COPY) or np.any(g.src_slot != g.dst_slot) or g.source != g.target:
                raise ValueError("mirrored: only copies to the same slot can be turned into folds")
            back = g.shift * (times - 1)
            return replace(
                g, src=g.dst, dst=g.src, src_slot=g.src_slot + back, dst_slot=g.dst_slot + back,
                order=first + np.arange(len(g.src)), shift=-g.shift,
            )  # fmt: skip

        rounds = []
        for r in reversed(self.rounds):
            starts = np.cumsum([1] + [len(g.src) for g in r.groups])
            rounds.append(Round(tuple(turned(g, r.times, int(s)) for g, s in zip(r.groups, starts)), r.times))
        return Schedule(self.n, self.slots, tuple(rounds))

    def on_ranks(
        self, ranks: ArrayLike, n: int, first: ArrayLike | None = None, slots: int | None = None
    ) -> Schedule:
        """A fragment that plays on ranks ``ranks[i]`` the part that this schedule gives to rank i.

        ``ranks``: int vector [self.n], or a matrix [groups, self.n] of groups that run side by side.
        ``first`` [groups]: the group works on slots ``first`` ... of ``slots`` slots (default: all).
        """
        table = np.atleast_2d(np.asarray(ranks, dtype=np.int64))
        if table.shape[1] != self.n:
            raise ValueError(f"on_ranks: {self.n} ranks to place, but groups of {table.shape[1]} given")
        slots = self.slots if slots is None else slots
        start = np.zeros(len(table), np.int64) if first is None else np.asarray(first, dtype=np.int64)
        if np.any(start < 0) or np.any(start + self.slots > slots):
            raise ValueError(f"on_ranks: {self.slots} slots from {start.max()} do not fit into {slots}")
        if first is not None and self.scratch:
            raise ValueError("on_ranks: a schedule with scratch cannot be moved to other slots")

        def placed(g: Transfers) -> Transfers:
            rows = len(table)
            return replace(
                g, src=table[:, g.src].ravel(), dst=table[:, g.dst].ravel(),
                src_slot=np.tile(g.src_slot, rows), dst_slot=np.tile(g.dst_slot, rows),
                order=np.tile(g.order, rows), first=(start[:, None] + g.first).ravel(),
            )  # fmt: skip

        rounds = tuple(Round(tuple(placed(g) for g in r.groups), r.times) for r in self.rounds)
        return Schedule(n, slots, rounds, scratch=self.scratch)


def fragment(n: int, slots: int, rounds: Iterable[Round]) -> Schedule:
    """Rounds as a schedule that promises nothing yet, ready for the combinators."""
    return Schedule(n, slots, tuple(rounds))


def _same_shape(what: str, a: Schedule, b: Schedule) -> None:
    if (a.n, a.slots) != (b.n, b.slots):
        raise ValueError(
            f"{what}: schedules of {a.n} ranks x {a.slots} slots and {b.n} x {b.slots} do not compose; "
            "use on_ranks and refine first"
        )


def _split(queue: list[Round], times: int) -> Round:
    """Take the first ``times`` repetitions off the queue's head."""
    head = queue.pop(0)
    if head.times > times:
        rest = tuple(
            replace(g, src_slot=g.src_slot + times * g.shift, dst_slot=g.dst_slot + times * g.shift)
            for g in head.groups
        )
        queue.insert(0, Round(rest, head.times - times))
    return replace(head, times=times)
