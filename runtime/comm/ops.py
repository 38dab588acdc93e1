"""Reduction operations: a name, a ufunc and what is known of it. One table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Op:
    """``ufunc(x, y, out=...)``: a numpy ufunc or what behaves like one. ``commutes``: operands may be
    swapped. ``identity``: folding it in changes nothing (None: there is none for every dtype). ``divide``:
    the sum is divided by the number of ranks at the end."""

    name: str
    ufunc: Callable[..., Any]
    identity: Any = None
    commutes: bool = True
    divide: bool = False


OPS = {
    op.name: op
    for op in (
        Op("sum", np.add, 0),
        Op("prod", np.multiply, 1),
        Op("max", np.maximum),
        Op("min", np.minimum),
        Op("mean", np.add, 0, divide=True),
        Op("and", np.bitwise_and, -1),
        Op("or", np.bitwise_or, 0),
        Op("xor", np.bitwise_xor, 0),
    )
}


BITWISE = (np.bitwise_and, np.bitwise_or, np.bitwise_xor)
BFLOAT16 = "bfloat16"  # ml_dtypes'; numpy itself sees mere bytes


def find_op(op: str | Op, dtype: np.dtype[Any]) -> Op:
    """The operation, checked against the dtype. ValueError: unknown name, a mean of integers, bits of
    floats."""
    if isinstance(op, str):
        if op not in OPS:
            raise ValueError(f"unknown op {op!r}; known: {', '.join(OPS)}")
        op = OPS[op]
    kind = "f" if dtype.name == BFLOAT16 else dtype.kind
    if kind not in "biufc":
        raise ValueError(f"op {op.name!r} needs numbers, not dtype {dtype}")
    if op.ufunc in BITWISE and kind not in "biu":
        raise ValueError(f"op {op.name!r} works on bits, so it needs integers or booleans, not dtype {dtype}")
    if op.divide and kind not in "fc":
        raise ValueError(f"op 'mean' of {dtype} would lose the fraction; use 'sum', or a float dtype")
    return op
