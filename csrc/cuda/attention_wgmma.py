"""How attention_wgmma.cu is launched: attention forward on Hopper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ringleader.csrc.cuda.device import C_TYPES, Array, Device, ceil_div
from ringleader.csrc.cuda.versions import Instance, Version

HEADS = (64, 128)  # the larger one of E and F is rounded up to
QUERIES, KEYS, STAGES, THREADS = 128, 128, 2, 384
DTYPES = ("float16", "bfloat16")


def fits(shape: Mapping[str, Any]) -> bool:
    """No mask in memory, keys, and what TMA asks of arrays; E and F multiples of 8, at most 128."""
    sizes = (shape["head"], shape["value_head"])
    return bool(shape["aligned"] and not shape["masked"] and shape["keys"] and shape["queries"] and shape["batch"]
                and max(sizes) <= HEADS[-1] and not any(size % 8 for size in sizes))  # fmt: skip


def expression(dtype: str, size: int) -> str:
    head = next(head for head in HEADS if head >= size)
    return f"attention_forward_wgmma<{C_TYPES[dtype]}, {head}, {KEYS}, {STAGES}>"


VERSION = Version("attention_forward", "wgmma", least=90, only="90a", dtypes=DTYPES, fits=fits)
INSTANCES = tuple(
    Instance("attention_wgmma.cu", expression(dtype, head), least=90, only="90a")
    for head in HEADS
    for dtype in DTYPES
)


def launch(
    device: Device,
    out: Array,
    logsumexp: Array,
    query: Array,
    key: Array,
    value: Array,
    lengths: Array | None,
    causal: bool,
    scale: float,
) -> None:
    """Arrays as in attention.forward, checked there."""
    batch, heads, queries, head = query.shape
    _, kv_heads, keys, value_head = value.shape
    size = next(size for size in HEADS if size >= max(head, value_head))
    maps = device.tensor_maps(
        (query, (1, 1, QUERIES, 64)), (key, (1, 1, KEYS, 64)), (value, (1, 1, KEYS, 64))
    )
    tiles = 2 * size * (QUERIES + 2 * STAGES * KEYS)
    barriers = 8 * (1 + 4 * STAGES)
    numbers = (heads, heads // kv_heads, queries, keys, value_head, causal)
    device.launch(
        "attention_wgmma.cu", expression(query.dtype.name, size), ceil_div(queries, QUERIES) * heads * batch, THREADS,
        [out, logsumexp, maps, lengths, *map(np.int32, numbers), np.float32(scale)], shared=tiles + barriers,
    )  # fmt: skip
