"""Recurrent networks."""

from __future__ import annotations

from typing import Any

import numpy as np

from helpers.op_cases.draw import Array, Case, normal, strided

GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def arrays(name: str, t: int, n: int, i: int, h: int, bias: bool = True) -> list[Array]:
    """The inputs of one layer in one direction; the states differ from one another."""
    rows = GATES[name] * h
    states = [normal(n, h), normal(h, n).T][: 2 if name == "lstm" else 1]
    return [
        normal(t, n, i),
        *states,
        normal(rows, i),
        normal(rows, h),
        *([normal(rows), -normal(rows)] if bias else []),
    ]


def layers(name: str, **options: Any) -> list[Case]:
    sizes = [(3, 2, 2, 3), (1, 1, 1, 1), (2, 0, 3, 2), (0, 2, 2, 1), (1, 3, 2, 2)]
    cases: list[Case] = [
        (name, {**options, "reverse": reverse}, arrays(name, *size))
        for size in sizes
        for reverse in (False, True)
    ]
    for lengths in ([3, 1, 4], [1, 4, 4], [0, 4, 2], [1, 1, 1]):
        for reverse in (False, True):
            ragged = {**options, "lengths": np.array(lengths), "reverse": reverse}
            cases.append((name, ragged, arrays(name, 4, 3, 2, 2)))
    for lengths in (None, np.array([3, 0, 4])):
        for table in (2, 5):
            _, *rest = arrays(name, 4, 3, 2, 2)
            drawn = np.arange(12).reshape(3, 4).T * 7 % table
            cases.append((name, {**options, "lengths": lengths, "tokens": drawn}, [normal(table, 2), *rest]))
    apart = [strided(a) for a in arrays(name, 3, 2, 2, 3)]
    return [*cases, (name, options, arrays(name, 3, 2, 2, 3, bias=False)), (name, options, apart)]


CASES: list[Case] = [*layers("rnn"), *layers("rnn", nonlinearity="relu"), *layers("lstm"), *layers("gru")]
