"""An algorithm with its parameters: what is chosen, for what, and from which candidates."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ringleader.collectives.cost import require_sound
from ringleader.collectives.registry import algorithms, build, find, variants
from ringleader.collectives.schedule import Schedule

MOST_CHUNKS = 64  # pieces into which a block is cut for pipelining
LEAST_CHUNK = 1024  # bytes of such a piece


@dataclass(frozen=True)
class Choice:
    """``given``: the parameters, as sorted pairs."""

    algorithm: str
    given: tuple[tuple[str, Hashable], ...] = ()

    @classmethod
    def of(cls, algorithm: str, parameters: Mapping[str, Hashable]) -> Choice:
        return cls(algorithm, tuple(sorted(parameters.items())))

    @property
    def parameters(self) -> dict[str, Hashable]:
        return dict(self.given)

    def build(self, collective: str, n: int, root: int = 0) -> Schedule:
        """ValueError for VENDOR, which no schedule describes."""
        if self == VENDOR:
            raise ValueError(
                f"{collective}: the communication library's own collective is no schedule to build"
            )
        return build(collective, self.algorithm, n, root, **self.parameters)

    @property
    def sort_key(self) -> tuple[str, tuple[tuple[str, int, str], ...]]:
        """By name, then by parameters, numbers by value."""
        pairs = ((key, value if isinstance(value, int) else 0, repr(value)) for key, value in self.given)
        return self.algorithm, tuple(pairs)

    def __str__(self) -> str:
        given = ", ".join(f"{key}={value}" for key, value in self.given)
        return f"{self.algorithm}({given})" if given else self.algorithm


VENDOR = Choice("vendor")  # the communication library's own collective; only a measurement can choose it


class Key(NamedTuple):
    """``ordered``: for operations that do not commute, so only algorithms that keep rank order."""

    collective: str
    n: int
    ordered: bool


class Timed(NamedTuple):
    """``seconds``: as measured; None: chosen by a model."""

    choice: Choice
    seconds: float | None


class Range(NamedTuple):
    """``choice`` is for buffers of ``start`` bytes (see ``cost``) up to the start of the next range.

    Where it was measured, it took ``seconds`` for ``start`` bytes, and ``others`` are slower, the fastest first:
    to compare with, and for calls that ``choice`` does not suit.
    """

    start: int
    choice: Choice
    seconds: float | None = None
    others: tuple[Timed, ...] = ()

    @property
    def ranking(self) -> tuple[Timed, ...]:
        return (Timed(self.choice, self.seconds), *self.others)


def candidates(collective: str, n: int, nbytes: int, ordered: bool = False) -> list[Choice]:
    """What to compare for ``nbytes`` bytes (see ``cost``) on ``n`` ranks, each different schedule once.

    Every algorithm with the parameters in its ``tries``; where it has ``chunks``, also 2, 4, 8, ... up to
    MOST_CHUNKS of them, as long as a chunk has LEAST_CHUNK bytes. Parameters that do not suit ``n`` are left
    out. ``ordered``: only algorithms that keep rank order, for operations that do not commute.
    """
    found: dict[tuple[str, str], Choice] = {}
    for name in algorithms(collective):
        known = find(collective, name)
        if ordered and not known.ordered:
            continue
        for parameters in variants(collective, name):
            for choice in _with_more_chunks(Choice.of(name, parameters), nbytes):
                try:
                    require_sound(collective, name, n, 0, **choice.parameters)
                except ValueError:
                    continue
                found.setdefault((name, repr(known.arguments(n, 0, choice.parameters))), choice)
    return list(found.values())


def _with_more_chunks(choice: Choice, nbytes: int) -> list[Choice]:
    if "chunks" not in choice.parameters:
        return [choice]
    powers = [1 << j for j in range(1, MOST_CHUNKS.bit_length()) if nbytes >> j >= LEAST_CHUNK]
    return [choice, *(Choice.of(choice.algorithm, choice.parameters | {"chunks": k}) for k in powers)]
