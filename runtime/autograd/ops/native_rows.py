"""By native kernels: softmax, norms and cross-entropy, along the last axis, and the gradient of a table's rows."""

from __future__ import annotations

from math import prod

import numpy as np
from ringleader.runtime.autograd.native import KERNELS, native, takes
from ringleader.runtime.autograd.op import Array
from ringleader.runtime.autograd.ops import embedding
from ringleader.runtime.autograd.ops.loss import CrossEntropy
from ringleader.runtime.autograd.ops.normalization import LayerNorm, OfTrailingAxes, RMSNorm
from ringleader.runtime.autograd.ops.softmax import AlongAxis, LogSoftmax, Softmax


class AlongLastAxis(AlongAxis):
    """In front of a numpy op that keeps its output ``y``."""

    def forward(self, x: Array) -> Array:
        if not (takes(x) and x.size and self.dim in (-1, x.ndim - 1)):
            return super().forward(x)
        self.y = getattr(KERNELS, self.name)(x)
        return self.y

    def backward(self, g: Array) -> Array:
        if not (takes(g, self.y) and g.size and self.dim in (-1, g.ndim - 1)):
            return super().backward(g)
        return getattr(KERNELS, f"{self.name}_backward")(g, self.y)


@native("softmax")
class NativeSoftmax(AlongLastAxis, Softmax):
    pass


@native("log_softmax")
class NativeLogSoftmax(AlongLastAxis, LogSoftmax):
    pass


class NativeNorm(OfTrailingAxes):
    """In front of a numpy norm; keeps x and each row's statistics where that keeps z, which is x with them applied."""

    most_parameters: int

    def forward(self, x: Array, *parameters: Array) -> Array:
        self.rows: Array = None  # x (M, D), D being all normalised elements, if the kernel is taken
        if not (takes(x, *parameters) and x.size and len(parameters) <= self.most_parameters):
            return super().forward(x, *parameters)
        size = prod(self.normalized_shape)
        self.rows = x.reshape(-1, size)
        given = [parameter.reshape(size) for parameter in parameters]
        given += [None] * (self.most_parameters - len(given))
        self.weight = given[0]
        y, *self.statistics = getattr(KERNELS, self.name)(self.rows, *given, self.eps)
        return y.reshape(x.shape)

    def backward(self, g: Array) -> tuple[Array | None, ...]:
        if self.rows is None:
            return super().backward(g)
        g = np.asarray(g, order="C")
        kernel = getattr(KERNELS, f"{self.name}_backward")
        dx, *sums = kernel(g.reshape(self.rows.shape), self.rows, *self.statistics, self.weight)
        return (dx.reshape(g.shape), *(total.reshape(self.normalized_shape) for total in sums))[
            : len(self.needs)
        ]


@native("layer_norm")
class NativeLayerNorm(NativeNorm, LayerNorm):
    most_parameters = 2


@native("rms_norm")
class NativeRMSNorm(NativeNorm, RMSNorm):
    most_parameters = 1


@native("cross_entropy")
class NativeCrossEntropy(CrossEntropy):
    """For x (N, C) and classes without weights; keeps x where the numpy op keeps its softmax."""

    def forward(self, x: Array) -> Array:
        self.x: Array = None  # if the kernel is taken
        if not (takes(x) and x.size and x.ndim == 2 and self.weight is None):
            return super().forward(x)
        self.x, self.target = x, np.asarray(self.target, np.int64, order="C")
        losses, self.statistics = KERNELS.cross_entropy(
            x, self.target, self.ignore_index, self.label_smoothing
        )
        self.share_out(np.count_nonzero(self.counts), x.dtype)
        return self.reduce(losses)

    def backward(self, g: Array) -> Array:
        if self.x is None:
            return super().backward(g)
        each = np.empty(len(self.x), self.x.dtype)
        each[...] = g * self.share
        return KERNELS.cross_entropy_backward(
            each, self.statistics, self.x, self.target, self.ignore_index, self.label_smoothing
        )


def sum_rows(g: Array, indices: Array, rows: int) -> Array:
    """As embedding.sum_rows."""
    if not takes(g):
        return embedding.sum_rows(g, indices, rows)
    return KERNELS.embedding_backward(g, np.asarray(indices, np.int64, order="C"), rows)


@native("embedding")
class NativeEmbedding(embedding.Embedding):
    sum_rows = staticmethod(sum_rows)
