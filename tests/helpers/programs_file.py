"""Programs of every algorithm, compiled for the engine, as text that csrc/stress reads without Python."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ringleader.collectives import COLLECTIVES, algorithms, build, lower
from ringleader.runtime.comm import engine
from ringleader.runtime.comm.work import place

ITEM = 8  # bytes of an element: int64
COUNTS = (0, 1, 7, 1001, 20_011)  # elements of a block; the last ones need several pieces of a message
KINDS = ("send", "recv", "copy", "reduce")
# Only how the engine is told a program: the data that it would get.
RECORDER = SimpleNamespace(Program=lambda steps, scratch, stage: (steps, scratch, stage))


def write_programs(path: Path, sizes: tuple[int, ...]) -> int:
    """One case a collective, algorithm, rank count and block size; returns how many."""
    cases = [
        case
        for n in sizes
        for collective in COLLECTIVES
        for name in algorithms(collective)
        for case in _cases(collective, name, n)
    ]
    path.write_text("\n".join(cases))
    return len(cases)


def _cases(collective: str, name: str, n: int) -> list[str]:
    rule, root = COLLECTIVES[collective], n // 2
    schedule = build(collective, name, n, root)
    promise = rule.promise(n, 1, root)
    programs = [lower(schedule, rank) for rank in range(n)]
    cases = []
    for count in (0,) if rule.at_least_once else COUNTS:  # a barrier moves nothing
        head = [
            f"{collective}:{name}", n, count, rule.blocks_in(n), rule.blocks_out(n), int(rule.in_place),
            int(rule.one_way),
        ]  # fmt: skip
        lines = [_words(head)]
        for rank, program in enumerate(programs):
            blocks = zip(promise.slot[rank], promise.lo[rank], promise.hi[rank])
            lines.append(_words([number for block in blocks for number in block]))
            lines += _lines(*_compiled(program, count))
        cases.append("\n".join(lines))
    return cases


def _compiled(program: Any, count: int) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_engine", RECORDER)
        return engine._compiled(place(program, count), ITEM)


def _lines(steps: Any, scratch: int, stage: int) -> list[str]:
    lines = [_words([scratch, stage, len(steps)])]
    for kind, peer, src, dst, how, after in steps:
        line = [KINDS.index(kind), peer]
        for places in (src, dst):
            line += [len(places), *(number for where in places for number in where)]
        lines.append(_words([*line, *map(int, how), len(after), *after]))
    return lines


def _words(items: list[Any]) -> str:
    return " ".join(map(str, items))
