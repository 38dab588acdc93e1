"""PyTorch's side of bench/training.py: the networks of ringleader.models, written as a user of PyTorch would, with
the same names, so that both start from the same state_dict."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class LeNet5(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c3, self.c5 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5), nn.Conv2d(16, 120, 5)
        self.f6, self.output = nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: Any) -> Any:
        x = F.avg_pool2d(squash(self.c1(x)), 2)
        x = F.avg_pool2d(squash(self.c3(x)), 2)
        return self.output(squash(self.f6(squash(self.c5(x)).flatten(1))))


def squash(x: Any) -> Any:
    return torch.tanh(x * (2 / 3)) * 1.7159


class RecurrentLM(nn.Module):
    def __init__(self, kind: str, vocabulary: int, width: int, hidden: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.recurrent = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](width, hidden)
        self.output = nn.Linear(hidden, vocabulary)

    def forward(self, tokens: Any) -> Any:
        return self.output(self.recurrent(self.tokens(tokens.T))[0]).transpose(0, 1).flatten(0, 1)


class RecurrentRegressor(nn.Module):
    def __init__(self, kind: str, inputs: int, outputs: int, hidden: int) -> None:
        super().__init__()
        self.recurrent = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](inputs, hidden)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, x: Any) -> Any:
        return self.output(self.recurrent(x.transpose(0, 1))[0][-1])


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x: Any) -> Any:
        n, t, width = x.shape
        q = self.query(x).view(n, t, self.heads, -1).transpose(1, 2)
        k, v = self.key_value(x).view(n, t, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.project(seen.transpose(1, 2).reshape(n, t, width))


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Any) -> Any:
        return self.narrow(F.gelu(self.widen(x)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.network = Attention(width, heads), FeedForward(width)

    def forward(self, x: Any) -> Any:
        x = x + self.attention(self.norm1(x))
        return x + self.network(self.norm2(x))


class Transformer(nn.Module):
    def __init__(self, vocabulary: int, context: int, layers: int, heads: int, width: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Any) -> Any:
        x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.output(self.norm(x)).flatten(0, 1)
