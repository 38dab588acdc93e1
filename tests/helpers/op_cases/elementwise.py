"""Ops that work element by element."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np

from helpers.op_cases.draw import Array, Case, distinct, normal, positive, strided

BROADCASTS = [
    ((), ()),
    ((3,), ()),
    ((2, 3), (3,)),
    ((2, 1), (1, 3)),
    ((4, 1, 3), (2, 1)),
    ((0, 3), (3,)),
    ((1,), (0,)),
]


def binary(name: str, second: Callable[..., Array] = normal) -> list[Case]:
    cases: list[Case] = [(name, {}, [normal(*a), second(*b)]) for a, b in BROADCASTS]
    cases += [(name, {}, [normal(*b), second(*a)]) for a, b in BROADCASTS]
    return [*cases, (name, {}, [strided(normal(3, 5)), strided(second(3, 5))])]


def unary(name: str, draw: Callable[..., Array] = normal, **options: Any) -> list[Case]:
    return [(name, options, [draw(*s)]) for s in [(), (1,), (5,), (2, 3), (0, 4)]] + [
        (name, options, [strided(draw(3, 4, 2))])
    ]


def inside(*shape: int) -> Array:
    """In (-1, 1)."""
    return np.asarray(np.tanh(normal(*shape)))


def shifted(*shape: int) -> Array:
    """As far from integers, and from ``distinct`` numbers, as those are from each other."""
    return distinct(*shape)[::-1] + 0.03 if shape else distinct() + 0.03


def choices() -> list[Case]:
    masks = [
        ((), (), ()),
        ((2, 3), (3,), (2, 1)),
        ((3,), (2, 1), ()),
        ((2, 1, 1), (3,), (4, 1)),
        ((0, 2), (2,), ()),
    ]
    cases: list[Case] = [
        ("where", {"condition": normal(*c) > 0}, [normal(*a), normal(*b)]) for c, a, b in masks
    ]
    return [
        *cases,
        ("where", {"condition": strided(normal(3, 2)) > 0}, [strided(normal(3, 2)), strided(normal(3, 2))]),
        *(case for low, high in [(-0.3, 0.2), (-inf, 0), (0, inf), (0.3, -0.3)]
          for case in unary("clamp", distinct, low=low, high=high)),
    ]  # fmt: skip


CASES: list[Case] = [
    *binary("add"), *binary("sub"), *binary("mul"), *binary("div", positive),
    *binary("maximum", shifted), *binary("minimum", shifted), *choices(),
    ("power", {}, [positive(2, 3), normal(3)]), ("power", {}, [positive(), normal(2)]),
    ("power", {}, [positive(0, 3), normal(3)]), ("power", {}, [strided(positive(3, 2)), strided(normal(3, 2))]),
    *(case for name in ("neg", "exp", "expm1", "tanh", "sigmoid", "square", "sin", "cos", "atan", "sinh", "cosh",
                        "asinh", "erf", "clone") for case in unary(name)),
    *(case for name in ("log", "log1p", "log2", "sqrt", "rsqrt") for case in unary(name, positive)),
    *(case for name in ("tan", "asin", "acos", "atanh") for case in unary(name, inside)),
    *unary("acosh", lambda *shape: 1 + positive(*shape)),
    *(case for name in ("relu", "abs", "sign", "floor", "ceil", "round") for case in unary(name, distinct)),
    *(case for e in (0, 1, 2, 3, -1, 0.5, -1.5) for case in unary("pow", positive, exponent=e)),
]  # fmt: skip
