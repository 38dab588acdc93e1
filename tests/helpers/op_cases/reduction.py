"""Reductions and matrix products."""

from __future__ import annotations

from typing import Any

from helpers.op_cases.draw import Case, normal, strided


def reductions(name: str) -> list[Case]:
    axes: list[Any] = [None, 0, 1, -1, (0, 2), (-1, 0), (0, 1, 2), ()]
    cases: list[Case] = [
        (name, {"axis": a, "keepdims": k}, [normal(2, 3, 4)]) for a in axes for k in (False, True)
    ]
    return [
        *cases,
        (name, {}, [normal()]),
        (name, {"axis": 1}, [normal(0, 3)]),
        (name, {"axis": 0}, [strided(normal(3, 2))]),
    ]


MATMULS = [
    ((2, 3), (3, 4)), ((1, 1), (1, 1)), ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((5, 2, 3), (5, 3, 1)),
    ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((4, 1, 2, 3), (5, 3, 2)), ((0, 2, 3), (3, 2)),
]  # fmt: skip

CASES: list[Case] = [
    *reductions("sum"), *reductions("mean"),
    *(("matmul", {}, [normal(*a), normal(*b)]) for a, b in MATMULS),
    ("matmul", {}, [strided(normal(3, 4)), strided(normal(4, 2))]),
]  # fmt: skip
