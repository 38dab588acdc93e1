"""Arithmetic, comparisons and activations."""

from __future__ import annotations

from functools import reduce
from math import inf

import numpy as np
from ringleader.runtime.autograd import Tensor, apply
from ringleader.runtime.autograd import functional as F
from ringleader.runtime.autograd.op import is_floating

from helpers.onnx_nodes.table import NODES, cast, node

UNARY = {
    "Abs": "abs", "Acos": "acos", "Acosh": "acosh", "Asin": "asin", "Asinh": "asinh", "Atan": "atan",
    "Atanh": "atanh", "Ceil": "ceil", "Cos": "cos", "Cosh": "cosh",
    "Erf": "erf", "Exp": "exp", "Floor": "floor", "Identity": "clone", "Log": "log", "Neg": "neg", "Relu": "relu",
    "Round": "round", "Sigmoid": "sigmoid", "Sign": "sign", "Sin": "sin", "Sinh": "sinh", "Sqrt": "sqrt",
    "Tan": "tan", "Tanh": "tanh",
}  # fmt: skip
NODES.update({onnx: lambda x, _ours=ours: apply(_ours, x) for onnx, ours in UNARY.items()})

node("Add")(lambda a, b: a + b)
node("Sub")(lambda a, b: a - b)
node("Mul")(lambda a, b: a * b)
node("Equal")(lambda a, b: a == b)
node("Greater")(lambda a, b: a > b)
node("GreaterOrEqual")(lambda a, b: a >= b)
node("Less")(lambda a, b: a < b)
node("LessOrEqual")(lambda a, b: a <= b)
node("And", "BitwiseAnd")(lambda a, b: a & b)
node("Or", "BitwiseOr")(lambda a, b: a | b)
node("Xor", "BitwiseXor")(lambda a, b: a ^ b)
node("Not", "BitwiseNot")(lambda x: ~x)
node("IsNaN")(lambda x: x != x)

node("Where")(F.where)
node("Max")(lambda *xs: reduce(F.maximum, xs))
node("Min")(lambda *xs: reduce(F.minimum, xs))
node("Sum")(lambda *xs: reduce(Tensor.__add__, xs))
node("Mean")(lambda *xs: reduce(Tensor.__add__, xs) / len(xs))

node("Reciprocal")(Tensor.reciprocal)
node("Gelu")(lambda x, *, approximate="none": F.gelu(x, approximate))
node("LeakyRelu")(lambda x, *, alpha=0.01: F.leaky_relu(x, alpha))
node("Elu")(lambda x, *, alpha=1.0: F.elu(x, alpha))
node("Celu")(lambda x, *, alpha=1.0: F.elu(x / alpha) * alpha)
node("Selu")(lambda x, *, alpha=1.6732632, gamma=1.0507010: F.elu(x, alpha) * gamma)
node("Softplus")(F.softplus)
node("Mish")(lambda x: x * F.softplus(x).tanh())
node("Softsign")(lambda x: x / (x.abs() + 1))
node("HardSigmoid")(lambda x, *, alpha=0.2, beta=0.5: (x * alpha + beta).clamp(0, 1))
node("HardSwish")(lambda x: x * F.relu6(x + 3) / 6)
node("PRelu")(lambda x, slope: F.where(x > 0, x, x * slope))
node("ThresholdedRelu")(lambda x, *, alpha=1.0: F.where(x > alpha, x, 0.0))
node("SwiGLU")(lambda a, b, *, alpha=1.0: swish(a, alpha=alpha) * b)
node("Softmax")(lambda x, *, axis=-1: F.softmax(x, axis))
node("LogSoftmax")(lambda x, *, axis=-1: F.log_softmax(x, axis))


@node("Div")
def div(a: Tensor, b: Tensor) -> Tensor:
    """Of integers: cut off towards zero."""
    return a / b if is_floating(a.dtype) else cast(a / b, a.dtype)


@node("Pow")
def power(a: Tensor, b: Tensor) -> Tensor:
    if b.size == 1 and b.ndim <= a.ndim:
        return cast(a.pow(b.item()), a.dtype)
    return cast(a.pow(b), a.dtype)


@node("Swish")
def swish(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return F.silu(x) if alpha == 1 else x * (x * alpha).sigmoid()


@node("IsInf")
def isinf(x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    wanted = [sign * inf for sign, detect in ((1, detect_positive), (-1, detect_negative)) if detect]
    return reduce(Tensor.__or__, (x == bound for bound in wanted), Tensor(np.zeros(x.shape, bool)))


@node("Clip")
def clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """``clamp`` takes numbers and is for floats; of integers: both halves by themselves."""
    if is_floating(x.dtype) and (low is not None or high is not None):
        return x.clamp(None if low is None else low.item(), None if high is None else high.item())
    x = x if low is None else x.maximum(low)
    return x if high is None else x.minimum(high)


@node("Shrink")
def shrink(x: Tensor, *, bias: float = 0.0, lambd: float = 0.5) -> Tensor:
    return F.where(x < -lambd, x + bias, F.where(x > lambd, x - bias, 0.0))


@node("Dropout")
def dropout(
    x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None, *, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """ONNX leaves open how the mask is drawn; the suite's was drawn by numpy's old generator from the seed."""
    p = 0.5 if ratio is None else float(ratio)  # before opset 12 an attribute
    if training is None or not training or p == 0:
        return x, Tensor(np.ones(x.shape, bool))
    keep = np.random.RandomState(seed).uniform(0, 1, x.shape) >= p
    return apply("dropout", x, keep=keep, scale=1 / (1 - p)), Tensor(keep)
