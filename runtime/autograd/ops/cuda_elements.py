"""By CUDA kernels, element by element: activations and dropout; and rows of a table."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from ringleader.csrc.cuda import embedding as table_kernels
from ringleader.csrc.cuda.activation import activation, activation_backward
from ringleader.csrc.cuda.dropout import masked_dropout
from ringleader.runtime.autograd.cuda import cuda, kernel_device, laid_out, takes
from ringleader.runtime.autograd.op import Array, module_of
from ringleader.runtime.autograd.ops import embedding
from ringleader.runtime.autograd.ops.activation import GELU, ReLU, Sigmoid, SiLU, Tanh
from ringleader.runtime.autograd.ops.arithmetic import Unary
from ringleader.runtime.autograd.ops.dropout import Dropout


class Activation(Unary):
    """In front of an op that keeps its output ``y`` or, where the kernel needs that, its input."""

    from_input: ClassVar[bool] = False
    kept: Array | None = None  # what the kernel needs in backward, if forward was one

    def kernel(self) -> str:
        return self.name

    def forward(self, x: Array) -> Array:
        if not takes(x):
            return super().forward(x)
        x = laid_out(x)
        y = activation(kernel_device(self.xp), self.kernel(), x)
        self.kept = x if self.from_input else y
        return y

    def backward(self, g: Array) -> Array:
        if self.kept is None:
            return super().backward(g)
        return activation_backward(kernel_device(self.xp), self.kernel(), laid_out(g), self.kept)


@cuda("relu")
class CudaReLU(Activation, ReLU):
    pass


@cuda("tanh")
class CudaTanh(Activation, Tanh):
    pass


@cuda("sigmoid")
class CudaSigmoid(Activation, Sigmoid):
    pass


@cuda("silu")
class CudaSiLU(Activation, SiLU):
    from_input = True


@cuda("gelu")
class CudaGELU(Activation, GELU):
    from_input = True

    def kernel(self) -> str:
        return "gelu_tanh" if self.approximate == "tanh" else "gelu"


@cuda("dropout")
class CudaDropout(Dropout):
    """By a mask that the host drew, so that it is the same on all devices."""

    def forward(self, x: Array) -> Array:
        if not takes(x):
            return super().forward(x)
        self.mask = laid_out(self.keep)
        return masked_dropout(kernel_device(self.xp), laid_out(x), self.mask, self.scale)

    def backward(self, g: Array) -> Array:
        if not takes(g):
            return super().backward(g)
        return masked_dropout(kernel_device(self.xp), laid_out(g), self.mask, self.scale)


def numbers(indices: Array) -> Array:
    """As the kernels take them."""
    return laid_out(indices.astype(np.int64, copy=False))


def sum_rows(g: Array, indices: Array, rows: int) -> Array:
    """As embedding.sum_rows."""
    if not takes(g):
        return embedding.sum_rows(g, indices, rows)
    device = kernel_device(module_of(g))
    return table_kernels.embedding_backward(device, laid_out(g), numbers(indices), rows)


@cuda("embedding")
class CudaEmbedding(embedding.Embedding):
    sum_rows = staticmethod(sum_rows)

    def forward(self, weight: Array) -> Array:
        if not takes(weight):
            return super().forward(weight)
        self.table = weight.shape
        return table_kernels.embedding(kernel_device(self.xp), laid_out(weight), numbers(self.indices))
