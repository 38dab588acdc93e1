"""What people type for rank counts, sizes and algorithms, as values. ValueErrors say what would be right."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ringleader.collectives import COLLECTIVES, Schedule, algorithms, build, find, import_msccl

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
MOST_VALUES = 100_000  # of a range; more is a typing error


def size(text: str) -> int:
    """Bytes: 0, 4096, 64K, 4M, 1.5G; K, M, G, T are powers of 1024."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError(f"{text!r} is not a size; write bytes like 4096, 64K, 4M or 1.5G")
    return int(float(match[1]) * UNITS[match[2].upper()])


def sizes(text: str) -> list[int]:
    """Sizes separated by commas; 1K-1M stands for 1K, 2K, 4K, ... 1M."""
    every: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not dash:
            every.append(size(first))
            continue
        low, high = size(first), size(last)
        if not 0 < low <= high:
            raise ValueError(f"{part!r} is not a range of sizes; write it like 1K-1M, from small to large")
        every += [low << i for i in range((high // low).bit_length())]
    return every


def counts(text: str) -> list[int]:
    """Rank counts separated by commas; 2-64 stands for all from 2 to 64, 8-4096x2 for 8, 16, ... 4096."""
    every: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+)(?:x(\d+))?)?\s*", part)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        factor = int(match[3]) if match and match[3] else None
        if not 1 <= low <= high or factor in (0, 1) or (factor is None and high - low > MOST_VALUES):
            raise ValueError(
                f"{part!r} is not a rank count; write 8, 2-64 or 8-4096x2 (8, 16, 32, ... 4096), several separated by commas"
            )
        while low <= high:
            every.append(low)
            low = low * factor if factor else low + 1
    return every


@dataclass(frozen=True)
class Target:
    """An algorithm with parameters, to be built for any rank count; or a schedule from a file."""

    collective: str
    name: str
    parameters: tuple[tuple[str, Hashable], ...] = ()
    schedule: Schedule | None = None

    def __str__(self) -> str:
        given = ",".join(f"{key}={value}" for key, value in self.parameters)
        return f"{self.collective}/{self.name}" + (f":{given}" if given else "")

    @property
    def rooted(self) -> bool:
        return self.schedule is None and COLLECTIVES[self.collective].rooted

    def build(self, n: int, root: int = 0) -> Schedule:
        if self.schedule is None:
            return build(self.collective, self.name, n, root, **dict(self.parameters))
        if self.schedule.n != n:
            raise ValueError(f"{self.name} is for {self.schedule.n} ranks, not {n}; leave -n away")
        return self.schedule


def targets(texts: Iterable[str]) -> list[Target]:
    """``allreduce`` (all its algorithms), ``allreduce/ring``, ``broadcast/chain:chunks=8``, ``algo.xml``."""
    return [target for text in texts for target in _targets(text)]


def _targets(text: str) -> list[Target]:
    if text.endswith(".xml"):
        return [_from_file(Path(text))]
    collective, slash, rest = text.partition("/")
    if collective not in COLLECTIVES:
        known = ", ".join(COLLECTIVES)
        raise ValueError(
            f"{text!r} is no algorithm; write allreduce, allreduce/ring, ...; collectives: {known}"
        )
    if not slash:
        return [Target(collective, name) for name in algorithms(collective)]
    name, _, given = rest.partition(":")
    known_parameters = [p for p in find(collective, name).parameters if p not in ("n", "root")]
    parameters = []
    for setting in filter(None, given.split(",")):
        key, equals, value = setting.partition("=")
        if key not in known_parameters or not equals:
            takes = ", ".join(f"{p}=..." for p in known_parameters) or "no parameters"
            raise ValueError(f"{setting!r} is no parameter of {collective}/{name}, which takes {takes}")
        parameters.append((key, int(value) if value.lstrip("-").isdigit() else value))
    return [Target(collective, name, tuple(parameters))]


def _from_file(path: Path) -> Target:
    if not path.is_file():
        raise ValueError(
            f"there is no file {path}; give MSCCL-IR as .xml, or an algorithm like allreduce/ring"
        )
    schedule = import_msccl(path)
    assert schedule.collective is not None
    return Target(schedule.collective.name, schedule.name, (), schedule)


def placement(text: str) -> str | list[int]:
    """block, cyclic, random, random:SEED, or host numbers separated by commas."""
    parts = text.split(",")
    if all(p.strip().isdigit() for p in parts):
        return [int(p) for p in parts]
    if re.fullmatch(r"block|cyclic|random(:\d+)?", text):
        return text
    raise ValueError(
        f"{text!r} is no placement; write block, cyclic, random:SEED or host numbers like 3,1,0,2"
    )


def slow(text: str) -> tuple[int, float]:
    """A rank and its factor: 3=2.5."""
    match = re.fullmatch(r"(\d+)=(\d+(?:\.\d+)?)", text)
    if match is None:
        raise ValueError(f"{text!r} is no straggler; write rank and factor like 3=2.5")
    return int(match[1]), float(match[2])


def pair(text: str) -> tuple[str, str]:
    """Two vertices of a topology: host 0,switch 0."""
    first, comma, second = text.partition(",")
    if not comma or not first.strip() or not second.strip():
        raise ValueError(f"{text!r} is no link; write its two ends like 'host 0,switch 0'")
    return first.strip(), second.strip()


def degraded(text: str) -> tuple[tuple[str, str], float]:
    """Two vertices and a share: host 0,switch 0=0.5."""
    ends, _, share = text.rpartition("=")
    if not re.fullmatch(r"\d+(?:\.\d+)?", share) or not ends:
        raise ValueError(f"{text!r}: write the two ends and a share like 'host 0,switch 0=0.5'")
    return pair(ends), float(share)
