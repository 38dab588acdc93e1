"""For every op of the table: options and inputs with which tests/runtime/autograd/test_ops.py tries it."""

from helpers.op_cases import (
    activation,
    attention,
    elementwise,
    images,
    indexing,
    linear,
    loss,
    movement,
    normalization,
    recompute,
    recurrent,
    reduction,
)
from helpers.op_cases.draw import Case

PARTS = (
    activation,
    attention,
    elementwise,
    images,
    indexing,
    linear,
    loss,
    movement,
    normalization,
    recompute,
    recurrent,
    reduction,
)
CASES: list[Case] = [case for part in PARTS for case in part.CASES]
