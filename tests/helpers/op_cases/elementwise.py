"""Ops that work element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


CASES: list[Case] = [
    *binary("add"), *binary("sub"), *binary("mul"), *binary("div", positive),
    *unary("neg"), *unary("exp"), *unary("log", positive), *unary("tanh"), *unary("sigmoid"),
    *unary("relu", distinct),
    *(case for e in (0, 1, 2, 3, -1, 0.5, -1.5) for case in unary("pow", positive, exponent=e)),
]  # fmt: skip
