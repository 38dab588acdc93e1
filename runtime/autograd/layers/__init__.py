"""Layers. Weights come from the generator that is passed in; names and initial weights are PyTorch's."""

from ringleader.runtime.autograd.layers.activation import ReLU, Sigmoid, Tanh
from ringleader.runtime.autograd.layers.attention import MultiheadAttention, RotaryEmbedding
from ringleader.runtime.autograd.layers.container import Sequential
from ringleader.runtime.autograd.layers.convolution import Conv2d
from ringleader.runtime.autograd.layers.linear import Flatten, Linear
from ringleader.runtime.autograd.layers.pooling import AvgPool2d, MaxPool2d
from ringleader.runtime.autograd.layers.recurrent import GRU, LSTM, RNN

__all__ = [
    "GRU", "LSTM", "RNN", "AvgPool2d", "Conv2d", "Flatten", "Linear", "MaxPool2d", "MultiheadAttention", "ReLU",
    "RotaryEmbedding", "Sequential", "Sigmoid", "Tanh",
]  # fmt: skip
