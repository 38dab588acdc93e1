"""Losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from helpers.op_cases.draw import Case, normal, positive, strided

REDUCTIONS = ("mean", "sum", "none")


def class_losses(name: str, *more: dict[str, Any]) -> list[Case]:
    """Targets of each rank, with each reduction; ``more``: options tried with all of them."""
    labels = np.array([2, 0, -100, 2, 1])
    rows = [(normal(n, 3), labels[:n]) for n in (0, 1, 5)]
    rows += [(normal(3), np.array(1)), (normal(2, 3, 2), np.array([[0, 2], [-100, 1]]))]
    rows += [(normal(1, 3, 2, 1), np.array([[[1], [1]]])), (strided(normal(4, 3)), np.array([1, 1, 0, 2]))]
    return [
        (name, {"target": target, "reduction": reduction, **options}, [x])
        for options in ({}, {"weight": positive(3)}, *more)
        for x, target in rows
        for reduction in REDUCTIONS
        if target.size or reduction != "mean"
    ]


def pair_losses(name: str, *more: dict[str, Any]) -> list[Case]:
    shapes: list[tuple[int, ...]] = [(), (4,), (2, 3), (0, 2)]
    cases: list[Case] = [
        (name, {"reduction": reduction, **options}, [normal(*shape), positive(*shape)])
        for options in ({}, *more)
        for shape in shapes
        for reduction in REDUCTIONS
        if 0 not in shape or reduction != "mean"
    ]
    return [*cases, (name, {}, [strided(normal(3, 2)), strided(positive(3, 2))])]


CASES: list[Case] = [
    *class_losses("cross_entropy", {"label_smoothing": 0.2}, {"label_smoothing": 0.3, "weight": positive(3)}),
    ("cross_entropy", {"target": np.array([1, -1]), "ignore_index": -1}, [normal(2, 3)]),
    ("cross_entropy", {"target": np.array([0, 1]), "ignore_index": 1, "label_smoothing": 1.0}, [normal(2, 2)]),
    *class_losses("nll_loss"),
    *pair_losses("mse_loss"), *pair_losses("l1_loss"), *pair_losses("huber_loss", {"delta": 0.3}),
    *pair_losses("binary_cross_entropy_with_logits"),
    *(("binary_cross_entropy_with_logits", {"weight": w, "pos_weight": p}, [normal(2, 3), positive(2, 3)])
      for w in (None, positive(2, 1)) for p in (None, positive(3))),
]  # fmt: skip
