"""Ops with options, as functions of tensors. Names and argument order are PyTorch's."""

from ringleader.runtime.autograd.functional.activation import (
    dropout,
    elu,
    gelu,
    leaky_relu,
    log_softmax,
    relu,
    relu6,
    scaled_tanh,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from ringleader.runtime.autograd.functional.attention import (
    rotary,
    scaled_dot_product_attention,
)
from ringleader.runtime.autograd.functional.combining import (
    bmm,
    cat,
    maximum,
    minimum,
    stack,
    where,
)
from ringleader.runtime.autograd.functional.convolution import (
    conv1d,
    conv2d,
    conv_transpose1d,
    conv_transpose2d,
)
from ringleader.runtime.autograd.functional.einsum import (
    einsum,
)
from ringleader.runtime.autograd.functional.linear import (
    embedding,
    linear,
)
from ringleader.runtime.autograd.functional.loss import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from ringleader.runtime.autograd.functional.normalization import (
    batch_norm,
    group_norm,
    layer_norm,
    rms_norm,
)
from ringleader.runtime.autograd.functional.padding import (
    pad,
)
from ringleader.runtime.autograd.functional.pooling import (
    adaptive_avg_pool2d,
    avg_pool1d,
    avg_pool2d,
    max_pool1d,
    max_pool2d,
)
from ringleader.runtime.autograd.functional.recurrent import (
    gru,
    lstm,
    rnn,
)

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "bmm",
    "cat",
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "cross_entropy",
    "dropout",
    "einsum",
    "elu",
    "embedding",
    "gelu",
    "group_norm",
    "gru",
    "huber_loss",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "lstm",
    "max_pool1d",
    "max_pool2d",
    "maximum",
    "minimum",
    "mse_loss",
    "nll_loss",
    "pad",
    "relu",
    "relu6",
    "rms_norm",
    "rnn",
    "rotary",
    "scaled_dot_product_attention",
    "scaled_tanh",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "stack",
    "tanh",
    "where",
]
