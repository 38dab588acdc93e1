"""Between floating-point types, with a scale and a check for inf and NaN (cast.cu).

The versions, best first: ``packs``, arrays that begin at multiples of 16 bytes; ``clear``, all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ringleader.csrc.cuda.device import C_TYPES, Array, Device, c_type
from ringleader.csrc.cuda.elements import BLOCK, clear_grid, elements_shape, fits_aligned, packs_grid
from ringleader.csrc.cuda.rows import check_array, compute_dtype
from ringleader.csrc.cuda.versions import ALL, Draw, Instance, Version, choose, example, instances, versions

FILE = "cast.cu"

# From and to: float64 meets float32 only, because a float64 would be rounded twice on its way to 16 bits.
PAIRS = [(a, b) for a in ALL for b in ALL if "float64" not in (a, b) or {a, b} <= {"float32", "float64"}]

VERSIONS = versions(Version("cast", "packs", fits=fits_aligned), Version("cast", "clear"))
INSTANCES = instances(
    *(
        Instance(FILE, f"cast{suffix}<{C_TYPES[a]}, {C_TYPES[b]}>", production="float64" not in (a, b))
        for suffix in ("", "_packs")
        for a, b in PAIRS
    )
)


def cast(
    device: Device, x: Array, dtype: Any, scale: float = 1.0, not_finite: Array | None = None, out: Array | None = None,
    version: str | None = None,
) -> Array:  # fmt: skip
    """x times ``scale`` as ``dtype``, rounded once to float32 (float64 for float64) and once to ``dtype``.

    not_finite: int32 array of one element, set to 1 if an element of the result is inf or NaN, else left alone.
    out: where the result goes, of x's shape and of ``dtype``; may be x itself.

    TypeError: a dtype that kernels do not take, or float64 and 16 bits, between which is float32. ValueError: an array is
    not C-contiguous, or not of the shape said here.
    """
    check_array("cast", "x", x)
    to = np.dtype(dtype)
    if (x.dtype.name, to.name) not in PAIRS:
        raise TypeError(
            f"cast: no kernel from {x.dtype.name} to {to.name}; known: {', '.join(ALL)}, float64 by float32"
        )
    if not_finite is not None and (not_finite.dtype != np.int32 or not_finite.size != 1):
        raise ValueError(
            f"cast: not_finite must be one int32, it is {not_finite.dtype.name} {not_finite.shape}"
        )
    if out is None:
        out = device.xp.empty(x.shape, to)
    else:
        check_array("cast", "out", out)
        if out.dtype != to or out.shape != x.shape:
            raise ValueError(f"cast: out must be {to.name} {x.shape}, it is {out.dtype.name} {out.shape}")
    chosen = choose(
        "cast", device.architecture, x.dtype, version=version, **elements_shape(x.size, x, out)
    ).name
    if x.size == 0:
        return out
    if chosen == "packs":
        suffix, grid = "_packs", packs_grid(device, x.size, 16 // min(x.dtype.itemsize, to.itemsize))
    else:
        suffix, grid = "", clear_grid(x.size)
    args = [x, out, not_finite, np.int64(x.size), compute_dtype(x.dtype).type(scale)]
    device.launch(FILE, f"cast{suffix}<{c_type(x.dtype)}, {c_type(to)}>", grid, BLOCK, args)
    return out


@example("cast", shape="COUNT", default=(1001,))
def cast_example(device: Device, draw: Draw, version: str | None, count: int) -> Array:
    return cast(device, draw(count), np.float32, 0.5, version=version)
