"""Ops with options, as functions of tensors. Names and argument order are PyTorch's."""

from ringleader.runtime.autograd.functional.attention import rotary, scaled_dot_product_attention
from ringleader.runtime.autograd.functional.convolution import conv2d
from ringleader.runtime.autograd.functional.linear import linear
from ringleader.runtime.autograd.functional.loss import cross_entropy
from ringleader.runtime.autograd.functional.pooling import avg_pool2d, max_pool2d
from ringleader.runtime.autograd.functional.recurrent import gru, lstm, rnn

__all__ = [
    "avg_pool2d", "conv2d", "cross_entropy", "gru", "linear", "lstm", "max_pool2d", "rnn", "rotary",
    "scaled_dot_product_attention",
]  # fmt: skip
