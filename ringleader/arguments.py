"""What people type for rank counts, sizes and algorithms, as values. ValueErrors say what would be right."""

from __future__ import annotations

import argparse
import inspect
import math
import re
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ringleader.collectives import COLLECTIVES, Schedule, algorithms, build, find, import_msccl
from ringleader.collectives.topology.units import (
    DIGITS,
    MOST_BYTES,
    MOST_HOSTS,
    escaped,
    factor,
    quoted,
    seconds,
    whole,
)
from ringleader.csrc.cuda.versions import ARCHITECTURES
from ringleader.launch import MOST_STARTED

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
MOST_VALUES = 100_000  # of one option; more is a typing error
MOST_RANKS = MOST_HOSTS


def typed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """For argparse, which shows the text of this error only."""

    def typed(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return typed


def size(text: str) -> int:
    """Bytes: 0, 4096, 64K, 4M, 1.5G; K, M, G, T are powers of 1024."""
    pattern = r"([0-9]{1,40}(?:\.[0-9]{1,40})?)([KMGT]?)(?:i?B)?"
    match = re.fullmatch(pattern, text.strip(), re.IGNORECASE | re.ASCII)
    value = int(Fraction(match[1]) * UNITS[match[2].upper()]) if match else None
    if value is None or value > MOST_BYTES:
        raise ValueError(
            f"{quoted(text)} is not a size; write bytes like 4096, 64K, 4M or 1.5G, at most 4194304T"
        )
    return value


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
            raise ValueError(
                f"{quoted(part)} is not a range of sizes; write it like 1K-1M, from small to large"
            )
        every += [low << i for i in range((high // low).bit_length())]
    return every


def counts(text: str) -> list[int]:
    """Rank counts separated by commas; 2-64 stands for all from 2 to 64, 8-4096x2 for 8, 16, ... 4096."""
    every: list[int] = []
    for part in text.split(","):
        match = re.fullmatch("([0-9]+)(?:-([0-9]+)(?:x([0-9]+))?)?", part.strip())
        low, high, times = (whole(digits or "") for digits in match.groups()) if match else (0, 0, 0)
        high = low if high is None else high
        if low is None or high is None or not 1 <= low <= high or times in (0, 1):
            raise ValueError(
                f"{quoted(part)} is not a rank count; write 8, 2-64 or 8-4096x2 (8, 16, 32, ... 4096), "
                "several separated by commas"
            )
        if high > MOST_RANKS or (times is None and high - low >= MOST_VALUES - len(every)):
            raise ValueError(
                f"{quoted(part)}: at most {MOST_RANKS:,} ranks, and {MOST_VALUES:,} different rank counts"
            )
        while low <= high:
            every.append(low)
            low = low * times if times else low + 1
    return every


def count(text: str) -> list[int]:
    """One rank count alone."""
    return _alone(counts(text), "rank count", "8")


def one_size(text: str) -> list[int]:
    """One size alone."""
    return _alone(sizes(text), "size", "4M")


def _alone(values: list[int], what: str, example: str) -> list[int]:
    if len(values) != 1:
        raise ValueError(f"this command takes one {what}, like {example}; not {len(values)}")
    return values


def natural(text: str) -> int:
    """A whole number from 0 on."""
    value = whole(text)
    if value is None or value >= 1 << 63:
        raise ValueError(f"{quoted(text)} is no whole number from 0 on, like 3")
    return value


def positive(text: str) -> int:
    """A whole number from 1 on."""
    value = natural(text)
    if value == 0:
        raise ValueError("0 is too few, at least 1")
    return value


def several(text: str) -> int:
    """A whole number from 2 on."""
    value = natural(text)
    if value < 2:
        raise ValueError(f"{value} is too small, at least 2")
    return value


def started(text: str) -> list[int]:
    """Rank counts that one machine can start."""
    every = counts(text)
    if max(every) > MOST_STARTED:
        raise ValueError(f"{max(every)} are too many ranks for one machine, at most {MOST_STARTED}")
    return every


def shape(text: str) -> tuple[int, ...]:
    """Extents of an array, separated by commas: 2,4,37,64."""
    return tuple(map(natural, text.split(",")))


def dtype(name: str) -> Any:
    """numpy's. ValueError: bfloat16, which numpy has from ml_dtypes alone, is not there."""
    if name != "bfloat16":
        return np.dtype(name)
    try:
        import ml_dtypes
    except ImportError as error:
        raise ValueError("bfloat16 needs ml_dtypes: pip install ml_dtypes") from error
    return np.dtype(ml_dtypes.bfloat16)


def architectures(text: str) -> list[str]:
    """That kernels are compiled for, like 80,90a; or all."""
    return list(ARCHITECTURES) if text == "all" else names(text, ARCHITECTURES, "architecture")


def names(text: str, known: Iterable[str], what: str) -> list[str]:
    """Some of ``known``, separated by commas, each once."""
    every = text.split(",")
    for name in every:
        if name not in known:
            raise ValueError(f"{quoted(name)} is no {what}; known: {', '.join(known)}")
    return list(dict.fromkeys(every))


def ports(text: str) -> float:
    """2, or inf."""
    return math.inf if text.strip() == "inf" else factor(text)


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
        if root and not self.rooted:
            raise ValueError(f"{self} has no root to choose; leave --root away")
        if self.schedule is None:
            return build(self.collective, self.name, n, root, **dict(self.parameters))
        self.require_ranks([n])
        return self.schedule

    def require_ranks(self, asked: Iterable[int]) -> None:
        """ValueError if this is a schedule from a file, for another rank count."""
        if self.schedule is not None and (other := [n for n in asked if n != self.schedule.n]):
            raise ValueError(f"{self} is for {self.schedule.n} ranks, not {other[0]}; leave -n away")


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
            f"{quoted(text)} is no algorithm; write allreduce, allreduce/ring, ...; collectives: {known}"
        )
    if not slash:
        return [Target(collective, name) for name in algorithms(collective)]
    name, _, given = rest.partition(":")
    signature = inspect.signature(find(collective, name).rounds)
    own = {key: p.default for key, p in signature.parameters.items() if key not in ("n", "root")}
    takes = ", ".join(f"{key}=..." for key, default in own.items() if default is not None)
    what = f"parameter of {collective}/{name}, which takes {takes or 'no parameters'}"
    parameters = []
    for key, value in _settings(given, own, what):
        if own[key] is None:
            raise ValueError(
                f"{key} of {collective}/{name} is no text: in Python, build({collective!r}, {name!r}, n, {key}=...); "
                f"here it takes {takes or 'no parameters'}"
            )
        parameters.append((key, _value(key, value)))
    return [Target(collective, name, tuple(parameters))]


def _settings(text: str, known: Iterable[str], what: str) -> Iterator[tuple[str, str]]:
    """``key=value,key=value``, each key once."""
    seen = set()
    for setting in filter(None, text.split(",")):
        key, equals, value = setting.partition("=")
        if key not in known or not equals:
            raise ValueError(f"{quoted(setting)} is no {what}")
        if key in seen:
            raise ValueError(f"{key} is given twice; give it once")
        seen.add(key)
        yield key, value


def _value(key: str, text: str) -> int | str:
    if re.fullmatch("-?[0-9]+", text) is None:
        return text
    if len(text) > DIGITS:
        raise ValueError(f"{key}={quoted(text)} is too large")
    return int(text)


def _from_file(path: Path) -> Target:
    if not path.is_file():
        raise ValueError(
            f"there is no file {str(path)!r}; give MSCCL-IR as .xml, or an algorithm like allreduce/ring"
        )
    schedule = import_msccl(path)
    assert schedule.collective is not None
    return Target(schedule.collective.name, escaped(schedule.name), (), schedule)


def collective(text: str) -> str:
    """A collective, all algorithms of which are meant."""
    if text in COLLECTIVES:
        return text
    if text.partition("/")[0] in COLLECTIVES or text.endswith(".xml"):
        raise ValueError(
            f"{quoted(text)}: tune compares all algorithms of a collective; write it like allreduce"
        )
    raise ValueError(f"{quoted(text)} is no collective; known: {', '.join(COLLECTIVES)}")


def placement(text: str) -> str | list[int]:
    """block, cyclic, random, random:SEED, or host numbers separated by commas."""
    hosts = [host for part in text.split(",") if (host := whole(part)) is not None]
    if len(hosts) == len(text.split(",")):
        if max(hosts) >= MOST_HOSTS:
            raise ValueError(f"{quoted(text)}: host numbers are below {MOST_HOSTS:,}")
        return hosts
    if re.fullmatch("block|cyclic|random(:[0-9]{1,19})?", text):
        return text
    raise ValueError(
        f"{quoted(text)} is no placement; write block, cyclic, random:SEED or host numbers like 3,1,0,2"
    )


def slow(text: str) -> tuple[int, float]:
    """A rank and its factor: 3=2.5."""
    rank, equals, times = text.partition("=")
    number = whole(rank)
    if number is None or not equals:
        raise ValueError(f"{quoted(text)} is no straggler; write rank and factor like 3=2.5")
    return number, factor(times)


def pair(text: str) -> tuple[str, str]:
    """Two vertices of a topology: host 0,switch 0."""
    first, comma, second = text.partition(",")
    if not comma or not first.strip() or not second.strip():
        raise ValueError(f"{quoted(text)} is no link; write its two ends like 'host 0,switch 0'")
    return first.strip(), second.strip()


def degraded(text: str) -> tuple[tuple[str, str], float]:
    """Two vertices and a share: host 0,switch 0=0.5."""
    ends, equals, share = text.rpartition("=")
    if not equals:
        raise ValueError(f"{quoted(text)}: write the two ends and a share like 'host 0,switch 0=0.5'")
    return pair(ends), factor(share)


LOGGP: dict[str, Callable[[str], float]] = {
    "L": seconds, "o": seconds, "g": seconds, "G": factor, "O": factor, "S": size,
}  # fmt: skip


def loggp(text: str) -> dict[str, float]:
    """Parameters of LogGP: o=1us,L=500ns,S=64K."""
    what = (
        "parameter of LogGP; write L, o, g (times), G, O (seconds a byte), S (bytes) like o=1us,G=4e-11,S=64K"
    )
    return {key: LOGGP[key](value) for key, value in _settings(text, LOGGP, what)}
