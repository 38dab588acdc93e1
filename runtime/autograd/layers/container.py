"""Modules made of modules."""

from __future__ import annotations

from ringleader.runtime.autograd.module import Module
from ringleader.runtime.autograd.tensor import Tensor


class Sequential(Module):
    """One module after the other; their names are "0", "1", ..."""

    def __init__(self, *modules: Module) -> None:
        for i, module in enumerate(modules):
            setattr(self, str(i), module)

    def forward(self, x: Tensor) -> Tensor:
        for _, module in self.named_children():
            x = module(x)
        return x
