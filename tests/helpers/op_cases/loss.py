"""Losses."""

from __future__ import annotations

import numpy as np

from helpers.op_cases.draw import Case, normal, strided


def entropies() -> list[Case]:
    labels = np.array([2, 0, 2, 1])
    cases: list[Case] = [
        ("cross_entropy", {"target": labels[:n], "reduction": r}, [normal(n, 3)])
        for n in (0, 1, 4) for r in ("mean", "sum", "none") if n or r != "mean"
    ]  # fmt: skip
    return [*cases, ("cross_entropy", {"target": labels}, [strided(normal(4, 3))])]


CASES: list[Case] = entropies()
