"""Ops with options, as functions of tensors. Names and argument order are PyTorch's."""

from ringleader.runtime.autograd.functional.combining import (
    bmm,
    cat,
    einsum,
    maximum,
    minimum,
    stack,
    where,
)
from ringleader.runtime.autograd.functional.convolution import conv2d
from ringleader.runtime.autograd.functional.linear import linear
from ringleader.runtime.autograd.functional.loss import cross_entropy
from ringleader.runtime.autograd.functional.padding import pad
from ringleader.runtime.autograd.functional.pooling import avg_pool2d, max_pool2d

__all__ = [
    "avg_pool2d", "bmm", "cat", "conv2d", "cross_entropy", "einsum", "linear", "max_pool2d", "maximum", "minimum", "pad",
    "stack", "where",
]  # fmt: skip
