"""Activations as layers."""

from __future__ import annotations

from ringleader.runtime.autograd.module import Module
from ringleader.runtime.autograd.tensor import Tensor


class Tanh(Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.tanh()


class Sigmoid(Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sigmoid()


class ReLU(Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu()
