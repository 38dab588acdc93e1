"""A small reverse-mode autograd engine: Tensor, op table, layers, losses, optimisers."""

from ringleader.runtime.autograd.functional import avg_pool2d, conv2d, cross_entropy, linear, max_pool2d
from ringleader.runtime.autograd.gradcheck import GradientError, gradcheck
from ringleader.runtime.autograd.layers import (
    AvgPool2d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    ModuleDict,
    ModuleList,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
)
from ringleader.runtime.autograd.mixed import MixedPrecision
from ringleader.runtime.autograd.mode import enable_grad, is_grad_enabled, no_grad
from ringleader.runtime.autograd.module import Module, Parameter, unused_parameters
from ringleader.runtime.autograd.op import OPS, Function, ShapeError, op, register_device
from ringleader.runtime.autograd.optim import (
    LAMB,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    ConstantLR,
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    Optimizer,
    Schedule,
    StepLR,
    Warmup,
    clip_grad_norm_,
    clip_grad_value_,
    flatten_parameters,
)
from ringleader.runtime.autograd.recompute import checkpoint
from ringleader.runtime.autograd.state import load, load_metadata, load_tree, save, save_tree
from ringleader.runtime.autograd.tensor import Tensor, apply

__all__ = [
    "LAMB", "OPS", "SGD", "Adagrad", "Adam", "AdamW", "AvgPool2d", "ConstantLR", "Conv2d", "CosineAnnealingLR",
    "Flatten", "Function", "GradientError", "LambdaLR", "Linear", "LinearLR", "MaxPool2d", "MixedPrecision",
    "Module", "ModuleDict", "ModuleList", "Optimizer", "Parameter", "ReLU", "Schedule", "Sequential", "ShapeError",
    "Sigmoid", "StepLR", "Tanh", "Tensor", "Warmup", "apply", "avg_pool2d", "checkpoint", "clip_grad_norm_",
    "clip_grad_value_", "conv2d", "cross_entropy", "enable_grad", "flatten_parameters", "gradcheck",
    "is_grad_enabled", "linear", "load", "load_metadata", "load_tree", "max_pool2d", "no_grad", "op",
    "register_device", "save", "save_tree", "unused_parameters",
]  # fmt: skip
