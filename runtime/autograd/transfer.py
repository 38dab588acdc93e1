"""From one device to another, with the gradient on its way back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringleader.runtime.autograd.apply import outdated
from ringleader.runtime.autograd.mode import is_grad_enabled
from ringleader.runtime.autograd.op import Array, Function, Shape, array_module, moved, to_host

if TYPE_CHECKING:
    from ringleader.runtime.autograd.base import TensorBase
    from ringleader.runtime.autograd.tensor import Tensor


def copied_to(array: Array, device: str) -> Array:
    """A copy in the memory of ``device``, contiguous."""
    return array_module(device).array(to_host(array), order="C")


class ToDevice(Function):
    """The record of ``Tensor.to``. It is no op of the table, whose ops compute on one device."""

    name = "to"

    def shape(self, x: Shape) -> Shape:
        return x

    def backward(self, g: Array) -> Array:
        return moved(g, self.xp)


def to_device(tensor: TensorBase, device: str) -> Tensor:
    """See TensorBase.to."""
    if tensor.known < tensor.memory.rewrites:
        raise outdated("to", tensor)
    out = tensor.like(copied_to(tensor.data, device))
    out.device = device
    if is_grad_enabled() and tensor.requires_grad:
        node = ToDevice()
        node.xp, node.needs = array_module(tensor.device), (True,)
        node.sources = [tensor if tensor.node is None else tensor.node]
        node.input_shapes, node.input_dtypes = [tensor.shape], [tensor.dtype]
        node.depth = 1 + (tensor.node.depth if tensor.node else 0)
        out.requires_grad, out.node = True, node
    return out
