"""What a verdict's fault looks like: a small grid of ranks x rounds with the fault marked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ringleader.collectives.program import Program
from ringleader.collectives.schedule import COPY, Schedule

if TYPE_CHECKING:
    from ringleader.collectives.verify import Verdict

RANKS, ROUNDS = 8, 8  # at most so many are shown
MARK = "!"
Cell = tuple[int, int]  # rank, round
Texts = Mapping[Cell, list[str]]


def grid(verdict: Verdict) -> str:
    """The grid of a verdict that found a fault; an empty text if it found none.

    A fault of a schedule: who wrote to the faulty slot. A fault of programs: who sent to whom. The faulty rank
    comes with those it has to do with, and the rounds up to the fault, at most 8 of each.
    """
    if verdict.fault is None or verdict.rank is None:
        return ""
    if verdict.programs is not None:
        about = "messages: >3 to rank 3, <3 from rank 3"
        texts, sources = _messages(verdict.programs)
        marks = {*verdict.stuck, (verdict.rank, verdict.round)}
    else:
        about = f"writes to {verdict.buffer} slot {verdict.slot}: =3 copied from rank 3, +3 folded behind, 3+ before"
        texts, sources = _writes(verdict.schedule, verdict.buffer, verdict.slot or 0, verdict.round)
        marks = {(verdict.rank, verdict.round)}
    ranks = _shown_ranks(verdict, sources, [rank for rank, _ in marks])
    rounds = _shown_rounds(verdict, texts, [number for _, number in marks if number is not None])
    return f"{about}; {MARK} the fault\n" + _table(ranks, rounds, texts, marks)


def _writes(schedule: Schedule, buffer: str, slot: int, last: int | None) -> tuple[Texts, set[int]]:
    """Who writes to that slot, by the rank that has it, and all who do."""
    texts: dict[Cell, list[str]] = defaultdict(list)
    sources = set()
    for number, groups in enumerate(schedule.expand()):
        if last is not None and number > last:
            break
        for g in groups:
            hit = (g.dst_slot <= slot) & (slot < g.dst_slot + g.width) & (g.target == buffer)
            vectors = (v[hit].tolist() for v in (g.src, g.dst, g.src_slot, g.dst_slot, g.order))
            for src, dst, src_slot, dst_slot, order in zip(*vectors):
                sources.add(src)
                there = src_slot + slot - dst_slot
                name = f"{src}" if (g.source, there) == (buffer, slot) else f"{src}.{there}"
                texts[dst, number].append(
                    f"={name}" if order == COPY else f"+{name}" if order > 0 else f"{name}+"
                )
    return texts, sources


def _messages(programs: Sequence[Program]) -> tuple[Texts, set[int]]:
    texts: dict[Cell, list[str]] = defaultdict(list)
    peers = set()
    for p in programs:
        for i in p.instructions:
            if i.kind in ("send", "recv"):
                peers.add(i.peer)
                texts[p.rank, i.round].append(f"{'>' if i.kind == 'send' else '<'}{i.peer}")
    return texts, peers


def _shown_ranks(verdict: Verdict, sources: set[int], marked: list[int]) -> list[int]:
    """The faulty ranks first, then those that take part, then others."""
    n = verdict.schedule.n
    wanted = dict.fromkeys([*sorted(set(marked)), *sorted(sources), *range(n)])
    return sorted([rank for rank in wanted if 0 <= rank < n][:RANKS])


def _shown_rounds(verdict: Verdict, texts: Texts, marked: list[int]) -> list[int]:
    """The last ones in which something happens, and those of the fault."""
    busy = {number for (_, number), said in texts.items() if said} | set(marked)
    most = max(marked, default=len(verdict.schedule))
    return sorted(number for number in busy if number <= most)[-ROUNDS:]


def _table(ranks: list[int], rounds: list[int], texts: Texts, marks: set[tuple[int, int | None]]) -> str:
    """One line a rank; a fault at the end stands behind the last round."""
    end = any(number is None for _, number in marks)
    heads = ["rank", *(f"round {number}" for number in rounds), *(["end"] * end)]
    rows = [heads]
    for rank in ranks:
        cells = [
            " ".join([*texts.get((rank, k), []), *([MARK] * ((rank, k) in marks))]) or "." for k in rounds
        ]
        rows.append([str(rank), *cells, *([MARK if (rank, None) in marks else "."] * end)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join(lines)
