"""Products, normalisation and losses."""

from __future__ import annotations

import numpy as np
from ringleader.runtime.autograd import Tensor
from ringleader.runtime.autograd import functional as F

from helpers.onnx_nodes.table import node

node("MatMul")(lambda a, b: a @ b)
node("Einsum")(lambda *xs, equation: F.einsum(equation, *xs))


@node("Gemm")
def gemm(
    a: Tensor, b: Tensor, c: Tensor | None = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0,
    transB: int = 0,
) -> Tensor:  # fmt: skip
    """alpha a b + beta c, as the layer where it is one."""
    a, b = a.T if transA else a, b if transB else b.T
    if alpha == beta == 1 and c is not None and c.shape in ((len(b),), (1, len(b))):
        return F.linear(a, b, c.reshape(-1))
    y = F.linear(a, b) * alpha
    return y if c is None else y + c * beta


@node("LayerNormalization")
def layer_normalization(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """And mean and 1 / standard deviation, which ours does not give."""
    over = tuple(range(axis % x.ndim, x.ndim))
    y = F.layer_norm(x, x.shape[over[0] :], weight, bias, epsilon)
    return y, x.mean(over, True), (x.var(over, 0, True) + epsilon).rsqrt()


@node("RMSNormalization")
def rms_normalization(
    x: Tensor, weight: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    return F.rms_norm(x, x.shape[axis % x.ndim :], weight, epsilon)


@node("GroupNormalization")
def group_normalization(
    x: Tensor, weight: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    return F.group_norm(x, num_groups, weight, bias, epsilon)


@node("InstanceNormalization")
def instance_normalization(x: Tensor, weight: Tensor, bias: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    return F.group_norm(x, x.shape[1], weight, bias, epsilon)


@node("BatchNormalization")
def batch_normalization(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, *, epsilon: float = 1e-5,
    momentum: float = 0.9, training_mode: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """ONNX's momentum is what stays, and its running variance is that of the batch with divisor n: ours, PyTorch's,
    has n - 1, as an estimate of the data's."""
    running = mean.data.copy(), variance.data.copy()
    y = F.batch_norm(x, *running, weight, bias, bool(training_mode), 1 - momentum, epsilon)
    n = x.size // x.shape[1]
    moved = running[1] - momentum * variance.data
    return y, Tensor(running[0]), Tensor(momentum * variance.data + moved * np.float32((n - 1) / n))


@node("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    ignore_index: int = -100,
) -> tuple[Tensor, Tensor]:
    loss = F.cross_entropy(x, target, weight, reduction=reduction, ignore_index=ignore_index)
    return loss, F.log_softmax(x, 1)


@node("NegativeLogLikelihoodLoss")
def negative_log_likelihood(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    ignore_index: int = -100,
) -> Tensor:
    return F.nll_loss(x, target, weight, reduction=reduction, ignore_index=ignore_index)
