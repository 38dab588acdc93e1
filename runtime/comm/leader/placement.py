"""Which part of which tensor lies on which server."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import NamedTuple

import numpy as np

PART_BYTES = 2 << 20  # a larger tensor is split, so that its parts travel and are updated side by side


class Part(NamedTuple):
    """Elements [start, stop) of the flattened tensor ``key``: whole rows (axis 0) where a row is no larger than a part."""

    number: int  # among all parts of all keys
    key: str
    start: int
    stop: int
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    holders: tuple[int, ...] = ()  # numbers of the servers that have it, the first answers

    @property
    def size(self) -> int:
        return self.stop - self.start

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize


class Tensor(NamedTuple):
    """What there is to know of a tensor before there is one."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def place(
    tensors: Mapping[str, Tensor], servers: int, placement: str = "balanced", part_bytes: int = PART_BYTES,
    replicas: int = 0,
) -> list[Part]:  # fmt: skip
    """The parts of ``tensors``, in their order, each with the servers 0 ... servers - 1 that hold it.

    ``placement``: "balanced", the largest first to the server that has the fewest bytes (Graham 1969: at most 4/3 of the
    best); "range", neighbours together, in equal shares of bytes; "hash", by name alone, so that a key's place does not
    depend on the others. ``replicas``: so many servers after the first hold it too. ValueError: an option that makes no
    sense.
    """
    if placement not in PLACEMENTS:
        raise ValueError(f"unknown placement {placement!r}; known: {', '.join(PLACEMENTS)}")
    if part_bytes < 1:
        raise ValueError(f"part_bytes must be at least 1, it is {part_bytes}")
    if not 0 <= replicas < servers:
        raise ValueError(f"replicas must be 0 ... {servers - 1} with {servers} servers, it is {replicas}")
    parts = [part for key, tensor in tensors.items() for part in _split(key, tensor, part_bytes)]
    first = PLACEMENTS[placement](parts, servers)
    return [
        part._replace(number=i, holders=tuple((at + k) % servers for k in range(replicas + 1)))
        for i, (part, at) in enumerate(zip(parts, first))
    ]


def _split(key: str, tensor: Tensor, part_bytes: int) -> list[Part]:
    shape, dtype = tensor
    size = prod(shape)
    row = prod(shape[1:])
    count = max(1, -(-tensor.nbytes // part_bytes))
    if shape and count <= shape[0]:  # whole rows: a part of a matrix is a matrix
        cuts = [shape[0] * i // count for i in range(count + 1)]
        return [
            Part(0, key, a * row, b * row, (b - a, *shape[1:]), dtype)
            for a, b in pairwise(cuts)
        ]  # fmt: skip
    count = min(count, max(1, size))
    cuts = [size * i // count for i in range(count + 1)]
    return [Part(0, key, a, b, shape if count == 1 else (b - a,), dtype) for a, b in pairwise(cuts)]


def _balanced(parts: Sequence[Part], servers: int) -> list[int]:
    load, chosen = [0] * servers, [0] * len(parts)
    for i in sorted(range(len(parts)), key=lambda i: -parts[i].nbytes):
        chosen[i] = min(range(servers), key=load.__getitem__)
        load[chosen[i]] += parts[i].nbytes
    return chosen


def _range(parts: Sequence[Part], servers: int) -> list[int]:
    """A part goes where its middle byte falls, when all bytes in a row are cut evenly."""
    total, before, chosen = sum(part.nbytes for part in parts), 0, []
    for part in parts:
        middle = before + part.nbytes // 2
        chosen.append(min(middle * servers // total, servers - 1) if total else 0)
        before += part.nbytes
    return chosen


def _hash(parts: Sequence[Part], servers: int) -> list[int]:
    return [zlib.crc32(f"{part.key}:{part.start}".encode()) % servers for part in parts]


PLACEMENTS: dict[str, Callable[[Sequence[Part], int], list[int]]] = {
    "balanced": _balanced, "range": _range, "hash": _hash,
}  # fmt: skip
