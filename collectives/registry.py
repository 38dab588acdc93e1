"""Where an algorithm is registered, and built into a schedule. One decorator, one place."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from ringleader.collectives.collective import COLLECTIVES, Collective
from ringleader.collectives.schedule import Round, Schedule

Rounds = Callable[..., Iterable[Round]]


@dataclass(frozen=True)
class Algorithm:
    """A function that yields rounds, and what is known about it."""

    collective: Collective
    name: str
    rounds: Rounds
    slots: Callable[..., int]
    scratch: Callable[..., int]
    ordered: bool

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        return tuple(inspect.signature(self.rounds).parameters)


_algorithms: dict[tuple[str, str], Algorithm] = {}


def algorithm(
    collective: str, *, name: str | None = None, ordered: bool = False,
    slots: Callable[..., int] = lambda **_: 1, scratch: Callable[..., int] = lambda **_: 0,
) -> Callable[[Rounds], Rounds]:  # fmt: skip
    """Register a function of ``n`` (and ``root``, ``chunks``, ... by name) that yields Rounds.

    ``slots`` and ``scratch`` get the same keyword arguments and say how finely a block is cut and how
    many scratch slots a rank needs. The name is the function's, dashed. Registering a name again
    replaces it (notebooks do).
    """
    what = find_collective(collective)

    def register(rounds: Rounds) -> Rounds:
        key = name or rounds.__name__.replace("_", "-")
        _algorithms[what.name, key] = Algorithm(what, key, rounds, slots, scratch, ordered)
        _build.cache_clear()
        return rounds

    return register


def find_collective(name: str) -> Collective:
    if name not in COLLECTIVES:
        raise ValueError(f"unknown collective {name!r}; known: {', '.join(sorted(COLLECTIVES))}")
    return COLLECTIVES[name]


def algorithms(collective: str) -> list[str]:
    """Names of the algorithms registered for ``collective``."""
    return sorted(name for what, name in _algorithms if what == find_collective(collective).name)


def find(collective: str, name: str) -> Algorithm:
    """The registered algorithm, or ValueError with the list of known ones."""
    known = algorithms(collective)
    if name not in known:
        raise ValueError(f"unknown {collective} algorithm {name!r}; known: {', '.join(known)}")
    return _algorithms[collective, name]


def build(collective: str, name: str, n: int, root: int = 0, **parameters: int) -> Schedule:
    """The schedule of algorithm ``name`` on ``n`` ranks. Built once, then cached.

    ``parameters`` are the algorithm's own (``chunks``, ``group``, ...). ValueError names what is wrong
    and what would be right.
    """
    known = find(collective, name)
    if n < 1:
        raise ValueError(f"{collective}: rank count must be at least 1, got {n}")
    if not 0 <= root < n:
        raise ValueError(f"{collective}: root {root} is out of range for {n} ranks (0 ... {n - 1})")
    unknown = set(parameters) - set(known.parameters)
    if unknown:
        raise ValueError(
            f"{collective} {name!r} takes {', '.join(known.parameters)}; not {', '.join(sorted(unknown))}"
        )
    return _build(known, n, root, tuple(sorted(parameters.items())))


@lru_cache(maxsize=256)
def _build(known: Algorithm, n: int, root: int, given: tuple[tuple[str, int], ...]) -> Schedule:
    arguments: dict[str, Any] = {"n": n, "root": root, **dict(given)}
    arguments = {key: value for key, value in arguments.items() if key in known.parameters}
    bound = inspect.signature(known.rounds).bind(**arguments)
    bound.apply_defaults()
    every: dict[str, Any] = dict(bound.arguments)
    return Schedule(
        n, known.slots(**every), tuple(known.rounds(**every)), known.collective, root, known.name,
        known.ordered, known.scratch(**every),
    )  # fmt: skip
