"""A small reverse-mode autograd engine: Tensor, op table, layers, losses, optimisers."""

from ringleader.runtime.autograd.functional import (
    avg_pool2d,
    bmm,
    cat,
    conv2d,
    cross_entropy,
    einsum,
    linear,
    max_pool2d,
    maximum,
    minimum,
    pad,
    stack,
    where,
)
from ringleader.runtime.autograd.gradcheck import GradientError, gradcheck
from ringleader.runtime.autograd.layers import (
    AvgPool2d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
)
from ringleader.runtime.autograd.mode import enable_grad, is_grad_enabled, no_grad
from ringleader.runtime.autograd.module import Module, Parameter
from ringleader.runtime.autograd.op import OPS, Function, ShapeError, op, register_device
from ringleader.runtime.autograd.optim import SGD, Adam, Optimizer
from ringleader.runtime.autograd.tensor import Tensor, apply

__all__ = [
    "OPS", "SGD", "Adam", "AvgPool2d", "Conv2d", "Flatten", "Function", "GradientError", "Linear", "MaxPool2d",
    "Module", "Optimizer", "Parameter", "ReLU", "Sequential", "ShapeError", "Sigmoid", "Tanh", "Tensor", "apply",
    "avg_pool2d", "bmm", "cat", "conv2d", "cross_entropy", "einsum", "enable_grad", "gradcheck", "is_grad_enabled",
    "linear", "max_pool2d", "maximum", "minimum", "no_grad", "op", "pad", "register_device", "stack", "where",
]  # fmt: skip
