"""What a tensor is: an array, its place in the graph, its gradient. The operations are in other files."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

from ringleader.runtime.autograd import engine
from ringleader.runtime.autograd.op import (
    Array,
    Function,
    Memory,
    Shape,
    array_module,
    is_floating,
    moved,
    to_host,
)

if TYPE_CHECKING:
    from ringleader.runtime.autograd.tensor import Tensor

Hook = Callable[["Tensor"], None]


class RemovableHandle:
    """What registering a hook returns; ``remove()`` takes the hook off."""

    def __init__(self, hooks: dict[int, Any], key: int) -> None:
        self.hooks, self.key = hooks, key

    def remove(self) -> None:
        self.hooks.pop(self.key, None)


class TensorBase:
    """See Tensor."""

    name: str | None = None  # a parameter's, for messages
    requires_grad: bool = False
    node: Function | None = None  # the op that made it; None: a leaf
    grad: Array | None = None
    memory: Memory  # shared with all tensors on the same memory
    known: float = 0  # memory.rewrites that the graph behind this tensor knows of
    _grad_storage: Array | None = None
    _hooks: dict[int, Hook] | None = None

    def __init__(self, data: Any, requires_grad: bool = False, *, device: str = "cpu") -> None:
        self.device = device
        if isinstance(data, TensorBase):
            self.data: Array = moved(data.data, array_module(device))
            self.memory, self.known = data.memory, inf  # its values on purpose, whatever its graph is
            if self.data is not data.data:
                self.memory = Memory()
        else:
            self.data, self.memory = array_module(device).asarray(data), Memory()
        if requires_grad:
            if not is_floating(self.data.dtype):
                raise TypeError(f"only floating-point tensors can require a gradient, not {self.data.dtype}")
            self.requires_grad = True

    @property
    def shape(self) -> Shape:
        shape: Shape = self.data.shape
        return shape

    @property
    def dtype(self) -> Any:
        return self.data.dtype

    @property
    def ndim(self) -> int:
        ndim: int = self.data.ndim
        return ndim

    @property
    def size(self) -> int:
        size: int = self.data.size
        return size

    @property
    def is_leaf(self) -> bool:
        return self.node is None

    def like(self, data: Array) -> Tensor:
        """A new leaf with these data on this tensor's device."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.data)

    def __bool__(self) -> bool:
        """Of a single element. ValueError if there is not exactly one."""
        return bool(self.data)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """What numpy.asarray(tensor) sees: the array itself, from a GPU a copy."""
        array = to_host(self.data)
        array = array if dtype is None else array.astype(dtype, copy=False)
        return array.copy() if copy else array

    def __repr__(self) -> str:
        return f"Tensor({self.data!r}{', requires_grad=True' if self.requires_grad else ''})"

    def numpy(self) -> Array:
        """The array itself, not a copy. TypeError: it is in a GPU's memory."""
        if to_host(self.data) is not self.data:
            raise TypeError(f"numpy: the tensor {self.describe()} is on {self.device!r}; use cpu().numpy()")
        return self.data

    def beside(self, given: Any) -> Array:
        """``given``, an array, number or tensor, as an array on the device of this tensor. ValueError: a tensor that
        is on another one."""
        if not isinstance(given, TensorBase):
            return moved(given, array_module(self.device))
        if given.device != self.device:
            raise ValueError(f"tensors on different devices: {self.device}, {given.device}")
        return given.data

    def item(self) -> float:
        """The only element, as a Python number. ValueError if there is not exactly one."""
        value: float = self.data.item()
        return value

    def mark_changed(self) -> None:
        """Say that ``data`` was changed in place by other means than the methods here, as optimisers do: a
        backward that would still need the old values is then an error instead of a wrong gradient."""
        self.memory.changes += 1

    def describe(self) -> str:
        """For messages: name, if it has one, and shape."""
        return f"{repr(self.name) + ' ' if self.name else ''}of shape {self.shape}"

    # Gradients

    def backward(self, gradient: Array | Tensor | None = None, retain_graph: bool = False) -> None:
        """Add the gradient of this tensor to ``grad`` of every leaf it was computed from.

        ``gradient``: of the same shape; may be left out for a single element, and is 1 then. The graph is
        freed on the way unless ``retain_graph``. RuntimeError: nothing was recorded, no ``gradient`` for
        more than one element, the graph has been freed, or a tensor that it needs has been changed in place
        since. ShapeError: shape of ``gradient``.
        """
        given = gradient.data if isinstance(gradient, TensorBase) else gradient
        engine.backward(self, given, retain_graph)

    @property
    def grad_storage(self) -> Array | None:
        """Memory that the gradient lives in, for instance a slice of a bucket. A gradient that is there
        already moves into it; after ``grad = None`` the next one overwrites what is in it, without a fill of
        zeros before. ValueError: other shape or dtype, or read-only."""
        return self._grad_storage

    @grad_storage.setter
    def grad_storage(self, storage: Array | None) -> None:
        if storage is not None:
            if (
                storage.shape != self.shape
                or storage.dtype != self.dtype
                or not getattr(storage.flags, "writeable", True)
            ):
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
        if self._hooks is None:
            self._hooks = {}
        key = max(self._hooks, default=0) + 1
        self._hooks[key] = hook
        return RemovableHandle(self._hooks, key)

    def accumulate_grad(self, g: Array) -> None:
        """For the engine: add the complete gradient of one backward, then call the hooks."""
        if self.grad is not None:
            self.grad += g
        elif self._grad_storage is not None:
            self.grad = self._grad_storage
            self.grad[...] = g
        else:  # g may be shared with other tensors, or a read-only broadcast
            self.grad = array_module(self.device).array(g, order="C")
        if self._hooks:
            for hook in list(self._hooks.values()):
                hook(self)  # type: ignore[arg-type]  # every TensorBase is a Tensor
