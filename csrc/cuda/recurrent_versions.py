"""The versions of the recurrent kernels, and how the persistent ones cut a layer over blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ringleader.csrc.cuda.device import c_type, ceil_div
from ringleader.csrc.cuda.versions import ALL, Instance, Version, instances, versions


@dataclass(frozen=True)
class Cell:
    name: str  # in CUDA C++
    gates: int


CELLS = {
    "rnn_tanh": Cell("TanhCell", 1),
    "rnn_relu": Cell("ReluCell", 1),
    "lstm": Cell("LstmCell", 4),
    "gru": Cell("GruCell", 3),
}
TILE = 16  # of the clear kernels: sequences and units of a block
WARPS, GROUP, PAD, K_MULTIPLE = 8, 16, 4, 32  # of recurrent_products.cuh, by the same names
# (direction, version) -> how a persistent version multiplies, and how many rows of weights a block may keep
PRODUCTS = {
    ("forward", "persistent_mma"): ("TensorCores", (16, 32, 64)),
    ("backward", "persistent_mma"): ("TensorCores", (16,)),
    ("forward", "persistent_fma"): ("FusedMultiplyAdd", (16, 32)),
    ("backward", "persistent_fma"): ("FusedMultiplyAdd", (8, 16)),
}
# compute capability -> KiB of shared memory that a block may have (CUDA C++ Programming Guide, "Technical Specifications per
# Compute Capability"); those not listed have at least 99
SHARED = {75: 64, 80: 163, 87: 163, 90: 227, 100: 227, 103: 227}


@dataclass(frozen=True)
class Plan:
    """How a persistent version cuts a layer: units of a block, blocks, bytes of shared memory of each."""

    rows: int
    units: int
    blocks: int
    shared: int


def plan(direction: str, version: str, shape: Mapping[str, Any]) -> Plan | None:
    """Of the fewest rows with which all blocks are on the GPU at once, their weights in shared memory; None: too large.

    shape: cell, sequences, hidden, itemsize, multiprocessors, shared (bytes that a block may have).
    """
    gates, itemsize = CELLS[shape["cell"]].gates, shape["itemsize"]
    compute, padded = max(itemsize, 4), ceil_div(shape["hidden"], K_MULTIPLE) * K_MULTIPLE
    forwards = direction == "forward"
    for rows in PRODUCTS[direction, version][1]:
        units = rows // gates if forwards else rows
        depth, ahead = (padded, gates + 2) if forwards else (padded * gates, gates + 6)
        blocks = ceil_div(shape["hidden"], units)
        shared = rows * depth * itemsize + compute * (
            WARPS * GROUP * (rows + PAD) + shape["sequences"] * units * ahead
        )
        if blocks <= shape["multiprocessors"] and shared <= shape["shared"]:
            return Plan(rows, units, blocks, shared)
    return None


def _versions(cell: str, direction: str) -> None:
    operator = f"{cell}_{direction}"
    versions(
        Version(operator, "persistent_mma", least=80, dtypes=("float16", "bfloat16"),
                fits=lambda shape: plan(direction, "persistent_mma", shape) is not None),
        Version(operator, "persistent_fma", dtypes=("float32", "float64"),
                fits=lambda shape: plan(direction, "persistent_fma", shape) is not None),
        Version(operator, "clear"),
    )  # fmt: skip


def _instances(cell: Cell) -> None:
    for dtype in ALL:
        for kernel in ("recurrent_step", "recurrent_step_backward"):
            of = f"{kernel}<{cell.name}, {c_type(dtype)}>"
            instances(Instance("recurrent.cu", of, production=dtype != "float64"))
    for (direction, version), (_, choices) in PRODUCTS.items():
        mma = version == "persistent_mma"
        for dtype in ("float16", "bfloat16") if mma else ("float32", "float64"):
            for rows in choices:
                of = expression(direction, version, cell, dtype, rows)
                instances(
                    Instance("recurrent_persistent.cu", of, 80 if mma else 75, production=dtype != "float64")
                )


def expression(direction: str, version: str, cell: Cell, dtype: Any, rows: int) -> str:
    """The persistent kernel's name."""
    return f"persistent_{direction}<{cell.name}, {PRODUCTS[direction, version][0]}<{c_type(dtype)}, {rows}>>"


for _cell in CELLS:
    _versions(_cell, "forward")
    _versions(_cell, "backward")
    _instances(CELLS[_cell])
