"""Attention by a native kernel, without masks and dropout; what has them goes to the numpy op."""

from __future__ import annotations

import numpy as np
from ringleader.runtime.autograd.native import KERNELS, native
from ringleader.runtime.autograd.op import Array, Shape
from ringleader.runtime.autograd.ops.attention import Attention


def rows_in_place(array: Array) -> Array:
    """The array, copied only if the elements of its last axis do not follow each other in memory."""
    follow = array.shape[-1] == 1 or array.strides[-1] == array.itemsize
    return array if follow and array.flags.aligned else np.array(array, order="C")


@native("scaled_dot_product_attention")
class NativeAttention(Attention):
    """The kernel reads and writes strided memory: the output and the gradients lie as query, key and value do, so that
    heads that were split off by a transpose are put together again by one, without a copy."""

    def forward(self, query: Array, key: Array, value: Array, *bias: Array) -> Array:
        self.inputs = self._for_kernel(query, key, value) if self._by_kernel(query, key, value, *bias) else ()
        if not self.inputs:
            return super().forward(query, key, value, *bias)
        out, log_sum = KERNELS.attention(*self.inputs, self.scale, self.is_causal)
        if any(self.needs):
            self.out, self.log_sum = out, log_sum
        return out.reshape(*self.lead, *out.shape[2:])

    def _by_kernel(self, query: Array, key: Array, value: Array, *bias: Array) -> bool:
        plain = not bias and self.allowed is None and self.dropout_p == 0
        alike = query.dtype == key.dtype == value.dtype and query.dtype in (np.float32, np.float64)
        return plain and alike and 0 not in (query.size, key.size, value.size) and len(self.lead) <= 2

    def _for_kernel(self, query: Array, key: Array, value: Array) -> tuple[Array, ...]:
        """Their leading axes are batch and head."""
        leads = (self.lead, self.outer, self.outer)
        return tuple(self._four(rows_in_place(a), lead) for a, lead in zip((query, key, value), leads))

    def _four(self, array: Array, lead: Shape) -> Array:
        if array.shape[:-2] != lead:
            array = np.broadcast_to(array, (*lead, *array.shape[-2:]))
        return array if array.ndim == 4 else array[(np.newaxis,) * (4 - array.ndim)]

    def backward(self, g: Array) -> tuple[Array | None, ...]:
        if not self.inputs:
            return super().backward(g)
        g = self._four(rows_in_place(g), self.lead)
        grads = KERNELS.attention_backward(
            g, *self.inputs, self.out, self.log_sum, self.scale, self.is_causal
        )
        leads = (self.lead, self.outer, self.outer)
        return tuple(dx.reshape(*lead, *dx.shape[2:]) for dx, lead in zip(grads, leads))
