"""A small reverse-mode autograd engine: Tensor, op table, layers, losses, optimisers."""

from ringleader.runtime.autograd import functional, init, layers, optim
from ringleader.runtime.autograd.functional import *  # noqa: F403
from ringleader.runtime.autograd.gradcheck import GradientError, gradcheck
from ringleader.runtime.autograd.layers import *  # noqa: F403
from ringleader.runtime.autograd.mixed import MixedPrecision
from ringleader.runtime.autograd.mode import enable_grad, is_grad_enabled, no_grad
from ringleader.runtime.autograd.module import Module, Parameter, unused_parameters
from ringleader.runtime.autograd.op import OPS, Function, ShapeError, op, register_device
from ringleader.runtime.autograd.optim import *  # noqa: F403
from ringleader.runtime.autograd.recompute import checkpoint
from ringleader.runtime.autograd.state import load, load_metadata, load_tree, save, save_tree
from ringleader.runtime.autograd.tensor import Tensor, apply

__all__ = [
    "OPS",
    "Function",
    "GradientError",
    "MixedPrecision",
    "Module",
    "Parameter",
    "ShapeError",
    "Tensor",
    "apply",
    "checkpoint",
    "enable_grad",
    "gradcheck",
    "init",
    "is_grad_enabled",
    "load",
    "load_metadata",
    "load_tree",
    "no_grad",
    "op",
    "register_device",
    "save",
    "save_tree",
    "unused_parameters",
]
__all__ += functional.__all__
__all__ += layers.__all__
__all__ += optim.__all__
