"""Tensor: an array that remembers how it was computed."""

from __future__ import annotations

from ringleader.runtime.autograd.apply import apply
from ringleader.runtime.autograd.inplace import InPlace
from ringleader.runtime.autograd.op import Array, Memory

__all__ = ["Tensor", "apply"]


class Tensor(InPlace):
    """An array, and with ``requires_grad`` its gradient.

    ``data`` is not copied if it is an array already (as torch.from_numpy); its dtype is kept. ``grad`` is
    None until a backward has reached this tensor; only leaves (tensors that no op made) get one.
    TypeError: ``requires_grad`` of other than floating-point data. ValueError: unknown device.

    Built up file by file: base.py (data and gradient), operators.py, shaping.py, methods.py, inplace.py.
    """

    def like(self, data: Array) -> Tensor:
        out = object.__new__(Tensor)  # a result of an op: there is nothing to check or convert
        out.data, out.device, out.memory = data, self.device, Memory()
        return out
