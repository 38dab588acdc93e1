"""Norms, softmax, losses and the like, beside PyTorch's own kernels: what is bound by memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ringleader.bench.gpu.case import Call, Case, Work
from ringleader.bench.gpu.place import Place, Tensor
from ringleader.csrc.cuda import activation, cross_entropy, dropout, softmax
from ringleader.csrc.cuda.device import Array, Device

DTYPE, BYTES = "bfloat16", 2
DROPPED = 0.1
SIGMAS = 6  # that the share of dropped elements may be off


@dataclass(frozen=True)
class Op:
    """A function of rows and its gradient. inputs(place, rows, columns, dtype): its arguments, integers among them.
    formula(torch, *inputs): the results of which backward is asked for all floating-point inputs.
    forward(device, version, *inputs): ours; backward(device, version, g, *inputs): makes a call of ours.
    forward_moved, backward_moved(rows, columns): numbers that must be read or written."""

    name: str
    operators: tuple[str, str]
    inputs: Callable[[Place, int, int, str], tuple[Tensor, ...]]
    formula: Callable[..., Tensor]
    forward: Callable[..., Any]
    backward: Callable[..., Callable[[], Any]]
    moved: tuple[Callable[[int, int], int], Callable[[int, int], int]]
    tags: frozenset[str] = field(default_factory=frozenset)


def prepare(place: Place, op: Op, backwards: bool, rows: int, columns: int, dtype: str) -> Work:
    torch = place.torch
    given = op.inputs(place, rows, columns, dtype)
    results = op.formula(torch, *given).shape
    inputs = (place.normal(*results, dtype=dtype), *given) if backwards else given

    def ours(device: Device, version: str | None, *given: Tensor) -> Call:
        shared = tuple(map(place.share, given))
        if backwards:
            return op.backward(device, version, *shared)
        return lambda: op.forward(device, version, *shared)

    def peer(*given: Tensor) -> Call:
        if not backwards:
            return lambda: op.formula(torch, *given)
        g, *rest = given
        leaves = [tensor.requires_grad_() for tensor in rest if tensor.is_floating_point()]
        y = op.formula(torch, *rest)
        return lambda: torch.autograd.grad(y, leaves, g, retain_graph=True)

    def plain(dtype: Any, *given: Tensor) -> Sequence[Tensor]:
        cast = [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in given]
        return listed(peer(*cast)())

    def listed(made: Any) -> list[Tensor]:
        return [place.tensor(each) for each in (made if isinstance(made, tuple) else (made,))]

    return Work(inputs, ours, {"PyTorch": peer}, listed, plain)
