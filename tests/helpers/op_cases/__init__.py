"""For every op of the table: options and inputs with which tests/runtime/autograd/test_ops.py tries it."""

from helpers.op_cases import elementwise, images, indexing, loss, movement, reduction
from helpers.op_cases.draw import Case

CASES: list[Case] = [
    case for part in (elementwise, images, indexing, loss, movement, reduction) for case in part.CASES
]
