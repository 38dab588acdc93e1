"""Norms, softmax, losses and the like, beside PyTorch's own kernels: what is bound by memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ringleader.bench.gpu.case import Call, Case, Work
from ringleader.bench.gpu.place import Place, Tensor
from ringleader.csrc.cuda import activation, cross_entropy, embedding, norm, softmax
from ringleader.csrc.cuda.device import Array, Device

DTYPE, BYTES = "bfloat16", 2
WAYS = (False, True)  # forward, backward
EPS = 1e-5


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


def _normed(place: Place, rows: int, columns: int, dtype: str) -> tuple[Tensor, ...]:
    return (place.normal(rows, columns, dtype=dtype), *(place.normal(columns, dtype=dtype) for _ in range(2)))


def _tokens(place: Place, rows: int, columns: int, dtype: str) -> tuple[Tensor, ...]:
    """A table, and a third as many tokens."""
    return place.normal(rows, columns, dtype=dtype), place.integers(rows, rows // 3)


def _layer_norm_backward(
    device: Device, version: str | None, g: Array, x: Array, w: Array, b: Array
) -> Callable[[], Any]:
    _, mean, r = norm.layer_norm(device, x, w, b)
    return lambda: norm.layer_norm_backward(device, g, x, mean, r, w, version=version)


def _rms_norm_backward(
    device: Device, version: str | None, g: Array, x: Array, w: Array
) -> Callable[[], Any]:
    _, r = norm.rms_norm(device, x, w, EPS)
    return lambda: norm.rms_norm_backward(device, g, x, r, w, version=version)


def _embedding_backward(
    device: Device, version: str | None, g: Array, table: Array, indices: Array
) -> Callable[[], Any]:
    return lambda: embedding.embedding_backward(device, g, indices, len(table), version=version)


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


LAYER_NORM = Op(
    "layer norm", ("norm_forward", "norm_backward"), _normed,
    formula=lambda torch, x, w, b: torch.nn.functional.layer_norm(x, w.shape, w, b),
    forward=lambda device, version, x, w, b: norm.layer_norm(device, x, w, b, version=version)[0],
    backward=_layer_norm_backward, moved=(lambda r, c: 2 * r * c, lambda r, c: 3 * r * c), tags=frozenset({"norm"}),
)  # fmt: skip
RMS_NORM = Op(
    "RMS norm", ("norm_forward", "norm_backward"), lambda *given: _normed(*given)[:2],
    formula=lambda torch, x, w: torch.nn.functional.rms_norm(x, w.shape, w, EPS),
    forward=lambda device, version, x, w: norm.rms_norm(device, x, w, EPS, version)[0],
    backward=_rms_norm_backward, moved=(lambda r, c: 2 * r * c, lambda r, c: 3 * r * c), tags=frozenset({"norm"}),
)  # fmt: skip
EMBEDDING = Op(
    "embedding", ("embedding_forward", "embedding_backward"), _tokens,
    formula=lambda torch, table, indices: torch.nn.functional.embedding(indices, table),
    forward=lambda device, version, table, indices: embedding.embedding(device, table, indices, version),
    backward=_embedding_backward, moved=(lambda r, c: 2 * (r // 3) * c, lambda r, c: (r + r // 3) * c),
)  # fmt: skip
CASES = (
    *(
        case(op, way, 16384, columns)
        for op in (LAYER_NORM, RMS_NORM, SOFTMAX)
        for way in WAYS
        for columns in (1024, 4096, 8192)
    ),
    *(case(CROSS_ENTROPY, way, 8192, 50304) for way in WAYS),
    *(case(GELU, way, 16384, 4096) for way in WAYS),
    case(EMBEDDING, True, 50304, 1024),
)
