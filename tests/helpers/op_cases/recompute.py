"""A function as one op, that is run again in backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ringleader.runtime.autograd import Tensor
from ringleader.runtime.autograd.recompute import Recompute, Segment, State

from helpers.op_cases.draw import Array, Case, normal, strided


class Fresh:
    """For each call of the op a new Recompute, as ``checkpoint`` makes."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function

    def __str__(self) -> str:
        return "function"

    def shape(self, *shapes: Any) -> Any:
        return shapes[0]

    def forward(self, *arrays: Array) -> Array:
        segment = Segment(self.function, tuple(Tensor(a, requires_grad=True) for a in arrays), State([], ()))
        out, _ = segment.run()
        self.again = Recompute(segment, [], out.data)
        return self.again.forward()

    def backward(self, g: Array) -> Any:
        return self.again.backward(g)


CASES: list[Case] = [
    ("checkpoint", {"recompute": Fresh(lambda a: a.tanh() * a)}, [strided(normal(2, 3))]),
    ("checkpoint", {"recompute": Fresh(lambda a, b: (a * b).tanh() + b)}, [normal(2, 3), normal(3)]),
    ("checkpoint", {"recompute": Fresh(lambda a, b: a @ b)}, [normal(0, 1), normal(1, 1)]),
]
