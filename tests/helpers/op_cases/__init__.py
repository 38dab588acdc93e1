"""For every op of the table: options and inputs with which tests/runtime/autograd/test_ops.py tries it."""

from helpers.op_cases import (
    activation,
    elementwise,
    images,
    linear,
    loss,
    movement,
    normalization,
    recompute,
    reduction,
)
from helpers.op_cases.draw import Case

PARTS = (activation, elementwise, images, linear, loss, movement, normalization, recompute, reduction)
CASES: list[Case] = [case for part in PARTS for case in part.CASES]
