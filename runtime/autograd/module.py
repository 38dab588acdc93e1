"""Parameter and Module: what layers and models are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from ringleader.runtime.autograd.op import Array
from ringleader.runtime.autograd.tensor import Tensor

M = TypeVar("M", bound="Module")


class Parameter(Tensor):
    """A tensor that a Module finds among its attributes, and that training changes."""

    def __init__(self, data: Any, *, device: str = "cpu") -> None:
        super().__init__(data, requires_grad=True, device=device)


class Module:
    """A layer or model: its parameters and sub-modules are its attributes; ``forward`` says what it does.

    Parameters are found in the order in which the attributes were set, which is the same on every rank.
    """

    training: bool = True
    _buffers: tuple[str, ...] = ()

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.forward(*args, **kwargs)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Dotted names and parameters; a parameter that is there twice comes once."""
        seen: set[int] = set()
        for name, parameter in self._named_parameters(prefix):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def _named_parameters(self, prefix: str) -> Iterator[tuple[str, Parameter]]:
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield prefix + name, value
            elif isinstance(value, Module):
                yield from value._named_parameters(f"{prefix}{name}.")

    def parameters(self) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.named_parameters())

    def register_buffer(self, name: str, array: Array) -> None:
        """Attribute ``name``: an array that is no parameter, but part of the state; changed in place."""
        setattr(self, name, array)
        self._buffers = (*self._buffers, name)

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Array]]:
        """Dotted names and arrays."""
        yield from ((prefix + name, getattr(self, name)) for name in self._buffers)
        for name, child in self.named_children():
            yield from child.named_buffers(f"{prefix}{name}.")

    def _state(self) -> dict[str, Array]:
        parameters = {name: parameter.data for name, parameter in self.named_parameters()}
        return parameters | dict(self.named_buffers())

    def state_dict(self) -> dict[str, Array]:
        """Copies of all parameters and buffers, by name."""
        return {name: array.copy() for name, array in self._state().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy ``state`` into the parameters and buffers, in their dtype.

        KeyError names missing and unexpected keys, ValueError the keys whose shapes differ; nothing has
        been changed then.
        """
        mine = self._state()
        missing, unexpected = [k for k in mine if k not in state], [k for k in state if k not in mine]
        if missing or unexpected:
            raise KeyError(
                f"state does not fit {type(self).__name__}: missing {missing}, unexpected {unexpected}"
            )
        wrong = [f"{k}: {np.shape(state[k])} given, {p.shape} needed" for k, p in mine.items()
                 if np.shape(state[k]) != p.shape]  # fmt: skip
        if wrong:
            raise ValueError(f"state does not fit {type(self).__name__}: {'; '.join(wrong)}")
        for name, array in mine.items():
            array[...] = state[name]

    def train(self: M, mode: bool = True) -> M:
        self.training = mode
        for _, child in self.named_children():
            child.train(mode)
        return self

    def eval(self: M) -> M:
        return self.train(False)

    def zero_grad(self) -> None:
        for parameter in self.parameters():
            parameter.zero_grad()
