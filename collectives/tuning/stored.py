"""A tuning table as JSON. What comes from a file is believed only after it has been checked."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from ringleader.collectives.cost import closed_cost, require_sound
from ringleader.collectives.registry import Algorithm
from ringleader.collectives.topology import KINDS
from ringleader.collectives.tuning.choice import VENDOR, Choice, Key, Range, Timed
from ringleader.collectives.tuning.model import Model, Predictor
from ringleader.collectives.tuning.simulated import Simulated

FORMAT = 1
MOST_TEXT = 16 << 20  # bytes of a file
MOST_ENTRIES = 4096  # entries, and ranges in one of them
MOST_RANKS = 1 << 20
MOST_SIZE = 1 << 62  # bytes
MOST_PARAMETER = 4096  # or the rank count, where that is more
MOST_OTHERS = 256  # of a range
MOST_SECONDS = 1e9
MOST_WORDS = 1024  # characters of what is said of a machine

Ranges = Mapping[Key, tuple[Range, ...]]


def dumps(ranges: Ranges, model: Predictor | None, machine: Mapping[str, str]) -> str:
    """Entries sorted by collective, rank count and order, ranges by size. What was not measured is left out."""
    entries = [{**key._asdict(), "ranges": [_range_out(r) for r in ranges[key]]} for key in sorted(ranges)]
    measured = {"machine": dict(machine)} if machine else {}
    whole = {"format": FORMAT, **measured, "model": _model_out(model), "choices": entries}
    return json.dumps(whole, indent=1, allow_nan=False) + "\n"


def _range_out(r: Range) -> dict[str, Any]:
    others = {"others": [_timed_out(timed) for timed in r.others]} if r.others else {}
    return {"from": r.start, **_timed_out(Timed(r.choice, r.seconds)), **others}


def _timed_out(timed: Timed) -> dict[str, Any]:
    seconds = {} if timed.seconds is None else {"seconds": timed.seconds}
    return {"algorithm": timed.choice.algorithm, "parameters": timed.choice.parameters, **seconds}


def _model_out(model: Predictor | None) -> dict[str, Any] | None:
    if isinstance(model, Model):
        return asdict(model)
    if isinstance(model, Simulated) and isinstance(model.network, str):
        return {"topology": model.network}
    return None


def read(path: Path) -> str:
    """The text of a file; ValueError if it is too long, or no text."""
    with path.open("rb") as file:
        text = file.read(MOST_TEXT + 1)
    if len(text) > MOST_TEXT:
        raise ValueError(f"more than {MOST_TEXT} bytes")
    return text.decode()


def loads(text: str) -> tuple[Ranges, Predictor | None, dict[str, str]]:
    """What ``dumps`` wrote. ValueError in one line: the entry, and what is wrong with it."""
    try:
        whole = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_key_twice)
        return _table_in(whole)
    except (ValueError, RecursionError) as e:
        raise ValueError(" ".join(str(e).split())) from None


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError(f"a key is given twice among {', '.join(repr(key[:40]) for key, _ in pairs[:8])}")
    return dict(pairs)


def _table_in(whole: Any) -> tuple[Ranges, Predictor | None, dict[str, str]]:
    machine = _machine_in(_optional(whole, "machine", {}))
    form, model, choices = _parts(whole, "the file", format=int, model=(dict, type(None)), choices=list)
    if form != FORMAT:
        raise ValueError(f"format {form}, this version reads {FORMAT}")
    found: dict[Key, tuple[Range, ...]] = {}
    for where, entry in _numbered(choices, "choices"):
        collective, n, ordered, ranges = _parts(
            entry, where, collective=str, n=int, ordered=bool, ranges=list
        )  # fmt: skip
        key = Key(collective, _within(n, 1, MOST_RANKS, f"{where}: n"), ordered)
        if key in found:
            raise ValueError(f"{where}: {collective} on {n} ranks, ordered {ordered}, is given twice")
        found[key] = _ranges_in(key, ranges, where)
    return found, _model_in(model), machine


def _machine_in(machine: Any) -> dict[str, str]:
    if type(machine) is not dict or any(type(value) is not str for value in machine.values()):
        raise ValueError(f"machine: must be an object of texts, got {_shown(machine)}")
    if sum(len(name) + len(value) for name, value in machine.items()) > MOST_WORDS:
        raise ValueError(f"machine: more than {MOST_WORDS} characters")
    return machine


def _ranges_in(key: Key, ranges: list[Any], where: str) -> tuple[Range, ...]:
    if not ranges:
        raise ValueError(f"{where}: no ranges")
    found: list[Range] = []
    for place, item in _numbered(ranges, f"{where}.ranges"):
        others = _optional(item, "others", [])
        if type(others) is not list or len(others) > MOST_OTHERS:
            raise ValueError(f"{place}: others must be a list of at most {MOST_OTHERS}, got {_shown(others)}")
        start, chosen = _timed_in(key, item, place, **{"from": int})
        least = found[-1].start + 1 if found else 0
        _within(start, least, MOST_SIZE, f"{place}: from")
        rest = tuple(_timed_in(key, other, where)[0] for where, other in _numbered(others, f"{place}.others"))
        found.append(Range(start, chosen.choice, chosen.seconds, rest))
    return tuple(found)


def _timed_in(key: Key, item: Any, place: str, **more: type) -> list[Any]:
    """The values of ``more``, then the choice with what it took."""
    seconds = _optional(item, "seconds", None)
    if seconds is not None and (type(seconds) not in (int, float) or not 0 <= seconds <= MOST_SECONDS):
        raise ValueError(
            f"{place}: seconds must be a number from 0 to {MOST_SECONDS:g}, got {_shown(seconds)}"
        )
    *values, name, given = _parts(item, place, **more, algorithm=str, parameters=dict)
    try:
        return [*values, Timed(_choice_in(key, name, given), seconds)]
    except ValueError as e:
        raise ValueError(f"{place}: {e}") from None


def _optional(item: Any, name: str, default: Any) -> Any:
    """Taken out of an object, which then holds what it must have."""
    return item.pop(name, default) if type(item) is dict else default


def _choice_in(key: Key, name: str, given: dict[str, Any]) -> Choice:
    """Checked as far as is possible without building the schedule."""
    if name == VENDOR.algorithm:
        if given:
            raise ValueError(f"{name!r} takes no parameters; not {_shown(given)}")
        return VENDOR
    known = require_sound(key.collective, name, key.n)
    if key.ordered and not known.ordered:
        raise ValueError(f"{name!r} does not keep rank order")
    choice = Choice.of(name, {k: _parameter(known, key.n, k, value) for k, value in given.items()})
    closed_cost(key.collective, name, key.n, 0, 0, **choice.parameters)
    return choice


def _parameter(known: Algorithm, n: int, name: str, value: Any) -> Hashable:
    """A value like those that the algorithm itself names, in its ``tries`` and as its default."""
    own = [p for p in known.parameters if p not in ("n", "root")]
    if name not in own:
        raise ValueError(f"{known.name!r} takes {', '.join(own) or 'no parameters'}; not {_shown(name)}")
    named: list[Hashable] = [known.arguments(n, 0, {})[name], *known.tries.get(name, ())]
    numbers = [v for v in named if type(v) is int]
    if type(value) is int and numbers:
        return _within(value, min(numbers), max(MOST_PARAMETER, n), name)
    for known_value in named:
        if type(value) is type(known_value) and value == known_value:
            return known_value
    like = "a whole number" if numbers else f"one of {', '.join(map(repr, named))}"
    raise ValueError(f"{name} must be {like}, got {_shown(value)}")


def _model_in(model: dict[str, Any] | None) -> Predictor | None:
    if model is None:
        return None
    if "topology" not in model:
        return Model(**dict(zip(asdict(Model()), _parts(model, "model", **_MODEL))))
    (text,) = _parts(model, "model", topology=str)
    if text.strip().partition(":")[0] not in KINDS:
        raise ValueError(f"model: unknown topology {text[:40]!r}; known: {', '.join(KINDS)}")
    return Simulated(text)


_MODEL: dict[str, Any] = {"alpha": (int, float), "beta": (int, float), "gamma": (int, float)}


def _parts(item: Any, where: str, **kinds: type | tuple[type, ...]) -> list[Any]:
    """The values of an object that must have exactly these keys, of these types."""
    if type(item) is not dict or set(item) != set(kinds):
        raise ValueError(f"{where}: must be an object of {', '.join(kinds)}; got {_shown(item)}")
    for key, kind in kinds.items():
        allowed = kind if isinstance(kind, tuple) else (kind,)
        if type(item[key]) not in allowed:  # a bool is no int here
            names = " or ".join(t.__name__ for t in allowed)
            raise ValueError(f"{where}: {key} must be of type {names}, got {_shown(item[key])}")
    return [item[key] for key in kinds]


def _numbered(items: list[Any], where: str) -> Iterator[tuple[str, Any]]:
    if len(items) > MOST_ENTRIES:
        raise ValueError(f"{where}: {len(items)} entries, at most {MOST_ENTRIES} are read")
    return ((f"{where}[{i}]", item) for i, item in enumerate(items))


def _within(value: int, least: int, most: int, what: str) -> int:
    if not least <= value <= most:
        raise ValueError(f"{what} must be from {least} to {most}, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
