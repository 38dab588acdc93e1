"""A topology from a line of text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ringleader.collectives.topology.base import Topology
from ringleader.collectives.topology.dragonfly import dragonfly
from ringleader.collectives.topology.fat_tree import fat_tree
from ringleader.collectives.topology.graph import graph_file
from ringleader.collectives.topology.islands import islands
from ringleader.collectives.topology.regular import grid, star, switch
from ringleader.collectives.topology.units import MOST_HOSTS, bytes_per_second, quoted, seconds, whole

Values = Mapping[str, Any]
LINK = {"bandwidth": bytes_per_second, "latency": seconds}  # keys of every kind whose links are all alike


def _whole(text: str) -> int:
    value = whole(text)
    if value is None or not 1 <= value <= MOST_HOSTS:
        raise ValueError(f"{quoted(text)} is no whole number above 0, up to {MOST_HOSTS:,}")
    return value


def _dims(text: str) -> tuple[int, ...]:
    try:
        return tuple(map(_whole, text.lower().split("x")))
    except ValueError:
        raise ValueError(f"{quoted(text)} are no dimensions; write them like 4x4") from None


@dataclass(frozen=True)
class Kind:
    """``build(ranks, values)``; ``keys`` and how to read them (the first may be given without its name)."""

    example: str
    keys: Mapping[str, Callable[[str], Any]]
    build: Callable[[int | None, dict[str, Any]], Topology]


def _fit(kind: str, ranks: int | None) -> int:
    """The number of hosts to make room for where the text gives no sizes."""
    if ranks is None:
        raise ValueError(f"{kind} needs its size, like {_kinds[kind].example}, or the number of ranks to fit")
    return ranks


def _sized(kind: str, make: Callable[..., Topology]) -> Callable[[int | None, dict[str, Any]], Topology]:
    def build(ranks: int | None, given: dict[str, Any]) -> Topology:
        hosts = given.pop("hosts", None)
        return make(_fit(kind, ranks) if hosts is None else hosts, **given)

    return build


def _ring(hosts: int, **link: float) -> Topology:
    return grid("ring", (hosts,), True, **link)


def _boxed(kind: str, dimensions: int) -> Callable[[int | None, dict[str, Any]], Topology]:
    def build(ranks: int | None, given: dict[str, Any]) -> Topology:
        dims = given.pop("dims", None)
        dims = nearly_cubic(_fit(kind, ranks), dimensions) if dims is None else dims
        return grid(kind, dims, kind == "torus", **given)

    return build


def _hypercube(ranks: int | None, given: dict[str, Any]) -> Topology:
    dim = given.pop("dim", None)
    if dim is None:
        dim = max((_fit("hypercube", ranks) - 1).bit_length(), 1)
    return grid("hypercube", (2,) * dim, False, **given)


def _fat_tree(ranks: int | None, given: dict[str, Any]) -> Topology:
    k = given.pop("k", None)
    if k is None:
        step = 2 * given.get("oversubscription", 1)
        k = step
        while k**3 // 4 < _fit("fat-tree", ranks):
            k += step
    return fat_tree(k, **given)


def _dragonfly(ranks: int | None, given: dict[str, Any]) -> Topology:
    """Without sizes: the smallest balanced one, with h hosts and h long cables on each of 2h routers."""
    sizes = {key: given.pop(key) for key in ("groups", "routers", "hosts") if key in given}
    if not sizes:
        h = 1
        while 2 * h * h * (2 * h * h + 1) < _fit("dragonfly", ranks):
            h += 1
        sizes = {"groups": 2 * h * h + 1, "routers": 2 * h, "hosts": h}
    if len(sizes) < 3:
        raise ValueError(
            f"dragonfly needs groups, routers and hosts together, like {_kinds['dragonfly'].example}"
        )
    return dragonfly(**sizes, **given)


def _islands(ranks: int | None, given: dict[str, Any]) -> Topology:
    count = given.pop("islands", None)
    if count is None:
        count = -(-_fit("islands", ranks) // given.get("gpus", 8))
    return islands(count, **given)


_kinds = {
    "switch": Kind("switch:hosts=64", {"hosts": _whole, **LINK}, _sized("switch", switch)),
    "star": Kind("star:hosts=9", {"hosts": _whole, **LINK}, _sized("star", star)),
    "ring": Kind("ring:hosts=8", {"hosts": _whole, **LINK}, _sized("ring", _ring)),
    "mesh": Kind("mesh:4x4", {"dims": _dims, **LINK}, _boxed("mesh", 2)),
    "torus": Kind("torus:dims=8x8x8", {"dims": _dims, **LINK}, _boxed("torus", 3)),
    "hypercube": Kind("hypercube:dim=4", {"dim": _whole, **LINK}, _hypercube),
    "fat-tree": Kind(
        "fat-tree:k=16,oversubscription=2", {"k": _whole, "oversubscription": _whole, **LINK}, _fat_tree
    ),
    "dragonfly": Kind(
        "dragonfly:groups=9,routers=4,hosts=2",
        {"groups": _whole, "routers": _whole, "hosts": _whole, **LINK}, _dragonfly,
    ),
    "islands": Kind(
        "islands:gpus=8,rails=8,inside=450G,between=50G",
        {"gpus": _whole, "rails": _whole, "islands": _whole, "inside": bytes_per_second,
         "between": bytes_per_second, "latency": seconds}, _islands,
    ),
    "file": Kind("file:cluster.graphml", {"path": str, **LINK}, lambda ranks, given: graph_file(**given)),
}  # fmt: skip

KINDS = {kind: known.example for kind, known in _kinds.items()}


def topology(text: str, ranks: int | None = None) -> Topology:
    """The topology that ``text`` describes: ``KIND`` or ``KIND:key=value,key=value``; examples in KINDS.

    Sizes that the text leaves out are made to fit ``ranks``. ``bandwidth=25G`` (B/s) and ``latency=1us`` are
    those of every link.
    """
    kind, _, rest = text.strip().partition(":")
    if kind not in _kinds:
        raise ValueError(
            f"unknown topology {quoted(kind)}; known: {', '.join(_kinds)} (for example {KINDS['torus']})"
        )
    try:
        made = _kinds[kind].build(ranks, _values(kind, rest))
    except ValueError as e:
        raise ValueError(f"topology {quoted(text)}: {e}") from None
    if ranks is not None and made.hosts < ranks:
        raise ValueError(f"topology {quoted(text)} has {made.hosts} hosts, too few for {ranks} ranks")
    return made


def _values(kind: str, text: str) -> dict[str, Any]:
    known = _kinds[kind]
    values: dict[str, Any] = {}
    for i, part in enumerate(_parts(kind, text)):
        key, equals, value = part.partition("=") if kind != "file" or i else ("path", "=", part)
        if not equals and i == 0:
            key, value = next(iter(known.keys)), part
        key = key.strip()
        if key not in known.keys or not (equals or i == 0):
            raise ValueError(
                f"unknown key {quoted(key)}; {kind} has {', '.join(known.keys)}, like {known.example}"
            )
        if key in values:
            raise ValueError(f"key {key!r} is given twice")
        try:
            values[key] = known.keys[key](value)
        except ValueError as e:
            raise ValueError(f"{key}: {e}, like {known.example}") from None
    return values


def _parts(kind: str, text: str) -> list[str]:
    """The text between commas; the path of a file may hold commas itself."""
    parts = text.split(",")
    if kind != "file":
        return parts if text.strip() else []
    if not text:
        raise ValueError("file needs a path")
    end = len(parts)
    while end > 1 and parts[end - 1].partition("=")[0].strip() in LINK:
        end -= 1
    return [",".join(parts[:end]), *parts[end:]]


def nearly_cubic(hosts: int, dimensions: int) -> tuple[int, ...]:
    """The smallest box for ``hosts`` hosts of which no side is more than twice another, longest side first."""
    while True:
        box = _squarest(hosts, dimensions)
        if box[0] <= 2 * box[-1]:
            return box
        hosts += 1


def _squarest(hosts: int, dimensions: int) -> tuple[int, ...]:
    """``hosts`` as a product of sides with the smallest longest side."""
    if dimensions == 1:
        return (hosts,)
    boxes = (
        (side, *_squarest(hosts // side, dimensions - 1))
        for side in range(1, round(hosts ** (1 / dimensions)) + 1)
        if hosts % side == 0
    )
    return tuple(sorted(min(boxes, key=lambda box: (max(box), -min(box))), reverse=True))
