"""Tensor: an array that remembers how it was computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import ringleader.runtime.autograd.ops  # noqa: F401 (fills the op table)
from ringleader.runtime.autograd import engine
from ringleader.runtime.autograd.mode import is_grad_enabled
from ringleader.runtime.autograd.op import Array, Function, Shape, array_module, find

Operand: TypeAlias = Any  # a Tensor, a number or an array
Axis = int | tuple[int, ...] | None
Hook = Callable[["Tensor"], None]


class RemovableHandle:
    """What registering a hook returns; ``remove()`` takes the hook off."""

    def __init__(self, hooks: dict[int, Hook], key: int) -> None:
        self.hooks, self.key = hooks, key

    def remove(self) -> None:
        self.hooks.pop(self.key, None)


class Tensor:
    """An array, and with ``requires_grad`` its gradient.

    ``data`` is not copied if it is an array already (as torch.from_numpy); its dtype is kept. ``grad`` is
    None until a backward has reached this tensor; only leaves (tensors that no op made) get one.
    TypeError: ``requires_grad`` of other than floating-point data. ValueError: unknown device.
    """

    __array_priority__ = 1000  # numpy_array * tensor comes to Tensor.__rmul__
    __array_ufunc__ = None

    def __init__(self, data: Any, requires_grad: bool = False, *, device: str = "cpu") -> None:
        self.data: Array = array_module(device).asarray(data.data if isinstance(data, Tensor) else data)
        if requires_grad and self.data.dtype.kind != "f":
            raise TypeError(f"only floating-point tensors can require a gradient, not {self.data.dtype}")
        self.requires_grad = requires_grad
        self.device = device
        self.node: Function | None = None  # the op that made it; None: a leaf
        self.grad: Array | None = None
        self._grad_storage: Array | None = None
        self._hooks: dict[int, Hook] = {}

    shape = property(lambda self: self.data.shape)
    dtype = property(lambda self: self.data.dtype)
    ndim = property(lambda self: self.data.ndim)
    size = property(lambda self: self.data.size)
    is_leaf = property(lambda self: self.node is None)

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        return f"Tensor({self.data!r}{', requires_grad=True' if self.requires_grad else ''})"

    def numpy(self) -> Array:
        """The array itself, not a copy."""
        return self.data

    def item(self) -> float:
        """The only element, as a Python number. ValueError if there is not exactly one."""
        value: float = self.data.item()
        return value

    def detach(self) -> Tensor:
        """The same data, with no memory of how it was computed."""
        return Tensor(self.data, device=self.device)

    # Gradients

    def backward(self, gradient: Array | Tensor | None = None, retain_graph: bool = False) -> None:
        """Add the gradient of this tensor to ``grad`` of every leaf it was computed from.

        ``gradient``: of the same shape; may be left out for a single element, and is 1 then. The graph is
        freed on the way unless ``retain_graph``. RuntimeError: nothing was recorded, no ``gradient`` for
        more than one element, or the graph has been freed. ShapeError: shape of ``gradient``.
        """
        engine.backward(self, gradient.data if isinstance(gradient, Tensor) else gradient, retain_graph)

    @property
    def grad_storage(self) -> Array | None:
        """Memory that the gradient lives in, for instance a slice of a bucket. A gradient that is there
        already moves into it. ValueError: other shape or dtype, or read-only."""
        return self._grad_storage

    @grad_storage.setter
    def grad_storage(self, storage: Array | None) -> None:
        if storage is not None:
            if storage.shape != self.shape or storage.dtype != self.dtype or not storage.flags.writeable:
                raise ValueError(f"grad_storage must be writeable, {self.shape} {self.dtype}; it is "
                                 f"{storage.shape} {storage.dtype}")  # fmt: skip
            storage[...] = 0 if self.grad is None else self.grad
            self.grad = storage
        self._grad_storage = storage

    def zero_grad(self) -> None:
        """Forget the gradient; where it has storage, zero that in place."""
        if self._grad_storage is None:
            self.grad = None
        else:
            self.grad = self._grad_storage
            self.grad[...] = 0

    def register_post_accumulate_grad_hook(self, hook: Hook) -> RemovableHandle:
        """``hook(tensor)`` is called in each backward once, as soon as this leaf's gradient is complete,
        while the rest of the backward is still to come. RuntimeError: not a leaf that needs a gradient."""
        if not self.requires_grad or self.node is not None:
            raise RuntimeError("a post-accumulate hook needs a leaf tensor with requires_grad=True")
        key = max(self._hooks, default=0) + 1
        self._hooks[key] = hook
        return RemovableHandle(self._hooks, key)

    def accumulate_grad(self, g: Array) -> None:
        """For the engine: add the complete gradient of one backward, then call the hooks."""
        if self.grad is None:  # g may be shared with other tensors, or a read-only broadcast
            self.grad = array_module(self.device).array(g, order="C")
        else:
            self.grad += g
        for hook in list(self._hooks.values()):
            hook(self)

    # Operators

    def _operand(self, other: Operand) -> Tensor:
        """A number takes this tensor's dtype, so that it does not turn float32 into float64."""
        if isinstance(other, Tensor):
            return other
        is_number = isinstance(other, (int, float)) and self.data.dtype.kind == "f"
        return Tensor(np.asarray(other, self.dtype) if is_number else other, device=self.device)

    def __add__(self, other: Operand) -> Tensor:
        return apply("add", self, self._operand(other))

    def __radd__(self, other: Operand) -> Tensor:
        return apply("add", self._operand(other), self)

    def __sub__(self, other: Operand) -> Tensor:
        return apply("sub", self, self._operand(other))

    def __rsub__(self, other: Operand) -> Tensor:
        return apply("sub", self._operand(other), self)

    def __mul__(self, other: Operand) -> Tensor:
        return apply("mul", self, self._operand(other))

    def __rmul__(self, other: Operand) -> Tensor:
        return apply("mul", self._operand(other), self)

    def __truediv__(self, other: Operand) -> Tensor:
        return apply("div", self, self._operand(other))

    def __rtruediv__(self, other: Operand) -> Tensor:
        return apply("div", self._operand(other), self)

    def __matmul__(self, other: Operand) -> Tensor:
        return apply("matmul", self, self._operand(other))

    def __rmatmul__(self, other: Operand) -> Tensor:
        return apply("matmul", self._operand(other), self)

    def __neg__(self) -> Tensor:
        return apply("neg", self)

    def __pow__(self, exponent: float) -> Tensor:
        """To a constant power. TypeError: the exponent is not a number."""
        if not isinstance(exponent, (int, float)):
            raise TypeError(f"pow: the exponent must be a number, not {type(exponent).__name__}")
        return apply("pow", self, exponent=exponent)

    # Methods

    def exp(self) -> Tensor:
        return apply("exp", self)

    def log(self) -> Tensor:
        return apply("log", self)

    def tanh(self) -> Tensor:
        return apply("tanh", self)

    def sigmoid(self) -> Tensor:
        return apply("sigmoid", self)

    def relu(self) -> Tensor:
        return apply("relu", self)

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return apply("sum", self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return apply("mean", self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: int | Shape) -> Tensor:
        """``reshape(2, -1)`` or ``reshape((2, -1))``."""
        return apply("reshape", self, target=_sizes(shape))

    def permute(self, *dims: int | Shape) -> Tensor:
        """Axes in another order, as torch.permute."""
        return apply("permute", self, dims=_sizes(dims))

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Two axes swapped, as torch.transpose."""
        dims = list(range(self.ndim))
        try:
            dims[dim0], dims[dim1] = dims[dim1], dims[dim0]
        except IndexError:
            raise IndexError(f"transpose: axes {dim0}, {dim1} of a tensor of shape {self.shape}") from None
        return self.permute(*dims)

    @property
    def T(self) -> Tensor:
        """The axes in reverse order."""
        return self.permute(*reversed(range(self.ndim)))


def _sizes(given: tuple[int | Shape, ...]) -> Shape:
    flat: list[int] = []
    for size in given:
        flat.extend(size if isinstance(size, (tuple, list)) else [size])
    return tuple(flat)


def apply(name: str, *inputs: Tensor, **options: Any) -> Tensor:
    """Run op ``name`` of the table on the device its inputs are on, and record it if one needs a gradient.

    ShapeError: the shapes do not fit. ValueError: inputs on different devices, unknown op.
    NotImplementedError: the op is not there on that device.
    """
    device = inputs[0].device
    if any(t.device != device for t in inputs):
        raise ValueError(f"{name}: inputs on different devices: {', '.join(t.device for t in inputs)}")
    node = find(name, device)(**options)
    node.xp = array_module(device)
    recording = is_grad_enabled()
    node.needs = tuple(recording and t.requires_grad for t in inputs)
    node.shape(*(t.shape for t in inputs))
    out = Tensor(node.forward(*(t.data for t in inputs)), device=device)
    dtypes = {t.dtype for t in inputs}
    if out.dtype not in dtypes and len(dtypes) == 1:  # numpy 1 turns a 0-d float32 into float64
        out.data = out.data.astype(inputs[0].dtype)
    if any(node.needs):
        out.requires_grad, out.node = True, node
        node.inputs, node.depth = inputs, 1 + max(t.node.depth if t.node else 0 for t in inputs)
    return out
