"""The rules of a schedule's rounds, said a second time on plain lists of transfers.

Shares no code with the verifier: each of its verdicts that names a round must find its rule broken here, in
the same round and in none before, and the other way round.
"""

from ringleader.collectives import Schedule, Verdict
from ringleader.collectives.schedule import BUFFERS, COPY

from helpers.mutants import DST, DST_SLOT, ORDER, SRC, SRC_SLOT, Element, Group, unrolled

Cell = tuple[str, int, int]  # buffer, rank, slot

# What the verifier says, and the rule that it means.
SAYINGS = {
    "there is no rank": "no such rank",
    " leave ": "outside the buffer",
    "size may differ": "other slot size",
    "writes to input": "writes to input",
    "never written": "unwritten scratch",
    "not one fold": "conflict",
}


def meant(verdict: Verdict) -> str:
    """The rule that a verdict which names a round is about."""
    return next(rule for saying, rule in SAYINGS.items() if saying in str(verdict.fault))


def first_broken(schedule: Schedule) -> tuple[int, set[str]] | None:
    """The first round in which a rule is broken, and all rules that it breaks."""
    written: set[Cell] = set()
    for number, groups in enumerate(unrolled(schedule)):
        rules: set[str] = set()
        orders: dict[Cell, list[int]] = {}
        for g in groups:
            for e in g.elements:
                rules |= _of_one(schedule, g, e, written)
                for w in range(g.width):
                    orders.setdefault((g.target, e[DST], e[DST_SLOT] + w), []).append(e[ORDER])
        if any(rivals(several) for several in orders.values()):
            rules.add("conflict")
        if rules:
            return number, rules
        written |= orders.keys()
    return None


def rivals(orders: list[int]) -> bool:
    """Do the writers of a cell, with these orders, not agree in which order to write?"""
    return len(orders) > 1 and (COPY in orders or len(set(orders)) < len(orders))


def _of_one(schedule: Schedule, g: Group, e: Element, written: set[Cell]) -> set[str]:
    """The rules that a transfer breaks, whatever else happens in its round."""
    rules = set()
    if not (0 <= e[SRC] < schedule.n and 0 <= e[DST] < schedule.n):
        rules.add("no such rank")
    size = {buffer: schedule.size(buffer) for buffer in BUFFERS}
    for buffer, slot in ((g.source, e[SRC_SLOT]), (g.target, e[DST_SLOT])):
        if slot < 0 or slot + g.width > size[buffer]:
            rules.add("outside the buffer")
    if e[SRC_SLOT] % schedule.slots != e[DST_SLOT] % schedule.slots:
        rules.add("other slot size")
    if g.target == "input":
        rules.add("writes to input")
    reads = [(g.source, e[SRC], e[SRC_SLOT] + w) for w in range(g.width)]
    if e[ORDER] != COPY:
        reads += [(g.target, e[DST], e[DST_SLOT] + w) for w in range(g.width)]
    if any(cell[0] == "scratch" and cell not in written for cell in reads):
        rules.add("unwritten scratch")
    return rules
