"""A small reverse-mode autograd engine: Tensor, op table, layers, losses, optimisers."""

from ringleader.runtime.autograd.functional import (
    avg_pool2d,
    conv2d,
    cross_entropy,
    gru,
    linear,
    lstm,
    max_pool2d,
    rnn,
    rotary,
    scaled_dot_product_attention,
)
from ringleader.runtime.autograd.gradcheck import GradientError, gradcheck
from ringleader.runtime.autograd.layers import (
    GRU,
    LSTM,
    RNN,
    AvgPool2d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    MultiheadAttention,
    ReLU,
    RotaryEmbedding,
    Sequential,
    Sigmoid,
    Tanh,
)
from ringleader.runtime.autograd.mode import is_grad_enabled, no_grad
from ringleader.runtime.autograd.module import Module, Parameter
from ringleader.runtime.autograd.op import OPS, Function, ShapeError, op, register_device
from ringleader.runtime.autograd.optim import SGD, Adam, Optimizer
from ringleader.runtime.autograd.tensor import Tensor, apply

__all__ = [
    "GRU", "LSTM", "OPS", "RNN", "SGD", "Adam", "AvgPool2d", "Conv2d", "Flatten", "Function", "GradientError",
    "Linear", "MaxPool2d", "Module", "MultiheadAttention", "Optimizer", "Parameter", "ReLU", "RotaryEmbedding",
    "Sequential", "ShapeError", "Sigmoid", "Tanh", "Tensor", "apply", "avg_pool2d", "conv2d", "cross_entropy",
    "gradcheck", "gru", "is_grad_enabled", "linear", "lstm", "max_pool2d", "no_grad", "op", "register_device", "rnn",
    "rotary", "scaled_dot_product_attention",
]  # fmt: skip
