"""Parts of tensors, and tensors joined."""

from __future__ import annotations

from helpers.op_cases.draw import Case, normal, strided

CASES: list[Case] = [
    *(("rows", {"start": a, "stop": b}, [normal(3, 2)]) for a, b in ((0, 3), (1, 2), (2, 2), (0, 1))),
    ("rows", {"start": 0, "stop": 0}, [normal(0)]), ("rows", {"start": 1, "stop": 3}, [strided(normal(4, 3))]),
    ("joined", {"dim": 0}, [normal(2, 3), normal(1, 3), normal(0, 3)]), ("joined", {"dim": 1}, [normal(2, 3)]),
    ("joined", {"dim": 2}, [normal(2, 1, 3), strided(normal(2, 1, 2))]),
]  # fmt: skip
