"""Attention by CUDA kernels, with a mask or a bias that needs no gradient; dropout goes to the array-module op."""

from __future__ import annotations

from math import prod

from ringleader.csrc.cuda import attention as kernels
from ringleader.csrc.cuda.attention_plans import LARGEST
from ringleader.runtime.autograd.cuda import cuda, kernel_device, laid_out, takes
from ringleader.runtime.autograd.op import Array, Shape
from ringleader.runtime.autograd.ops.attention import Attention


def rows_in_place(array: Array) -> Array:
    """The array, copied only if the elements of its last axis do not follow each other in memory."""
    return array if array.shape[-1] == 1 or array.strides[-1] == array.itemsize else laid_out(array)


@cuda("scaled_dot_product_attention")
class CudaAttention(Attention):
    inputs: (
        tuple[()] | tuple[Array, Array, Array]
    ) = ()  # query, key and value as the kernel was given them, if it was taken
    given_mask: Array | None = None

    def forward(self, query: Array, key: Array, value: Array, *bias: Array) -> Array:
        if not self._by_kernel(query, key, value, *bias):
            return super().forward(query, key, value, *bias)
        leads = (self.lead, self.outer, self.outer)
        q, k, v = (self._four(a, lead) for a, lead in zip((query, key, value), leads))
        self.inputs = (q, k, v)
        self.given_mask = self._mask(self.allowed if not bias else bias[0], (q.shape[2], k.shape[2]))
        self.out, self.log_sum = kernels.forward(
            kernel_device(self.xp), q, k, v, scale=self.scale, causal=self.is_causal, mask=self.given_mask
        )
        return self.out.reshape(*self.lead, *self.out.shape[2:])

    def _by_kernel(self, query: Array, key: Array, value: Array, *bias: Array) -> bool:
        sizes = (query.shape[-1], value.shape[-1])
        one_mask = not bias or (self.allowed is None and not self.needs[3])
        some = 0 not in (prod(self.outer), *sizes) and max(sizes) <= LARGEST
        return takes(query, key, value, *bias) and one_mask and some and self.dropout_p == 0

    def _four(self, array: Array, lead: Shape) -> Array:
        """(..., rows, columns) as (batch, heads, rows, columns), its leading axes spread to ``lead``."""
        rows = array.shape[-2:]
        heads = (prod(lead[:-1]), *(lead[-1:] or (1,)))
        if array.shape[:-2] != lead:
            array = self.xp.broadcast_to(array, (*lead, *rows))
        return rows_in_place(array if len(lead) == 2 else array.reshape(*heads, *rows))

    def _mask(self, mask: Array | None, scores: tuple[int, int]) -> Array | None:
        """So that it broadcasts to (batch, heads, L, S)."""
        if mask is None or (len(self.lead) <= 2 and mask.ndim <= 4):
            return mask
        wide = self.xp.broadcast_to(mask, (*self.lead, *scores))
        return wide.reshape(prod(self.lead[:-1]), self.lead[-1], *wide.shape[-2:])

    def backward(self, g: Array) -> tuple[Array | None, ...]:
        if not self.inputs:
            return super().backward(g)
        grads = kernels.backward(
            kernel_device(self.xp), self._four(g, self.lead), *self.inputs, self.out, self.log_sum,
            scale=self.scale, causal=self.is_causal, mask=self.given_mask,
        )  # fmt: skip
        leads = (self.lead, self.outer, self.outer)
        whole = (d.reshape(*lead, *d.shape[2:]) for d, lead in zip(grads, leads))
        return (*whole, None)[: len(self.needs)]
