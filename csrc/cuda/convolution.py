"""Launches convolution.cu, convolution_tiled.cu, convolution_mma.cu and convolution_wgmma.cu.

Between an image x (N, C, H, W) and a grid y (N, O, P, Q) of the windows on it stands a filter (O, C / groups, R, S).
With layout="NHWC" they are (N, H, W, C), (N, P, Q, O) and (O, R, S, C / groups). One axis (C, L) is H = 1.

Arrays may have any strides. Versions on tensor cores copy those that do not lie channels last, and leave their results
channels last in memory, whatever the layout: what follows, element by element or convolution, then needs no copy.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from ringleader.csrc.cuda.convolution_geometry import Geometry
from ringleader.csrc.cuda.convolution_versions import (
    DIRECT_RESULTS,
    PASSES,
    THREADS,
    TILE_M,
    TILE_N,
    choose_version,
    direct_shared,
    on_tensor_cores,
    tiles_of,
    weight_splits,
    weight_tile,
)
from ringleader.csrc.cuda.device import Array, Device, c_type, ceil_div
from ringleader.csrc.cuda.versions import Draw, example
from ringleader.csrc.cuda.windows import (
    LIMIT,
    Padding,
    Pair,
    Sides,
    channels_last,
    check,
    empty,
    grid_size,
    image,
    pair,
    restore,
    sides,
)

ACTIVATIONS = {"none": 0, "relu": 1}  # Activation of convolution.cuh


def forward(
    device: Device, x: Array, weight: Array, bias: Array | None = None, *, stride: Pair = 1, padding: Padding = 0,
    dilation: Pair = 1, groups: int = 1, activation: str = "none", layout: str = "NCHW", version: str | None = None,
    allow_tf32: bool = False,
) -> Array:  # fmt: skip
    """y = activation(bias + convolution of x with weight).

    x (N, C, H, W), weight (O, C / groups, R, S), bias (O,) -> (N, O, P, Q); all of one dtype. padding may differ before
    and after: ((above, below), (left, right)). activation: "none" or "relu". ``allow_tf32`` lets float32 be rounded to 10
    bits of mantissa before it is multiplied, on tensor cores.
    TypeError, ValueError: an argument does not fit, named in the message.
    """
    operator = "convolution_forward"
    x = image(device, operator, "x", x, layout)
    weight = image(device, operator, "weight", weight, layout, x.dtype)
    options = _options(operator, stride, padding, dilation)
    geometry = Geometry(x.shape, weight.shape, *options, groups)
    geometry.check(operator)
    return _product(
        device, operator, geometry, x, weight, bias, geometry.grid, activation, layout, version, allow_tf32
    )


def backward_data(
    device: Device, dy: Array, weight: Array, bias: Array | None = None, *, size: Pair, stride: Pair = 1,
    padding: Padding = 0, dilation: Pair = 1, groups: int = 1, activation: str = "none", layout: str = "NCHW",
    version: str | None = None, allow_tf32: bool = False,
) -> Array:  # fmt: skip
    """The gradient of the image, of height and width ``size``; or, with bias (C,), a transposed convolution.

    dy (N, O, P, Q), weight (O, C / groups, R, S) -> (N, C, H, W). Everything else as in ``forward``.
    """
    operator = "convolution_backward_data"
    dy = image(device, operator, "dy", dy, layout)
    weight = image(device, operator, "weight", weight, layout, dy.dtype)
    options = _options(operator, stride, padding, dilation)
    shape = (dy.shape[0], weight.shape[1] * groups, *pair(operator, "size", size))
    geometry = Geometry(shape, weight.shape, *options, groups)
    geometry.check(operator)
    geometry.check_grid(operator, dy)
    return _product(
        device, operator, geometry, dy, weight, bias, shape, activation, layout, version, allow_tf32
    )


def backward_weight(
    device: Device, x: Array, dy: Array, *, kernel: Pair, stride: Pair = 1, padding: Padding = 0, dilation: Pair = 1,
    groups: int = 1, layout: str = "NCHW", version: str | None = None, allow_tf32: bool = False,
) -> Array:  # fmt: skip
    """The gradient of the weight, with a kernel of height and width ``kernel``.

    x (N, C, H, W), dy (N, O, P, Q) -> (O, C / groups, R, S). Everything else as in ``forward``. The same bits in every
    run on the same device; how the sum over the pixels is cut depends on its number of multiprocessors.
    """
    operator = "convolution_backward_weight"
    x = image(device, operator, "x", x, layout)
    dy = image(device, operator, "dy", dy, layout, x.dtype)
    options = _options(operator, stride, padding, dilation)
    if groups < 1 or x.shape[1] % groups:
        raise ValueError(f"{operator}: {groups} groups do not divide {x.shape[1]} channels of x")
    filters = (dy.shape[1], x.shape[1] // groups, *pair(operator, "kernel", kernel))
    geometry = Geometry(x.shape, filters, *options, groups)
    geometry.check(operator)
    geometry.check_grid(operator, dy)
    rows, columns = filters[0] // groups, prod(filters[1:])
    taps = prod(geometry.grid[:1]) * prod(geometry.grid[2:])
    shape = {
        "channels": filters[1],
        "features": rows,
        "rows": rows,
        "columns": columns,
        "taps": taps,
        "parts": groups,
    }
    chosen = choose_version(device, operator, x.dtype, shape, version, allow_tf32)
    mma = on_tensor_cores(chosen)
    dw = empty(device, filters, x.dtype, "NHWC" if mma else layout)
    if dw.size == 0:
        return restore(dw, layout)
    t = c_type(x.dtype)
    if chosen == "clear":
        arguments = (x, dy, dw, *geometry.arguments(x, dw, dy))
        device.launch(
            "convolution.cu", f"convolution_backward_weight_clear<{t}>", dw.size, THREADS, arguments
        )
        return restore(dw, layout)

    if mma:
        x, dy = channels_last(device, x), channels_last(device, dy)
    tile_m, tile_n, step = weight_tile(chosen, x.itemsize)
    tiles = (ceil_div(rows, tile_m), ceil_div(columns, tile_n))
    splits, share = weight_splits(device, prod(tiles) * groups, taps, step)
    compute = np.dtype(np.float64 if x.dtype == np.float64 else np.float32)
    partial = device.xp.empty((splits, filters[0], columns), compute)
    rest = geometry.arguments(x, dw, dy)
    if splits:
        _launch_weight(device, chosen, t, (*tiles, groups * splits), (x, dy, partial, np.int32(share), *rest))
    arguments = (partial if splits else None, dw, np.int32(splits), *rest)
    device.launch(
        "convolution_tiled.cu", f"convolution_sum_splits<{t}>", ceil_div(dw.size, THREADS), THREADS, arguments
    )
    return restore(dw, layout)


def backward_bias(device: Device, dy: Array, *, layout: str = "NCHW") -> Array:
    """dy (N, O, P, Q) -> (O,), its sum over all pixels."""
    dy = image(device, "convolution_backward_bias", "dy", dy, layout)
    n, o, p, q = dy.shape
    if n * p * q >= LIMIT:
        raise ValueError(
            f"convolution_backward_bias: dy has {n * p * q} pixels; kernels take less than {LIMIT}"
        )
    db = device.xp.empty((o,), dy.dtype)
    if o:
        geometry = Geometry((n, o, p, q), (o, 1, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), max(o, 1))
        arguments = (dy, db, *geometry.arguments(dy, dy, dy))
        device.launch(
            "convolution.cu", f"convolution_backward_bias<{c_type(dy.dtype)}>", o, THREADS, arguments
        )
    return db


# ---- What they are made of ----------------------------------------------------------------------------------------------


def _options(
    operator: str, stride: Pair, padding: Padding, dilation: Pair
) -> tuple[tuple[int, int], Sides, tuple[int, int]]:
    return pair(operator, "stride", stride), sides(operator, padding), pair(operator, "dilation", dilation)


def _product(
    device: Device, operator: str, geometry: Geometry, source: Array, weight: Array, bias: Array | None,
    shape: tuple[int, int, int, int], activation: str, layout: str, version: str | None, allow_tf32: bool,
) -> Array:  # fmt: skip
    """Forward or backward-data: a result (N, C, H, W) or (N, O, P, Q) of ``shape`` from the other one."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"{operator}: activation must be {' or '.join(ACTIVATIONS)}, not {activation!r}")
    if bias is not None:
        check(device, operator, "bias", bias, source.dtype)
        if bias.shape != (shape[1],):
            raise ValueError(f"{operator}: bias must be ({shape[1]},), not {bias.shape}")
        bias = device.xp.ascontiguousarray(bias)
    forwards, groups = operator == "convolution_forward", geometry.groups
    phases = (1, 1) if forwards else geometry.stride
    rows = shape[0] * ceil_div(shape[2], phases[0]) * ceil_div(shape[3], phases[1])  # of the largest phase
    columns, parts = shape[1] // groups, groups * prod(phases)
    taps = source.shape[1] // groups * prod(geometry.filter[2:])
    sizes = {"channels": geometry.filter[1], "features": geometry.filter[0] // groups, "rows": rows,
             "columns": columns, "taps": taps, "parts": parts}  # fmt: skip
    chosen = choose_version(device, operator, source.dtype, sizes, version, allow_tf32)
    mma = on_tensor_cores(chosen)
    if mma:
        source, weight = channels_last(device, source), channels_last(device, weight)
    result = empty(device, shape, source.dtype, "NHWC" if mma else layout)
    if result.size:
        x, y = (source, result) if forwards else (result, source)
        rest = (
            source,
            weight,
            bias,
            result,
            np.int32(ACTIVATIONS[activation]),
            *geometry.arguments(x, weight, y),
        )
        _launch_product(
            device,
            operator,
            chosen,
            c_type(source.dtype),
            (rows, columns, parts),
            taps,
            source.itemsize,
            rest,
        )
    return restore(result, layout)


def _launch_product(
    device: Device, operator: str, chosen: str, t: str, extent: tuple[int, int, int], taps: int, itemsize: int,
    arguments: tuple[Any, ...],
) -> None:  # fmt: skip
    """extent: rows and columns of the result, and parts of it."""
    rows, columns, parts = extent
    of = PASSES[operator]
    if chosen == "clear":
        n, _, h, w = arguments[3].shape
        grid: tuple[int, ...] = (ceil_div(n * h * w, THREADS), arguments[3].shape[1])
        device.launch("convolution.cu", f"{operator}_clear<{t}>", grid, THREADS, arguments)
    elif chosen == "direct":
        grid = (ceil_div(rows, THREADS), ceil_div(columns, DIRECT_RESULTS), parts)
        shared = direct_shared(taps, itemsize)
        device.launch(
            "convolution.cu", f"convolution_direct<{t}, {of}>", grid, THREADS, arguments, shared=shared
        )
    elif chosen == "tiled":
        grid = (ceil_div(rows, TILE_M), ceil_div(columns, TILE_N), parts)
        device.launch("convolution_tiled.cu", f"convolution_tiled<{t}, {of}>", grid, THREADS, arguments)
    else:
        tiles = tiles_of(chosen)
        grid = (ceil_div(rows, tiles.size), ceil_div(columns, tiles.size), parts)
        expression = f"{tiles.kernel}<{t}, {of}{tiles.last}>"
        device.launch(tiles.file, expression, grid, tiles.threads, arguments, shared=tiles.shared)


def _launch_weight(
    device: Device, chosen: str, t: str, grid: tuple[int, int, int], arguments: tuple[Any, ...]
) -> None:
    if chosen == "tiled":
        device.launch("convolution_tiled.cu", f"convolution_tiled_weight<{t}>", grid, THREADS, arguments)
        return
    tiles = tiles_of(chosen)
    expression = f"{tiles.kernel}_weight<{t}{tiles.last}>"
    device.launch(tiles.file, expression, grid, tiles.threads, arguments, shared=tiles.shared)


# ---- Examples: random images, padded by half of the kernel ---------------------------------------------------------------


@example("convolution_forward", shape="N,C,H,W,O,R,S", default=(2, 16, 9, 7, 24, 3, 3))
def forward_example(device: Device, draw: Draw, version: str | None, *shape: int) -> Array:
    n, c, h, w, o, r, s = shape
    options = _example_options(r, s, version)
    return forward(device, draw(n, c, h, w), draw(o, c, r, s, scale=(c * r * s) ** -0.5), draw(o), **options)


@example("convolution_backward_data", shape="N,C,H,W,O,R,S", default=(2, 16, 9, 7, 24, 3, 3))
def backward_data_example(device: Device, draw: Draw, version: str | None, *shape: int) -> Array:
    n, c, h, w, o, r, s = shape
    options = _example_options(r, s, version)
    dy = draw(n, o, *grid_size((h, w), (r, s), (1, 1), (1, 1), sides("", options["padding"])))
    return backward_data(device, dy, draw(o, c, r, s, scale=(o * r * s) ** -0.5), size=(h, w), **options)


@example("convolution_backward_weight", shape="N,C,H,W,O,R,S", default=(2, 16, 9, 7, 24, 3, 3))
def backward_weight_example(device: Device, draw: Draw, version: str | None, *shape: int) -> Array:
    n, c, h, w, o, r, s = shape
    options = _example_options(r, s, version)
    dy = draw(n, o, *grid_size((h, w), (r, s), (1, 1), (1, 1), sides("", options["padding"])))
    return backward_weight(device, draw(n, c, h, w), dy, kernel=(r, s), **options)


def _example_options(r: int, s: int, version: str | None) -> dict[str, Any]:
    return {"padding": (r // 2, s // 2), "version": version, "allow_tf32": (version or "").startswith("tf32")}
