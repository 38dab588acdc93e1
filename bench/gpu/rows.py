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


def case(op: Op, backwards: bool, rows: int, columns: int, dtype: str = DTYPE) -> Case:
    way = "backward" if backwards else "forward"
    return Case(
        "rows", f"{op.name} {way}, {rows:,} x {columns:,}", op.operators[backwards], dtype, flops=0,
        moved=BYTES * op.moved[backwards](rows, columns), kind="single",
        prepare=lambda place: prepare(place, op, backwards, rows, columns, dtype), quick=True, tags=op.tags,
    )  # fmt: skip


def _matrix(place: Place, rows: int, columns: int, dtype: str) -> tuple[Tensor, ...]:
    return (place.normal(rows, columns, dtype=dtype),)


def _logits(place: Place, rows: int, columns: int, dtype: str) -> tuple[Tensor, ...]:
    return place.normal(rows, columns, dtype=dtype), place.integers(columns, rows)


def _softmax_backward(device: Device, version: str | None, g: Array, x: Array) -> Callable[[], Any]:
    y = softmax.softmax(device, x)
    return lambda: softmax.softmax_backward(device, g, y, version=version)


def _cross_entropy_backward(
    device: Device, version: str | None, g: Array, x: Array, target: Array
) -> Callable[[], Any]:
    losses, statistics = cross_entropy.cross_entropy(device, x, target)
    wide = g.astype(losses.dtype)
    return lambda: cross_entropy.cross_entropy_backward(device, wide, x, statistics, target, version=version)


def _gelu_backward(device: Device, version: str | None, g: Array, x: Array) -> Callable[[], Any]:
    return lambda: activation.activation_backward(device, "gelu", g, x, version=version)


SOFTMAX = Op(
    "softmax", ("softmax_forward", "softmax_backward"), _matrix,
    formula=lambda torch, x: torch.softmax(x, -1),
    forward=lambda device, version, x: softmax.softmax(device, x, version=version), backward=_softmax_backward,
    moved=(lambda r, c: 2 * r * c, lambda r, c: 3 * r * c), tags=frozenset({"softmax"}),
)  # fmt: skip
CROSS_ENTROPY = Op(
    "cross-entropy", ("cross_entropy_forward", "cross_entropy_backward"), _logits,
    formula=lambda torch, x, target: torch.nn.functional.cross_entropy(x, target, reduction="none"),
    forward=lambda device, version, x, target: cross_entropy.cross_entropy(device, x, target, version=version)[0],
    backward=_cross_entropy_backward, moved=(lambda r, c: r * c, lambda r, c: 2 * r * c),
)  # fmt: skip
GELU = Op(
    "GELU", ("activation_forward", "activation_backward"), _matrix,
    formula=lambda torch, x: torch.nn.functional.gelu(x),
    forward=lambda device, version, x: activation.activation(device, "gelu", x, version=version), backward=_gelu_backward,
    moved=(lambda r, c: 2 * r * c, lambda r, c: 3 * r * c),
)  # fmt: skip


def dropout_case(count: int, dtype: str = DTYPE) -> Case:
    """Which elements are dropped is random on both sides: the others must be right, and the share plausible."""

    def prepare(place: Place) -> Work:
        torch = place.torch

        def ours(device: Device, version: str | None, x: Tensor) -> Call:
            shared = place.share(x)
            return lambda: dropout.dropout(device, shared, DROPPED, seed=1, version=version)

        def peer(x: Tensor) -> Call:
            return lambda: torch.nn.functional.dropout(x, DROPPED)

        def holds(results: Sequence[Tensor], x: Tensor) -> str:
            (y,) = results
            kept = y != 0
            wanted = torch.where(kept, x.double() / (1 - DROPPED), 0)
            if bool(((y.double() - wanted).abs() > torch.finfo(x.dtype).eps * wanted.abs()).any()):
                return "what is kept is not x / (1 - p)"
            dropped = float((~kept & (x != 0)).double().mean())
            off = abs(dropped - DROPPED) / (DROPPED * (1 - DROPPED) / x.numel()) ** 0.5
            return f"{dropped:.4f} of the elements are dropped, not {DROPPED}" if off > SIGMAS else ""

        return Work(
            (place.normal(count, dtype=dtype),), ours, {"PyTorch": peer}, lambda y: [place.tensor(y)], holds=holds
        )  # fmt: skip

    return Case(
        "rows", f"dropout, {count:,}", "dropout", dtype, flops=0, moved=2 * BYTES * count, kind="single", prepare=prepare,
        quick=True,
    )  # fmt: skip


CASES = (
    *(case(SOFTMAX, way, 16384, columns) for way in (False, True) for columns in (1024, 4096, 16384)),
    *(case(CROSS_ENTROPY, way, 8192, 50304) for way in (False, True)),
    *(case(GELU, way, 16384, 4096) for way in (False, True)),
    dropout_case(16384 * 4096),
)
