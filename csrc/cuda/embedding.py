"""Rows of a table by number, and the gradient of the table (embedding.cu).

The versions, best first: ``packs``, rows that begin at multiples of 16 bytes; ``clear``, all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ringleader.csrc.cuda.device import C_TYPES, Array, Device, c_type, ceil_div
from ringleader.csrc.cuda.elements import BLOCK, packs_grid
from ringleader.csrc.cuda.rows import CLEAR_BLOCK, aligned, check_array
from ringleader.csrc.cuda.versions import ALL, Draw, Instance, Version, choose, example, instances, versions

FILE = "embedding.cu"
SUM_WARPS = 8  # as in embedding.cu


def _fits(shape: Any) -> bool:
    return bool(shape["aligned"] and shape["row_bytes"] % 16 == 0)


VERSIONS = versions(
    *(
        version
        for operator in ("embedding_forward", "embedding_backward")
        for version in (Version(operator, "packs", fits=_fits), Version(operator, "clear"))
    )
)
INSTANCES = instances(
    *(
        Instance(FILE, f"{kernel}{suffix}<{C_TYPES[dtype]}>", production=dtype != "float64")
        for kernel in ("embedding_forward", "embedding_backward")
        for suffix in ("", "_packs")
        for dtype in ALL
    )
)


def embedding(device: Device, table: Array, indices: Array, version: str | None = None) -> Array:
    """table[indices] (..., columns) for a table (rows, columns) and int64 ``indices`` (...). NaN where there is no such row.

    TypeError, ValueError: indices are not int64, table is not (rows, columns) or of a dtype that kernels do not take, or an
    array is not C-contiguous.
    """
    check_array("embedding", "table", table)
    if table.ndim != 2:
        raise ValueError(f"embedding: table must be (rows, columns); its shape is {table.shape}")
    _check_indices("embedding", indices)
    rows, columns = table.shape
    y = device.xp.empty((*indices.shape, columns), table.dtype)
    chosen = _choose(device, "embedding_forward", indices.size, rows, columns, version, table, y)
    if y.size == 0:
        return y
    dtype = c_type(table.dtype)
    if chosen == "packs":
        grid = packs_grid(device, y.size, 16 // table.dtype.itemsize)
        args = [table, indices, y, np.int64(indices.size), np.int64(rows), np.int32(columns)]
        device.launch(FILE, f"embedding_forward_packs<{dtype}>", grid, BLOCK, args)
    else:
        args = [table, indices, y, np.int64(rows), np.int32(columns)]
        device.launch(FILE, f"embedding_forward<{dtype}>", indices.size, CLEAR_BLOCK, args)
    return y


def embedding_backward(
    device: Device,
    g: Array,
    indices: Array,
    rows: int,
    padding_idx: int | None = None,
    version: str | None = None,
) -> Array:
    """The gradient (rows, columns) of the table, from that of the result, g (..., columns), and ``indices`` (...).

    Sums are of float32 for 16 bits and in an order that depends on the indices only. The row ``padding_idx``, which may
    count from the end, gets no gradient; indices that are no rows have none to give.

    TypeError, ValueError: as for ``embedding``, g does not fit the indices, or there is no row ``padding_idx``.
    """
    name, xp = "embedding_backward", device.xp
    check_array(name, "g", g)
    _check_indices(name, indices)
    if g.ndim == 0 or g.shape[:-1] != indices.shape:
        raise ValueError(
            f"{name}: g must be (*indices.shape, columns); it is {g.shape}, indices {indices.shape}"
        )
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise ValueError(f"{name}: padding_idx {padding_idx} is not one of the {rows} rows")
    padding = -1 if padding_idx is None else padding_idx % rows
    columns = g.shape[-1]
    dtable = xp.empty((rows, columns), g.dtype)
    chosen = _choose(device, name, indices.size, rows, columns, version, g, dtable)
    if dtable.size == 0:
        return dtable
    flat = indices.reshape(-1)
    order = xp.argsort(flat, kind="stable")
    starts = xp.searchsorted(flat[order], xp.arange(rows + 1))
    dtype, args = c_type(g.dtype), [g, order, starts, dtable, np.int32(columns), np.int64(padding)]
    if chosen == "packs":
        grid = rows, ceil_div(columns * g.dtype.itemsize, 16 * 32)
        device.launch(FILE, f"embedding_backward_packs<{dtype}>", grid, 32 * SUM_WARPS, args)
    else:
        device.launch(FILE, f"embedding_backward<{dtype}>", rows, CLEAR_BLOCK, args)
    return dtable


def _check_indices(name: str, indices: Array) -> None:
    if indices.dtype != np.int64:
        raise TypeError(f"{name}: indices must be int64, not {indices.dtype.name}")
    if not indices.flags.c_contiguous:
        raise ValueError(f"{name}: indices must be C-contiguous; their strides are {indices.strides}")


def _choose(
    device: Device, operator: str, count: int, rows: int, columns: int, version: str | None, *arrays: Array
) -> str:
    row_bytes = columns * arrays[0].dtype.itemsize
    shape = {
        "count": count,
        "rows": rows,
        "columns": columns,
        "row_bytes": row_bytes,
        "aligned": aligned(*arrays),
    }
    return choose(operator, device.architecture, arrays[0].dtype, version=version, **shape).name


@example("embedding_forward", shape="COUNT,ROWS,COLUMNS", default=(50, 20, 24))
def forward_example(
    device: Device, draw: Draw, version: str | None, count: int, rows: int, columns: int
) -> Array:
    return embedding(device, draw(rows, columns), draw.integers(0, rows, count, dtype=np.int64), version)


@example("embedding_backward", shape="COUNT,ROWS,COLUMNS", default=(50, 20, 24))
def backward_example(
    device: Device, draw: Draw, version: str | None, count: int, rows: int, columns: int
) -> Array:
    g, indices = draw(count, columns), draw.integers(0, rows, count, dtype=np.int64)
    return embedding_backward(device, g, indices, rows, version=version)
