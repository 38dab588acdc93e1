"""Scaled dot-product attention, forward and backward (attention.cu), as the op of that name in autograd has it.

    out = softmax(scale query key^T + mask) value

query (N, H, L, E), key (N, K, S, E), value (N, K, S, F), out (N, H, L, F); H is a multiple of K, and query head h reads
key and value head h // (H / K). A query that sees no key has out 0 and logsumexp -infinity, and its gradient is 0.

Versions, best first: ``wgmma`` (attention_wgmma.py), 16-bit floats on Hopper, without a mask; ``mma``, 16-bit
floats on tensor cores, where E and F are multiples of 8 and all rows begin at multiples of 16 bytes; ``clear``,
everything.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ringleader.csrc.cuda import attention_wgmma
from ringleader.csrc.cuda.attention_plans import CLEAR_THREADS, LARGEST, plan
from ringleader.csrc.cuda.device import Array, Device, c_type, ceil_div
from ringleader.csrc.cuda.rows import address, compute_dtype
from ringleader.csrc.cuda.versions import ALL, Draw, choose, example


def forward(
    device: Device,
    query: Array,
    key: Array,
    value: Array,
    *,
    scale: float,
    causal: bool = False,
    lengths: Array | None = None,
    mask: Array | None = None,
    version: str | None = None,
) -> tuple[Array, Array]:
    """out (N, H, L, F), a view of (N, L, H, F) in memory; logsumexp (N, H, L), in float32, or float64 for float64.

    query, key, value: of one dtype, any strides with the last axis contiguous. causal: query i sees the keys 0 to i,
    whatever L and S. lengths (N,), int32: how many keys of a batch row count. mask, broadcast to (N, H, L, S): boolean,
    the scores that count, or of query's dtype, added to the scores.

    TypeError, ValueError: an argument does not fit the others, or ``version`` does not fit them; it is named.
    """
    given = _Problem(device, query, key, value, scale, causal, lengths, mask)
    chosen = choose("attention_forward", device.architecture, query.dtype, version, **given.shape()).name
    out = given.empty(given.heads, given.queries, given.value_head)
    logsumexp = device.xp.empty((given.batch, given.heads, given.queries), compute_dtype(query.dtype))
    if chosen == "wgmma":
        hopper = attention_wgmma.Problem(device, query, key, value, lengths, causal, scale)
        hopper.forward(out, logsumexp)
    else:
        given.launch(chosen, "forward", given.queries, given.heads, [out, logsumexp])
    return out, logsumexp


def backward(
    device: Device,
    grad: Array,
    query: Array,
    key: Array,
    value: Array,
    out: Array,
    logsumexp: Array,
    *,
    scale: float,
    causal: bool = False,
    lengths: Array | None = None,
    mask: Array | None = None,
    version: str | None = None,
) -> tuple[Array, Array, Array]:
    """The gradients of query, key and value, from that of out and what ``forward`` got and returned.

    grad (N, H, L, F), any strides with the last axis contiguous. The gradients are views of (N, L or S, heads, E or F)
    in memory. The mask gets none. Errors as ``forward``.
    """
    given = _Problem(device, query, key, value, scale, causal, lengths, mask)
    for name, array in (("grad", grad), ("out", out)):
        given.check_like_out(name, array)
    given.check_logsumexp(logsumexp)
    shape = given.shape(grad)
    chosen = choose("attention_backward", device.architecture, query.dtype, version, **shape).name
    delta = given.delta(grad, out)
    dq = given.empty(given.heads, given.queries, given.head)
    dk = given.empty(given.kv_heads, given.keys, given.head)
    dv = given.empty(given.kv_heads, given.keys, given.value_head)
    if chosen == "wgmma":
        hopper = attention_wgmma.Problem(device, query, key, value, lengths, causal, scale)
        hopper.backward(dq, dk, dv, grad, logsumexp, delta)
    else:
        rest = [grad, logsumexp, delta, *_strides(grad)]
        given.launch(chosen, "backward_query", given.queries, given.heads, [dq, *rest])
        given.launch(chosen, "backward_key", given.keys, given.kv_heads, [dk, dv, *rest])
    return dq, dk, dv


def _refuse(what: str) -> ValueError:
    return ValueError(f"attention: {what}")


def _strides(array: Array, axes: int = 3) -> list[np.int64]:
    """Of the first axes, in elements."""
    return [np.int64(stride // array.dtype.itemsize) for stride in array.strides[:axes]]


def _check_rows(name: str, array: Array, query: Array) -> None:
    """(batch, heads, rows, columns) of query's dtype, each row in one piece."""
    if array.dtype.name not in ALL:
        raise TypeError(f"attention: {name} is {array.dtype.name}; it must be one of {', '.join(ALL)}")
    if array.dtype != query.dtype:
        raise TypeError(f"attention: {name} is {array.dtype.name}, query {query.dtype.name}")
    if array.ndim != 4:
        raise _refuse(f"{name} must be (batch, heads, rows, columns), its shape is {array.shape}")
    if array.size == 0:
        return  # strides mean nothing
    if array.shape[3] > 1 and array.strides[3] != array.dtype.itemsize:
        raise _refuse(f"{name}'s last axis must be contiguous, its strides are {array.strides}")
    if any(stride % array.dtype.itemsize for stride in array.strides):
        raise _refuse(
            f"{name}'s strides {array.strides} must be multiples of its {array.dtype.itemsize} bytes"
        )


class _Problem:
    """The checked arguments of a launch."""

    def __init__(
        self,
        device: Device,
        query: Array,
        key: Array,
        value: Array,
        scale: float,
        causal: bool,
        lengths: Array | None,
        mask: Array | None,
    ) -> None:
        for name, array in (("query", query), ("key", key), ("value", value)):
            _check_rows(name, array, query)
        self.device, self.query, self.key, self.value = device, query, key, value
        self.scale, self.causal, self.lengths, self.mask = scale, causal, lengths, mask
        self.batch, self.heads, self.queries, self.head = query.shape
        _, self.kv_heads, self.keys, self.value_head = value.shape
        self._check_sizes()
        if lengths is not None:
            self._check_lengths(lengths)
        if mask is not None:
            self._check_mask(mask)

    def _check_sizes(self) -> None:
        key, value = self.key.shape, self.value.shape
        if not self.batch == key[0] == value[0]:
            raise _refuse(f"query has {self.batch} batch rows, key {key[0]}, value {value[0]}")
        if key[1:3] != value[1:3]:
            raise _refuse(f"key has {key[1]} heads of {key[2]} rows, value {value[1]} of {value[2]}")
        if key[3] != self.head:
            raise _refuse(f"key has {key[3]} columns, query {self.head}")
        for name, size in (("query and key", self.head), ("value", self.value_head)):
            if not 1 <= size <= LARGEST:
                raise _refuse(f"{name} must have 1 to {LARGEST} columns, not {size}")
        if self.kv_heads == 0 or self.heads % self.kv_heads:
            raise _refuse(f"query's {self.heads} heads are no multiple of key's {self.kv_heads}")

    def _check_lengths(self, lengths: Array) -> None:
        if lengths.dtype != np.int32:
            raise TypeError(f"attention: lengths is {lengths.dtype.name}; it must be int32")
        if lengths.shape != (self.batch,) or not lengths.flags.c_contiguous:
            raise _refuse(f"lengths must be ({self.batch},), contiguous; its shape is {lengths.shape}")

    def _check_mask(self, mask: Array) -> None:
        if mask.dtype not in (np.bool_, self.query.dtype):
            raise TypeError(
                f"attention: mask is {mask.dtype.name}; it must be bool, or {self.query.dtype.name} as query"
            )
        scores = (self.batch, self.heads, self.queries, self.keys)
        if mask.ndim > 4 or any(m not in (1, s) for m, s in zip(mask.shape[::-1], scores[::-1])):
            raise _refuse(f"mask {mask.shape} does not broadcast to the scores {scores}")
        if mask.size and any(stride % mask.dtype.itemsize for stride in mask.strides):
            raise _refuse(
                f"mask's strides {mask.strides} must be multiples of its {mask.dtype.itemsize} bytes"
            )

    def check_like_out(self, name: str, array: Array) -> None:
        _check_rows(name, array, self.query)
        wanted = (self.batch, self.heads, self.queries, self.value_head)
        if array.shape != wanted:
            raise _refuse(f"{name} has shape {array.shape}, the output {wanted}")

    def check_logsumexp(self, logsumexp: Array) -> None:
        dtype, wanted = compute_dtype(self.query.dtype), (self.batch, self.heads, self.queries)
        if logsumexp.dtype != dtype:
            raise TypeError(f"attention: logsumexp is {logsumexp.dtype.name}; forward gave {dtype.name}")
        if logsumexp.shape != wanted or not logsumexp.flags.c_contiguous:
            raise _refuse(f"logsumexp must be {wanted}, C-contiguous; its shape is {logsumexp.shape}")

    def shape(self, *more: Array) -> dict[str, Any]:
        """What versions are chosen by."""
        arrays = (self.query, self.key, self.value, *more)
        ascending = all(
            stride > 0 for array in arrays for stride, extent in zip(array.strides, array.shape) if extent > 1
        )
        aligned = all(
            address(array) % 16 == 0 and all(stride % 16 == 0 for stride in array.strides[:3])
            for array in arrays
        )
        sizes = {
            "batch": self.batch,
            "queries": self.queries,
            "keys": self.keys,
            "head": self.head,
            "value_head": self.value_head,
        }
        return {**sizes, "aligned": aligned, "ascending": ascending, "masked": self.masked()}

    def masked(self) -> bool:
        """Is there a mask in memory, or a scale that turns the order of scores, which cannot be folded into e^score?"""
        return self.mask is not None or self.scale <= 0

    def empty(self, heads: int, rows: int, columns: int) -> Array:
        """(batch, heads, rows, columns), in memory (batch, rows, heads, columns)."""
        memory = self.device.xp.empty((self.batch, rows, heads, columns), self.query.dtype)
        return memory.transpose(0, 2, 1, 3)

    def delta(self, grad: Array, out: Array) -> Array:
        delta = self.device.xp.empty((self.batch, self.heads, self.queries), compute_dtype(self.query.dtype))
        sizes = [np.int32(n) for n in (self.heads, self.queries, self.value_head)]
        if delta.size:
            self.device.launch(
                "attention.cu",
                f"attention_delta<{c_type(grad.dtype)}>",
                ceil_div(delta.size, CLEAR_THREADS // 32),
                CLEAR_THREADS,
                [delta, grad, out, *_strides(grad), *_strides(out), *sizes, np.int64(delta.size)],
            )
        return delta

    def launch(self, version: str, kernel: str, rows: int, heads: int, args: list[Any]) -> None:
        """A block for each tile of rows of each batch row and head."""
        use = plan(version, kernel, self.query.dtype.name, max(self.head, self.value_head), self.masked())
        blocks = ceil_div(rows, use.rows) * heads * self.batch
        if blocks:
            arguments = [*args, *self._arguments()]
            self.device.launch(use.file, use.expression, blocks, use.threads, arguments, shared=use.shared)

    def _arguments(self) -> list[Any]:
        """PROBLEM of attention.cuh."""
        bias, allowed, mask_strides = None, None, [np.int64(0)] * 4
        if self.mask is not None:
            bias, allowed = (None, self.mask) if self.mask.dtype == np.bool_ else (self.mask, None)
            scores = (self.batch, self.heads, self.queries, self.keys)
            mask_strides = _strides(self.device.xp.broadcast_to(self.mask, scores), 4)
        sizes = (self.heads, self.heads // self.kv_heads, self.queries, self.keys, self.head, self.value_head)
        return [
            self.query, self.key, self.value, bias, allowed, self.lengths,
            *_strides(self.query), *_strides(self.key), *_strides(self.value), *mask_strides,
            *map(np.int32, sizes), np.int32(self.causal), compute_dtype(self.query.dtype).type(self.scale),
        ]  # fmt: skip


@example("attention_forward", shape="N,H,T,D", default=(2, 4, 37, 64))
def forward_example(
    device: Device, draw: Draw, version: str | None, batch: int, heads: int, length: int, head: int
) -> tuple[Array, Array]:
    query, key, value = (draw(batch, length, heads, head).transpose(0, 2, 1, 3) for _ in range(3))
    return forward(device, query, key, value, scale=head**-0.5, causal=True, version=version)


@example("attention_backward", shape="N,H,T,D", default=(2, 4, 37, 64))
def backward_example(
    device: Device, draw: Draw, version: str | None, batch: int, heads: int, length: int, head: int
) -> tuple[Array, Array, Array]:
    query, key, value, grad = (draw(batch, length, heads, head).transpose(0, 2, 1, 3) for _ in range(4))
    scale = head**-0.5
    out, logsumexp = forward(device, query, key, value, scale=scale, causal=True)
    return backward(
        device, grad, query, key, value, out, logsumexp, scale=scale, causal=True, version=version
    )
