"""Layers. Weights come from the generator that is passed in; names and initial weights are PyTorch's."""

from ringleader.runtime.autograd.layers.activation import (
    ELU,
    GELU,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from ringleader.runtime.autograd.layers.container import ModuleDict, ModuleList, Sequential
from ringleader.runtime.autograd.layers.convolution import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from ringleader.runtime.autograd.layers.dropout import Dropout
from ringleader.runtime.autograd.layers.embedding import Embedding
from ringleader.runtime.autograd.layers.linear import Flatten, Linear
from ringleader.runtime.autograd.layers.loss import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss
from ringleader.runtime.autograd.layers.normalization import (
    BatchNorm1d,
    BatchNorm2d,
    GroupNorm,
    LayerNorm,
    RMSNorm,
)
from ringleader.runtime.autograd.layers.pooling import (
    AdaptiveAvgPool2d,
    AvgPool1d,
    AvgPool2d,
    MaxPool1d,
    MaxPool2d,
)

__all__ = [
    "ELU",
    "GELU",
    "AdaptiveAvgPool2d",
    "AvgPool1d",
    "AvgPool2d",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv1d",
    "Conv2d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "GroupNorm",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "MaxPool1d",
    "MaxPool2d",
    "ModuleDict",
    "ModuleList",
    "RMSNorm",
    "ReLU",
    "ReLU6",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]  # fmt: skip
