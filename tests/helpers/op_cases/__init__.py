"""For every op of the table: options and inputs with which tests/runtime/autograd/test_ops.py tries it."""

from helpers.op_cases import attention, elementwise, images, loss, movement, pieces, recurrent, reduction
from helpers.op_cases.draw import Case

CASES: list[Case] = [
    case
    for part in (attention, elementwise, images, loss, movement, pieces, recurrent, reduction)
    for case in part.CASES
]
