"""Ops that move elements."""

from __future__ import annotations

from helpers.op_cases.draw import Case, normal, strided

CASES: list[Case] = [
    *(("reshape", {"target": t}, [normal(2, 3, 4)]) for t in [(24,), (4, 6), (-1, 3), (2, 3, 4, 1)]),
    ("reshape", {"target": ()}, [normal(1, 1)]), ("reshape", {"target": (3, 0)}, [normal(0, 2)]),
    ("reshape", {"target": (6,)}, [strided(normal(2, 3))]),
    *(("permute", {"dims": d}, [normal(2, 3, 4)]) for d in [(0, 1, 2), (2, 0, 1), (1, -1, 0)]),
    ("permute", {"dims": ()}, [normal()]), ("permute", {"dims": (1, 0)}, [normal(0, 2)]),
]  # fmt: skip
