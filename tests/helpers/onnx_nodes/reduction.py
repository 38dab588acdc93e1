"""Sums, extrema and their like over axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ringleader.runtime.autograd import Tensor

from helpers.onnx_nodes.table import NODES, cast, ints, node

REDUCTIONS: dict[str, Callable[[Tensor, Any, bool], Tensor]] = {
    "ReduceSum": Tensor.sum,
    "ReduceMean": Tensor.mean,
    "ReduceProd": Tensor.prod,
    "ReduceMax": Tensor.amax,
    "ReduceMin": Tensor.amin,
    "ReduceLogSumExp": Tensor.logsumexp,
    "ReduceL1": lambda x, axes, keep: x.norm(1, axes, keep),
    "ReduceL2": lambda x, axes, keep: x.norm(2, axes, keep),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keep),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keep).log(),
}


def reducing(ours: Callable[[Tensor, Any, bool], Tensor]) -> Callable[..., Tensor]:
    def reduced(
        x: Tensor, given: Tensor | None = None, *, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Tensor:  # fmt: skip
        """Before opset 18 (13 for the sum) the axes were an attribute."""
        over = ints(given) if axes is None else tuple(axes)
        if not over and noop_with_empty_axes:
            return x
        return cast(ours(x, over or None, bool(keepdims)), x.dtype)

    return reduced


NODES.update({op_type: reducing(ours) for op_type, ours in REDUCTIONS.items()})


@node("ArgMax")
def argmax(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    if not select_last_index:
        return x.argmax(axis, bool(keepdims))
    return x.shape[axis] - 1 - x.flip(axis).argmax(axis, bool(keepdims))


@node("ArgMin")
def argmin(x: Tensor, **options: int) -> Tensor:
    return argmax(-x, **options)


@node("CumSum")
def cumsum(x: Tensor, axis: Tensor, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    along = int(axis.item())
    total = x.flip(along).cumsum(along).flip(along) if reverse else x.cumsum(along)
    return cast(total - x if exclusive else total, x.dtype)


@node("LpNormalization")
def lp_normalization(x: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    """0 stays 0."""
    size = x.norm(p, axis, True)
    return x / size.masked_fill(size == 0, 1)


@node("MeanVarianceNormalization")
def mean_variance_normalization(x: Tensor, *, axes: Any = (0, 2, 3)) -> Tensor:
    over = tuple(axes)
    return (x - x.mean(over, True)) / (x.std(over, 0, True) + 1e-9)
