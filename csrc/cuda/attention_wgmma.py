"""How attention runs on Hopper: attention_wgmma.cu and attention_wgmma_backward.cu. Arguments are checked in attention.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ringleader.csrc.cuda.device import C_TYPES, Array, Device, ceil_div
from ringleader.csrc.cuda.versions import Instance, Version

HEADS = (64, 128)  # the larger one of E and F is rounded up to
OWN, THREADS, STAGES = (
    128,
    384,
    2,
)  # rows that a block works on; those of a tile that streams past are in STREAMED
STREAMED = {"forward": 128, "backward_query": 128, "backward_key": 64}  # as many as registers hold
FILES = {"forward": "attention_wgmma.cu", "backward_query": "attention_wgmma_backward.cu",
         "backward_key": "attention_wgmma_backward.cu"}  # fmt: skip
DTYPES = ("float16", "bfloat16")


def fits(shape: Mapping[str, Any]) -> bool:
    """No mask in memory, and what TMA asks of arrays; E and F multiples of 8, at most 128."""
    sizes = (shape["head"], shape["value_head"])
    something = shape["batch"] and shape["queries"] and shape["keys"]
    return bool(shape["aligned"] and shape["ascending"] and not shape["masked"] and something
                and max(sizes) <= HEADS[-1] and not any(size % 8 for size in sizes))  # fmt: skip


def expression(kernel: str, dtype: str, columns: int) -> str:
    head = next(head for head in HEADS if head >= columns)
    return f"attention_{kernel}_wgmma<{C_TYPES[dtype]}, {head}, {STREAMED[kernel]}, {STAGES}>"


VERSIONS = tuple(
    Version(operator, "wgmma", least=90, only="90a", dtypes=DTYPES, fits=fits)
    for operator in ("attention_forward", "attention_backward")
)
INSTANCES = tuple(
    Instance(FILES[kernel], expression(kernel, dtype, head), least=90, only="90a")
    for kernel in FILES
    for head in HEADS
    for dtype in DTYPES
)


class Problem:
    """query, key and value as in attention.forward, none of them empty."""

    def __init__(
        self,
        device: Device,
        query: Array,
        key: Array,
        value: Array,
        lengths: Array | None,
        causal: bool,
        scale: float,
    ) -> None:
        self.device, self.query, self.key, self.value, self.lengths = device, query, key, value, lengths
        self.batch, self.heads, self.queries, self.head = query.shape
        _, self.kv_heads, self.keys, self.value_head = value.shape
        self.numbers = [
            np.int32(n) for n in (self.heads, self.heads // self.kv_heads, self.queries, self.keys)
        ]
        self.rest = [np.int32(causal), np.float32(scale)]

    def forward(self, out: Array, logsumexp: Array) -> None:
        maps = self._maps("forward", own=[self.query], streamed=[self.key, self.value])
        sizes = [np.int32(self.value_head)]
        self._launch("forward", self.queries, self.heads, 1, [out, logsumexp], maps, sizes)

    def backward(self, dq: Array, dk: Array, dv: Array, grad: Array, logsumexp: Array, delta: Array) -> None:
        maps = self._maps("backward_query", own=[self.query, grad], streamed=[self.key, self.value])
        sizes = [np.int32(self.head)]
        self._launch("backward_query", self.queries, self.heads, 2, [dq, logsumexp, delta], maps, sizes)
        maps = self._maps("backward_key", own=[self.key, self.value], streamed=[self.query, grad])
        sizes = [np.int32(self.head), np.int32(self.value_head)]
        self._launch("backward_key", self.keys, self.kv_heads, 2, [dk, dv, logsumexp, delta], maps, sizes)

    def _maps(self, kernel: str, own: list[Array], streamed: list[Array]) -> Array:
        """What the block has all along, then what streams past."""
        boxes = [OWN] * len(own) + [STREAMED[kernel]] * len(streamed)
        return self.device.tensor_maps(
            *((array, (1, 1, rows, 64)) for array, rows in zip([*own, *streamed], boxes))
        )

    def _launch(
        self, kernel: str, rows: int, heads: int, own: int, arrays: list[Array], maps: Array, sizes: list[Any]
    ) -> None:
        """A block for each OWN rows of each head; own: tiles of that many rows."""
        columns = max(self.head, self.value_head)
        padded = next(head for head in HEADS if head >= columns)
        tiles = 2 * padded * (own * OWN + 2 * STAGES * STREAMED[kernel])
        barriers = 8 * (1 + 4 * STAGES)
        self.device.launch(
            FILES[kernel],
            expression(kernel, self.query.dtype.name, columns),
            ceil_div(rows, OWN) * heads * self.batch,
            THREADS,
            [*arrays, maps, self.lengths, *self.numbers, *sizes, *self.rest],
            shared=tiles + barriers,
        )
