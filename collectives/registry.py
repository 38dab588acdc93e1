"""Where an algorithm is registered, and built into a schedule. One decorator, one place."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from numbers import Integral
from typing import Any

import numpy as np
from ringleader.collectives.collective import COLLECTIVES, Collective
from ringleader.collectives.count import Count
from ringleader.collectives.schedule import Round, Schedule

Rounds = Callable[..., Iterable[Round]]
MOST = 1 << 20  # that a parameter may be


@dataclass(frozen=True, eq=False)
class Algorithm:
    """A function that yields rounds, and what is known about it."""

    collective: Collective
    name: str
    rounds: Rounds
    slots: Callable[..., int]
    scratch: Callable[..., int]
    ordered: bool
    count: Callable[..., Count | None] | None
    tries: Mapping[str, Sequence[Hashable]]
    least: Mapping[str, int]

    @cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self.rounds)

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        return tuple(self._signature.parameters)

    @cached_property
    def built_in(self) -> bool:
        """Part of this library, so proved before it was released."""
        return self.rounds.__module__.startswith(__package__ + ".")

    def checked(self, n: int, root: int, given: Mapping[str, Any]) -> dict[str, Hashable]:
        """``given`` as plain Python values. ValueError if there is no such rank count, root or parameter, or if a
        parameter is not what it must be."""
        what = f"{self.collective.name} {self.name!r}"
        if _whole(n, f"{what}: rank count") < 1:
            raise ValueError(f"{what}: rank count must be at least 1, got {n}")
        if not 0 <= _whole(root, f"{what}: root") < n:
            raise ValueError(f"{what}: root {root} is out of range for {n} ranks (0 ... {n - 1})")
        if unknown := sorted(set(given) - set(self.parameters)):
            takes = ", ".join(self.parameters)
            raise ValueError(f"{what} takes {takes}; not {', '.join(unknown)}")
        return {key: self._value(f"{what}: {key}", key, value) for key, value in given.items()}

    def _value(self, name: str, key: str, value: Any) -> Hashable:
        default = self._signature.parameters[key].default
        if not isinstance(default, int):
            plain: Hashable = _plain(value)
            return plain
        number = _whole(value, name)
        if number < self.least.get(key, number):
            raise ValueError(f"{name} must be at least {self.least[key]}, got {number}")
        if abs(number) > MOST:
            raise ValueError(f"{name} must be at most {MOST}, got {number}")
        return number

    def arguments(self, n: int, root: int, given: Mapping[str, Hashable]) -> dict[str, Any]:
        """All arguments of ``rounds`` (and of ``slots``, ``scratch``, ``count``), defaults filled in."""
        every = {"n": n, "root": root, **given}
        bound = self._signature.bind(**{k: v for k, v in every.items() if k in self.parameters})
        bound.apply_defaults()
        return dict(bound.arguments)

    def closed_form(self, n: int, root: int, given: Mapping[str, Hashable]) -> Count | None:
        """Its count without building anything, if a formula is known for these arguments."""
        known = self.checked(n, root, given)
        return None if self.count is None else self.count(**self.arguments(n, root, known))


def _whole(value: Any, name: str) -> int:
    """A whole number of any kind as Python's; ValueError for others, and for truth values."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral):
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    return int(value)


def _plain(value: Any) -> Any:
    """Lists and arrays as tuples, numbers of numpy as Python's: hashable, and equal where they mean the same."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return tuple(map(_plain, value))
    return int(value) if isinstance(value, np.integer) else value


_algorithms: dict[tuple[str, str], Algorithm] = {}


def algorithm(
    collective: str, *, name: str | None = None, ordered: bool = False,
    slots: Callable[..., int] = lambda **_: 1, scratch: Callable[..., int] = lambda **_: 0,
    count: Callable[..., Count | None] | None = None,
    tries: Mapping[str, Sequence[Hashable]] | None = None, least: Mapping[str, int] | None = None,
) -> Callable[[Rounds], Rounds]:  # fmt: skip
    """Register a function of ``n`` (and ``root``, ``chunks``, ... by name) that yields Rounds.

    ``slots`` and ``scratch`` get the same keyword arguments and say how finely a block is cut and how
    many scratch slots a rank needs. ``count`` gets them too and is what ``collectives.count`` would find,
    in closed form, without looking at the rounds; without it, or where it returns None, the schedule is
    counted. ``tries``: for each parameter of the algorithm's own, values worth trying: tests prove them, the
    tuner compares them; ``least``: what a number must at least be. ``ordered``: folds keep rank order, so
    operations need not commute. The name is the function's, dashed. Registering a name again replaces it
    (notebooks do).
    """
    what = find_collective(collective)

    def register(rounds: Rounds) -> Rounds:
        key = name or rounds.__name__.replace("_", "-")
        _algorithms[what.name, key] = Algorithm(
            what, key, rounds, slots, scratch, ordered, count, tries or {}, least or {}
        )
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


def variants(collective: str, name: str) -> list[dict[str, Hashable]]:
    """All combinations of the parameter values that the algorithm says are worth trying."""
    tries = find(collective, name).tries
    return [dict(zip(tries, values)) for values in itertools.product(*tries.values())]


def build(collective: str, name: str, n: int, root: int = 0, **parameters: Hashable) -> Schedule:
    """The schedule of algorithm ``name`` on ``n`` ranks. Built once, then cached.

    ``parameters`` are the algorithm's own (``chunks``, ``group``, ...). ValueError names what is wrong
    and what would be right.
    """
    known = find(collective, name)
    given = known.checked(n, root, parameters)
    return _build(known, int(n), int(root), tuple(sorted(given.items())))


@lru_cache(maxsize=256)
def _build(known: Algorithm, n: int, root: int, given: tuple[tuple[str, Hashable], ...]) -> Schedule:
    every = known.arguments(n, root, dict(given))
    return Schedule(
        n, known.slots(**every), tuple(known.rounds(**every)), known.collective, root, known.name,
        known.ordered, known.scratch(**every),
    )  # fmt: skip
