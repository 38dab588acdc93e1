"""How the kernels of attention are launched: tiles, shared memory, and what is compiled; see attention.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ringleader.csrc.cuda import attention_wgmma
from ringleader.csrc.cuda.device import C_TYPES
from ringleader.csrc.cuda.versions import ALL, Instance, Version, instances, versions

KERNELS = ("forward", "backward_query", "backward_key")
LARGEST = 256  # columns of query, key and value
CLEAR_THREADS = 128
CLEAR_HEADS = (
    32,
    64,
    128,
    LARGEST,
)  # kernels are compiled for so many columns; fewer are filled up with zeros
COMPUTE_BYTES = {"float64": 8, "float32": 4, "float16": 4, "bfloat16": 4}


@dataclass(frozen=True)
class Plan:
    """A launch: blocks of ``threads`` with ``shared`` bytes, one for each tile of ``rows``."""

    file: str
    expression: str
    rows: int
    threads: int
    shared: int


@dataclass(frozen=True)
class Tiles:
    """Of an mma kernel: ``across`` rows at a time stream past 16 ``high`` rows a warp, or ``split`` warps."""

    high: int
    across: int
    warps: int = 4
    split: int = 1

    @property
    def rows(self) -> int:
        return 16 * self.high * self.warps // self.split


# By kernel and columns; without and with a mask in memory. As large as registers hold on all architectures, with two
# blocks a multiprocessor of sm_80 for up to 128 columns, and in the shared memory of sm_86 for all.
TILES = {
    "forward": {
        32: (Tiles(2, 64), Tiles(2, 64)),
        64: (Tiles(2, 64), Tiles(2, 64)),
        96: (Tiles(2, 64), Tiles(2, 48)),
        128: (Tiles(2, 48), Tiles(2, 32)),
        256: (Tiles(1, 64), Tiles(1, 32)),
    },
    "backward_query": {
        32: (Tiles(2, 64), Tiles(2, 64)),
        64: (Tiles(2, 32), Tiles(2, 32)),
        96: (Tiles(2, 32), Tiles(2, 32)),
        128: (Tiles(1, 32), Tiles(1, 32)),
        256: (Tiles(1, 16), Tiles(1, 16)),
    },
    "backward_key": {
        32: (Tiles(2, 32), Tiles(2, 32)),
        64: (Tiles(2, 32), Tiles(2, 32)),
        96: (Tiles(1, 32), Tiles(1, 32)),
        128: (Tiles(1, 32), Tiles(1, 32)),
        256: (Tiles(1, 16, 8, 2), Tiles(1, 16, 8, 2)),
    },
}


def plan(version: str, kernel: str, dtype: str, columns: int, masked: bool) -> Plan:
    """Of one of KERNELS, for up to so many columns. masked: there is a mask in memory, or the scale is not positive."""
    return (_mma if version == "mma" else _clear)(kernel, dtype, columns, masked)


def _mma(kernel: str, dtype: str, columns: int, masked: bool) -> Plan:
    head = next(head for head in TILES[kernel] if head >= columns)
    tiles = TILES[kernel][head][masked]
    numbers = [
        head,
        tiles.high,
        tiles.across,
        tiles.warps,
        *([tiles.split] if kernel == "backward_key" else []),
    ]
    resident, streamed = (1, 2) if kernel == "forward" else (2, 4)  # tiles in shared memory
    return Plan(
        "attention_mma.cu" if kernel == "forward" else "attention_mma_backward.cu",
        f"attention_{kernel}_mma<{C_TYPES[dtype]}, {', '.join(map(str, numbers))}, {str(masked).lower()}>",
        tiles.rows,
        32 * tiles.warps,
        2 * (resident * tiles.rows + streamed * tiles.across) * (head + 8),
    )


def _clear(kernel: str, dtype: str, columns: int, masked: bool = False) -> Plan:
    head = next(head for head in CLEAR_HEADS if head >= columns)
    rows = 32 if head < 64 else 2048 // head
    tiles, weights = {"forward": (3, 1), "backward_query": (4, 1), "backward_key": (4, 2)}[kernel]
    numbers = rows * (tiles * (head + 1) + weights * (rows + CLEAR_THREADS // rows))
    expression = f"attention_{kernel}<{C_TYPES[dtype]}, {head}>"
    return Plan("attention.cu", expression, rows, CLEAR_THREADS, numbers * COMPUTE_BYTES[dtype])


def _fits_mma(shape: Mapping[str, Any]) -> bool:
    return bool(shape["head"] % 8 == 0 and shape["value_head"] % 8 == 0 and shape["aligned"])


VERSIONS = versions(
    *attention_wgmma.VERSIONS,
    *(
        version
        for operator in ("attention_forward", "attention_backward")
        for version in (
            Version(operator, "mma", least=80, dtypes=("float16", "bfloat16"), fits=_fits_mma),
            Version(operator, "clear"),
        )
    ),
)
MMA_PLANS = [
    _mma(kernel, dtype, head, masked)
    for kernel in KERNELS
    for head in TILES[kernel]
    for dtype in ("float16", "bfloat16")
    for masked in (False, True)
]
INSTANCES = instances(
    *attention_wgmma.INSTANCES,
    *(Instance(of.file, of.expression, least=80) for of in MMA_PLANS),
    *(
        Instance("attention.cu", _clear(kernel, dtype, head).expression, production=dtype != "float64")
        for kernel in KERNELS
        for head in CLEAR_HEADS
        for dtype in ALL
    ),
    *(
        Instance("attention.cu", f"attention_delta<{C_TYPES[dtype]}>", production=dtype != "float64")
        for dtype in ALL
    ),
)
