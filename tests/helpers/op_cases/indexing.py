"""Ops that read and write at given places."""

from __future__ import annotations

from typing import Any

import numpy as np

from helpers.op_cases.draw import Case, normal, strided

MASK = np.arange(12).reshape(3, 4) % 3 == 0
ROWS, COLUMNS = np.array([2, 0, 2, 2]), np.array([[0, 3], [-1, 0]])
INDICES: list[Any] = [  # of a (3, 4, 2)
    0, -1, slice(1, None), slice(None, None, -2), slice(2, 1), None, ..., (), (1, 2), (..., 0), (0, ..., None, 1),
    (slice(None), 1), (slice(None), slice(3, 0, -2), None), (2, 3, 1), np.int64(1),
    ROWS, COLUMNS % 3, (ROWS, 1), (slice(None), COLUMNS), (ROWS, slice(1, 3), 0), (ROWS, slice(None), ROWS % 2),
    (ROWS, ROWS), (..., ROWS % 2), (None, ROWS), ROWS[:0], (ROWS[:, None], COLUMNS[:1]),
    MASK, MASK[:, 0], (MASK, 1), (slice(None), MASK[0]), (MASK[:, 0], slice(1, 2)), (MASK[:, 0], ROWS[:1]),
    np.zeros((3, 4, 2), bool), True,
]  # fmt: skip


def gathers() -> list[Case]:
    draw = np.random.default_rng(0).integers
    cases: list[Case] = [
        ("gather", {"index": draw(-3, 3, shape), "dim": 1}, [normal(2, 3, 4)])
        for shape in [(2, 3, 4), (2, 5, 4), (1, 6, 2), (2, 0, 4), (0, 2, 1)]
    ]
    return [
        *cases,
        ("gather", {"index": draw(0, 3, (7,)), "dim": 0}, [normal(3)]),
        ("gather", {"index": draw(0, 3, (4, 2)), "dim": 0}, [strided(normal(3, 2))]),
    ]


CASES: list[Case] = [
    *(("getitem", {"index": i}, [normal(3, 4, 2)]) for i in INDICES),
    *(("getitem", {"index": i}, [strided(normal(3, 4, 2))]) for i in (0, ROWS, MASK, (ROWS, slice(1, 3), 0))),
    ("getitem", {"index": ()}, [normal()]), ("getitem", {"index": slice(1)}, [normal(0, 2)]),
    ("getitem", {"index": ROWS[:0]}, [normal(0, 2)]), ("getitem", {"index": ROWS}, [normal(3, 0)]),
    *(("setitem", {"index": i}, [normal(3, 4, 2), normal(*np.zeros((3, 4, 2))[i].shape)]) for i in INDICES),
    *(("setitem", {"index": i}, [normal(3, 4, 2), normal()]) for i in (0, ROWS, MASK, ...)),
    *(("setitem", {"index": i}, [strided(normal(3, 4, 2)), normal(1, 2)]) for i in (slice(1, 3), ROWS)),
    *gathers(),
]  # fmt: skip
