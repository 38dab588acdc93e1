"""The op table: an op is one class, in one place, with its shape rule, its forward and its gradient.

    @op("tanh")
    class Tanh(Function):
        def shape(self, x: Shape) -> Shape:
            return x

        def forward(self, x: Array) -> Array:
            self.y = self.xp.tanh(x)
            return self.y

        def backward(self, g: Array) -> Array:
            return g * (1 - self.y * self.y)

That is all: the op is then in ``OPS`` and ``apply("tanh", x)`` runs it. Another device gets its own
implementation by ``@op("tanh", device="cuda")`` on a subclass, which inherits the shape rule; an op that is
written with ``self.xp`` only runs as it is on devices that take such (``register_device``). (The idea of a table of
ops with their gradients follows micrograd and JAX's autodidax; an instance as the record of one call, Chainer.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import numpy as np

if TYPE_CHECKING:
    from ringleader.runtime.autograd.base import TensorBase

Array: TypeAlias = Any  # numpy's array, or what another device's array module has in its place
Shape: TypeAlias = tuple[int, ...]
Source: TypeAlias = "Function | TensorBase | None"  # the op that made an input, or the leaf it is


def is_floating(dtype: Any) -> bool:
    """Also bfloat16 (ml_dtypes), which numpy does not count among its own."""
    return bool(dtype.kind == "f" or dtype.name == "bfloat16")


class ShapeError(ValueError):
    """The shapes do not fit the op; the message names the op and the shapes."""


class Memory:
    """What tensors that share memory share: how often that memory was changed."""

    changes = 0  # times it was changed in place
    rewrites = 0  # times that was recorded: tensors that do not know of it have an outdated graph
    of_leaf = False  # it belongs to a leaf that needs a gradient, and an op made a view of it


# an input or output that an op keeps: which (the number of inputs: the output), its name, memory and changes
Kept: TypeAlias = tuple[int, str | None, Memory, int]


class Function:
    """One application of an op: what went in, and what ``forward`` keeps on ``self`` for ``backward``.

    A subclass with options (an axis, a stride) is a dataclass. ``backward`` gets the gradient of the output
    and returns one gradient per input (a bare array if there is one input). It may return it in the
    broadcast shape: the engine sums it down to the input's. Where ``needs[i]`` is False, None will do.

    An array that ``forward`` leaves in an attribute (or in a tuple or list there), and that is an input, the
    output or a view of one, is thereby declared as needed for the gradient: backward refuses if its memory has
    been changed in place since. So keep an input only where the gradient needs it: ``self.a = a if self.needs[1] else None``.
    """

    name: ClassVar[str]
    sources: Sequence[Source] | None = None  # where each input's gradient goes; None: freed
    input_shapes: Sequence[Shape] = ()
    input_dtypes: Sequence[Any] = ()
    needs: tuple[bool, ...] = ()  # which inputs need a gradient
    watched: Sequence[Kept] = ()  # memory of tensors that backward reads
    depth: int = 0  # longest way from a leaf; backward goes from deep to shallow
    xp: Any = np  # the device's array module

    def shape(self, *shapes: Any) -> Shape:
        """The output's shape, or ShapeError."""
        raise NotImplementedError

    def forward(self, *arrays: Any) -> Array:
        raise NotImplementedError

    def backward(self, g: Array) -> Any:
        raise NotImplementedError

    def refuse(self, why: str, *shapes: Shape) -> ShapeError:
        given = " and ".join(map(str, shapes))
        return ShapeError(f"{self.name}: shape{'s' if len(shapes) > 1 else ''} {given}: {why}")

    def free(self) -> None:
        vars(self).clear()


DEVICES: dict[str, Any] = {"cpu": np}  # device -> array module
OPS: dict[str, dict[str, type[Function]]] = {}  # op -> device -> implementation
WRITTEN: dict[str, type[Function]] = {}  # op -> as it is written for any array module, without native kernels
AS_WRITTEN: set[str] = (
    set()
)  # devices that take an op as it is written where they have no implementation of their own
LATER = {"emulated": "ringleader.runtime.autograd.devices", "cuda": "ringleader.runtime.autograd.devices"}
# device -> the module whose register(device) is called when it is first asked for: nothing is imported before

F = TypeVar("F", bound=type[Function])


def op(name: str, device: str = "cpu") -> Callable[[F], F]:
    """Register a Function as op ``name`` on ``device``."""

    def register(function: F) -> F:
        function.name = name
        OPS.setdefault(name, {})[device] = function
        if device == "cpu":
            WRITTEN[name] = function
        return function

    return register


def register_device(device: str, array_module: Any, as_written: bool = False) -> None:
    """Make ``Tensor(..., device=device)`` possible. ``array_module`` is numpy's equal there (cupy).

    ``as_written``: an op without an implementation there runs as it is written, by ``self.xp``, for the CPU.
    """
    DEVICES[device] = array_module
    if as_written:
        AS_WRITTEN.add(device)


def array_module(device: str) -> Any:
    """The device's array module. ValueError: unknown device. RuntimeError: what it needs is missing."""
    if device not in DEVICES:
        if device not in LATER:
            known = dict.fromkeys([*DEVICES, *LATER])
            raise ValueError(f"unknown device {device!r}; known: {', '.join(known)}")
        import_module(LATER[device]).register(device)
    return DEVICES[device]


def find(name: str, device: str) -> type[Function]:
    """The implementation of an op on a device. ValueError: no such op. NotImplementedError: not there."""
    try:
        return OPS[name][device]
    except KeyError:
        if name not in OPS:
            raise ValueError(f"unknown op {name!r}; known: {', '.join(sorted(OPS))}") from None
        if device in AS_WRITTEN and name in WRITTEN:
            return WRITTEN[name]
        raise NotImplementedError(f"op {name!r} has no implementation on {device!r}; it has: "
                                  f"{', '.join(OPS[name])}") from None  # fmt: skip


def module_of(array: Array) -> Any:
    """The array module that ``array`` belongs to."""
    if isinstance(array, (np.ndarray, np.generic)):
        return np
    return next(xp for xp in DEVICES.values() if xp is not None and isinstance(array, xp.ndarray))


def to_host(array: Any) -> Any:
    """A device's array as one of numpy, copied; all else as it is."""
    for xp in DEVICES.values():
        if xp is not np and xp is not None and isinstance(array, xp.ndarray):
            return array.get()
    return array


def moved(array: Any, xp: Any) -> Array:
    """As an array of module ``xp``: itself, if it is one; numbers, lists and arrays of other devices are copied."""
    return array if isinstance(array, xp.ndarray) else xp.asarray(to_host(array))


def address(array: Array) -> int:
    """Of its first element, in its device's memory."""
    where: int = array.__array_interface__["data"][0] if isinstance(array, np.ndarray) else array.data.ptr
    return where
