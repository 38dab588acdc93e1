"""Attention."""

from __future__ import annotations

import numpy as np

from helpers.op_cases.draw import Array, Case, normal, strided

NAME = "scaled_dot_product_attention"
allowed = np.random.default_rng(5).random


def inputs(
    lead: tuple[int, ...] = (2,), length: int = 3, keys: int = 4, e: int = 2, ev: int = 3
) -> list[Array]:
    return [normal(*lead, length, e), normal(*lead, keys, e), normal(*lead, keys, ev)]


def attentions() -> list[Case]:
    sizes = [((), 3, 4, 2, 3), ((2, 2), 1, 3, 1, 1), ((1,), 1, 1, 2, 2), ((0, 2), 3, 2, 2, 2), ((2,), 0, 3, 2, 1),
             ((2,), 3, 0, 2, 2), ((2,), 4, 3, 3, 0)]  # fmt: skip
    cases: list[Case] = [
        (NAME, {"scale": 0.7, "is_causal": causal}, inputs(*size))
        for size in sizes
        for causal in (False, True)
    ]
    for mask in ((3, 4), (1, 4), (3, 1), (2, 3, 4), (2, 1, 4), (1, 1), (4,)):
        cases.append((NAME, {"scale": 1.0, "allowed": allowed(mask) > 0.4}, inputs()))
        cases.append((NAME, {"scale": 1.0, "is_causal": True}, [*inputs(), normal(*mask)]))
    grouped = [normal(2, 4, 3, 2), normal(2, 2, 4, 2), normal(2, 2, 4, 3)]
    for mask in ((3, 4), (4, 3, 4), (2, 1, 1, 4), (2, 4, 3, 1)):
        options = {"scale": 0.5, "groups": 2, "allowed": allowed(mask) > 0.4}
        cases.append((NAME, options, grouped))
        cases.append((NAME, {**options, "is_causal": True}, [*grouped, normal(*mask)]))
    wide = [normal(2, 1, 3, 2), normal(3, 4, 2), normal(4, 1)]  # leading axes that broadcast
    dropped = {"scale": 1.0, "dropout_p": 0.4, "seed": 3}
    return [
        *cases, (NAME, {"scale": 1.0}, wide), (NAME, {"scale": 1.0}, [strided(a) for a in inputs()]),
        (NAME, dropped, inputs()), (NAME, {**dropped, "groups": 2}, grouped), (NAME, {**dropped, "dropout_p": 1.0}, inputs()),
    ]  # fmt: skip


def rotations() -> list[Case]:
    angles = [((3, 4), (3, 2)), ((2, 3, 2), (3, 1)), ((0, 2), (0, 1)), ((1, 0), (1, 0)), ((2, 1, 6), (2, 1, 3)),
              ((2, 3, 4), (2,))]  # fmt: skip
    cases: list[Case] = [
        ("rotary", {"cos": np.cos(normal(*angle)), "sin": np.sin(normal(*angle))}, [normal(*x)])
        for x, angle in angles
    ]
    return [*cases, ("rotary", cases[0][1], [strided(normal(3, 4))])]


CASES: list[Case] = [*attentions(), *rotations()]
