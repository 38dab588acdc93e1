"""Reductions and matrix products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from helpers.op_cases.draw import Array, Case, distinct, normal, strided


def with_zeros() -> Array:
    """Rows with no, one and two zeros: the gradient of their product is everything, one number, nothing."""
    x = normal(3, 4)
    x[1, 2] = x[2, 0] = x[2, 3] = 0
    return x


def reductions(
    name: str, draw: Callable[..., Array] = normal, empty: bool = True, **options: Any
) -> list[Case]:
    axes: list[Any] = [None, 0, 1, -1, (0, 2), (-1, 0), (0, 1, 2), ()]
    cases: list[Case] = [
        (name, {"axis": a, "keepdims": k, **options}, [draw(2, 3, 4)]) for a in axes for k in (False, True)
    ]
    cases += [
        (name, {"axis": 1, **options}, [draw(0, 3)]),
        (name, {"axis": 0, **options}, [strided(draw(3, 2))]),
    ]
    return [
        *cases,
        (name, options, [draw()]),
        (name, {"axis": (0, 2), "keepdims": True, **options}, [strided(draw(3, 4, 2))]),
        *([(name, {"axis": 0, **options}, [draw(0, 3)])] if empty else []),
    ]


def spreads(name: str) -> list[Case]:
    """Of at least two elements, so that the difference quotient exists."""
    cases: list[Case] = [
        (name, {"axis": a, "keepdims": k, "correction": c}, [normal(2, 3, 4)])
        for a in (None, 0, -1, (0, 2)) for k in (False, True) for c in (0, 1)
    ]  # fmt: skip
    return [
        *cases,
        (name, {"axis": 1}, [normal(0, 3)]),
        (name, {"axis": 0, "correction": 2}, [strided(normal(3, 4))]),
    ]


MATMULS = [
    ((2, 3), (3, 4)), ((1, 1), (1, 1)), ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((5, 2, 3), (5, 3, 1)),
    ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((4, 1, 2, 3), (5, 3, 2)), ((0, 2, 3), (3, 2)),
    ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((3,), (5, 3, 2)), ((5, 2, 3), (3,)), ((0,), (0,)), ((0,), (0, 2)),
    ((1,), (4, 1, 1, 2)),
]  # fmt: skip

EINSUMS = [
    ("ij", "ji"), ("ij", ""), ("ij", "i"), ("i,i", ""), ("i,j", "ij"), ("ij,jk", "ik"), ("ij,jk", "ki"),
    ("bij,bjk", "bik"), ("bhqd,bhkd", "bhqk"), ("ij,jk,kl", "il"), ("ij,k", "j"), ("i,ij,j", ""), (",i", "i"),
    ("ijk,ik", "j"),
]  # fmt: skip
SIZES = {letter: 2 + i % 3 for i, letter in enumerate("bdhijklq")}


def einsums(sizes: dict[str, int]) -> list[Case]:
    return [
        ("einsum", {"operands": tuple(left.split(",")), "output": output},
         [normal(*(sizes[c] for c in letters)) for letters in left.split(",")])
        for left, output in EINSUMS
    ]  # fmt: skip


CASES: list[Case] = [
    *reductions("sum"), *reductions("mean", empty=False), *reductions("prod"), *reductions("logsumexp", empty=False),
    *reductions("norm", empty=False), *reductions("amax", distinct, empty=False),
    *reductions("amin", distinct, empty=False), *spreads("var"), *spreads("std"),
    *(("prod", {"axis": a}, [with_zeros()]) for a in (0, 1, None)),
    *(("cumsum", {"axis": a}, [x]) for a in (0, 1, -1) for x in (normal(3, 4), normal(0, 2), normal(1, 1))),
    ("cumsum", {"axis": 1}, [strided(normal(2, 3, 4))]),
    *(("matmul", {}, [normal(*a), normal(*b)]) for a, b in MATMULS),
    ("matmul", {}, [strided(normal(3, 4)), strided(normal(4, 2))]),
    *einsums(SIZES), *einsums({**SIZES, "i": 1}), *einsums({**SIZES, "i": 0}),
    ("einsum", {"operands": ("ij", "jk"), "output": "ki"}, [strided(normal(3, 4)), strided(normal(4, 2))]),
]  # fmt: skip
