"""Dropout, with the mask drawn in the kernel or given (dropout.cu). The gradient of x is the same function of that of y.

The versions, best first: ``packs``, arrays that begin at multiples of 16 bytes; ``clear``, all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ringleader.csrc.cuda.device import C_TYPES, Array, Device, c_type
from ringleader.csrc.cuda.elements import BLOCK, clear_grid, elements_shape, fits_aligned, packs_grid
from ringleader.csrc.cuda.rows import check_array, compute_dtype
from ringleader.csrc.cuda.versions import ALL, Draw, Instance, Version, choose, example, instances, versions

FILE = "dropout.cu"

VERSIONS = versions(
    *(
        version
        for operator in ("dropout", "masked_dropout")
        for version in (Version(operator, "packs", fits=fits_aligned), Version(operator, "clear"))
    )
)
INSTANCES = instances(
    *(
        Instance(FILE, f"{kernel}{suffix}<{C_TYPES[dtype]}>", production=dtype != "float64")
        for kernel in ("dropout", "masked_dropout")
        for suffix in ("", "_packs")
        for dtype in ALL
    )
)


def dropout(
    device: Device,
    x: Array,
    p: float,
    seed: int,
    offset: int = 0,
    scale: float | None = None,
    version: str | None = None,
) -> Array:
    """x with each element 0 with probability p, the others times ``scale``, 1 / (1 - p) if not given (0 for p = 1).

    Which ones: by seed, offset and the element's number alone, so a call with the gradient instead of x is the backward
    pass. Calls that shall differ have different offsets, such as numbers of steps and layers; both are 0 to 2^63 - 1.

    TypeError, ValueError: p is not in 0..1, seed or offset out of range, x not C-contiguous, or of a dtype that kernels do
    not take.
    """
    check_array("dropout", "x", x)
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be in 0..1, it is {p}")
    for name, number in (("seed", seed), ("offset", offset)):
        if not 0 <= number < 1 << 63:
            raise ValueError(f"dropout: {name} must be in 0..2^63 - 1, it is {number}")
    if scale is None:
        scale = 1 / (1 - p) if p < 1 else 0.0
    y = device.xp.empty(x.shape, x.dtype)
    drawn = [np.int64(round(p * 2**32)), np.int64(seed), np.int64(offset)]
    _launch(
        device,
        "dropout",
        [x, y],
        [compute_dtype(x.dtype).type(scale), *drawn],
        max(4, 16 // x.dtype.itemsize),
        version,
    )
    return y


def masked_dropout(device: Device, x: Array, keep: Array, scale: float, version: str | None = None) -> Array:
    """x times ``scale`` where ``keep``, a boolean array of x's shape, else times 0: what the numpy op does.

    TypeError, ValueError: keep is not such an array, an array is not C-contiguous, or x of a dtype that kernels do not take.
    """
    check_array("masked_dropout", "x", x)
    if keep.dtype != np.bool_:
        raise TypeError(f"masked_dropout: keep must be boolean, not {keep.dtype.name}")
    if keep.shape != x.shape:
        raise ValueError(f"masked_dropout: keep has shape {keep.shape}, x {x.shape}")
    if not keep.flags.c_contiguous:
        raise ValueError(f"masked_dropout: keep must be C-contiguous; its strides are {keep.strides}")
    y = device.xp.empty(x.shape, x.dtype)
    _launch(device, "masked_dropout", [x, keep, y], [compute_dtype(x.dtype).type(scale)], 16, version)
    return y


def _launch(
    device: Device,
    operator: str,
    arrays: list[Array],
    options: list[Any],
    neighbours: int,
    version: str | None,
) -> None:
    x = arrays[0]
    chosen = choose(
        operator, device.architecture, x.dtype, version=version, **elements_shape(x.size, *arrays)
    ).name
    if x.size == 0:
        return
    suffix, grid = (
        ("_packs", packs_grid(device, x.size, neighbours)) if chosen == "packs" else ("", clear_grid(x.size))
    )
    device.launch(
        FILE, f"{operator}{suffix}<{c_type(x.dtype)}>", grid, BLOCK, [*arrays, np.int64(x.size), *options]
    )


@example("dropout", shape="COUNT", default=(1001,))
def dropout_example(device: Device, draw: Draw, version: str | None, count: int) -> Array:
    return dropout(device, draw(count), 0.3, seed=1, version=version)


@example("masked_dropout", shape="COUNT", default=(1001,))
def masked_example(device: Device, draw: Draw, version: str | None, count: int) -> Array:
    return masked_dropout(device, draw(count), draw(count) > 0, 2.0, version=version)
