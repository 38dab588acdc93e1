"""Launches convolution.cu, convolution_tiled.cu and convolution_mma.cu.

Between an image x (N, C, H, W) and a grid y (N, O, P, Q) of the windows on it stands a filter (O, C / groups, R, S).
With layout="NHWC" they are (N, H, W, C), (N, P, Q, O) and (O, R, S, C / groups). One axis (C, L) is H = 1.

Arrays may have any strides. Versions on tensor cores copy those that do not lie channels last, and leave their results
channels last in memory, whatever the layout: what follows, element by element or convolution, then needs no copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from ringleader.csrc.cuda.device import C_TYPES, Array, Device, c_type, ceil_div
from ringleader.csrc.cuda.versions import ALL, Instance, Version, choose, instances, versions
from ringleader.csrc.cuda.windows import (
    GRID_LIMIT,
    LIMIT,
    Padding,
    Pair,
    Sides,
    channels_last,
    check,
    empty,
    grid_size,
    image,
    integers,
    pair,
    restore,
    sides,
    strides,
)

ACTIVATIONS = {"none": 0, "relu": 1}  # Activation of convolution.cuh
THREADS, TILE_M, TILE_N, TILE_K = 256, 128, 64, 16  # of convolution.cu and convolution_tiled.cu
DIRECT_RESULTS, DIRECT_SHARED = 8, 48 * 1024  # channels a thread; bytes of shared memory at most
MMA_STAGES, MMA_STEP_BYTES = 3, 64  # of convolution_mma.cu
MMA_THREADS = {128: 256, 64: 128}  # by the size of a tile


# ---- Versions -----------------------------------------------------------------------------------------------------------
#
# shape: channels, features (of a group), rows, columns (of the result, for one group and phase), parts (groups times
# phases), taps (the sum's length), itemsize; forced: whether the caller named the version, so that preferences are silent.


def _aligned(shape: Mapping[str, Any]) -> bool:
    """Whether channels and features come in packs of 16 bytes."""
    pack = 16 // shape["itemsize"]
    least = min(shape["channels"], shape["features"])
    return least > 0 and shape["channels"] % pack == 0 and shape["features"] % pack == 0


def _mma(size: int) -> Any:
    def fits(shape: Mapping[str, Any]) -> bool:
        """The large tile if there are enough of them for every multiprocessor."""
        tiles = ceil_div(shape["rows"], size) * ceil_div(shape["columns"], size) * shape["parts"]
        enough = (
            size == 64 or shape["forced"] or (shape["columns"] > 64 and tiles >= shape["multiprocessors"])
        )
        return _aligned(shape) and shape["parts"] <= GRID_LIMIT and enough

    return fits


def _tf32(size: int) -> Any:
    return lambda shape: shape["allow_tf32"] and _mma(size)(shape)


def _direct(shape: Mapping[str, Any]) -> bool:
    few = shape["forced"] or shape["columns"] <= 2 * DIRECT_RESULTS
    return (
        few
        and _direct_shared(shape["taps"], shape["itemsize"]) <= DIRECT_SHARED
        and shape["parts"] <= GRID_LIMIT
    )


def _direct_shared(taps: int, itemsize: int) -> int:
    """Bytes: a place, and DIRECT_RESULTS numbers of the filter, for each tap."""
    return taps * (16 + DIRECT_RESULTS * max(itemsize, 4))


def _tiled_weight(shape: Mapping[str, Any]) -> bool:
    """Not where most of a tile would be idle."""
    return shape["forced"] or shape["rows"] * shape["columns"] > TILE_M * TILE_N // 8


PASSES = {"convolution_forward": "FORWARD", "convolution_backward_data": "BACKWARD_DATA"}
HALVES, SINGLE = ("float16", "bfloat16"), ("float32",)

for _operator in (*PASSES, "convolution_backward_weight"):
    versions(
        Version(_operator, "mma128", least=80, dtypes=HALVES, fits=_mma(128)),
        Version(_operator, "mma64", least=80, dtypes=HALVES, fits=_mma(64)),
        Version(_operator, "tf32_128", least=80, dtypes=SINGLE, fits=_tf32(128)),
        Version(_operator, "tf32_64", least=80, dtypes=SINGLE, fits=_tf32(64)),
    )
for _operator in PASSES:
    versions(
        Version(_operator, "direct", fits=_direct),
        Version(_operator, "tiled", fits=lambda shape: shape["parts"] <= GRID_LIMIT),
        Version(_operator, "clear"),
    )
versions(
    Version("convolution_backward_weight", "tiled", fits=_tiled_weight),
    Version("convolution_backward_weight", "clear"),
)

for _dtype in ALL:
    _t, _production = C_TYPES[_dtype], _dtype != "float64"
    for _pass in PASSES.values():
        instances(
            Instance("convolution.cu", f"convolution_direct<{_t}, {_pass}>", production=_production),
            Instance("convolution_tiled.cu", f"convolution_tiled<{_t}, {_pass}>", production=_production),
        )
    instances(
        Instance("convolution.cu", f"convolution_forward_clear<{_t}>", production=_production),
        Instance("convolution.cu", f"convolution_backward_data_clear<{_t}>", production=_production),
        Instance("convolution.cu", f"convolution_backward_weight_clear<{_t}>", production=_production),
        Instance("convolution.cu", f"convolution_backward_bias<{_t}>", production=_production),
        Instance("convolution_tiled.cu", f"convolution_tiled_weight<{_t}>", production=_production),
        Instance("convolution_tiled.cu", f"convolution_sum_splits<{_t}>", production=_production),
    )
    for _size in MMA_THREADS if _production else ():
        instances(
            Instance("convolution_mma.cu", f"convolution_mma<{_t}, FORWARD, {_size}>", least=80),
            Instance("convolution_mma.cu", f"convolution_mma<{_t}, BACKWARD_DATA, {_size}>", least=80),
            Instance("convolution_mma.cu", f"convolution_mma_weight<{_t}, {_size}>", least=80),
        )


# ---- Launchers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Geometry:
    """What all kernels are told."""

    image: tuple[int, int, int, int]  # N, C, H, W
    filter: tuple[int, int, int, int]  # O, C / groups, R, S
    stride: tuple[int, int]
    padding: Sides
    dilation: tuple[int, int]
    groups: int

    def check(self, operator: str) -> None:
        """ValueError: sizes do not fit each other."""
        if self.groups < 1:
            raise ValueError(f"{operator}: groups {self.groups} must be at least 1")
        if self.filter[0] % self.groups or self.image[1] % self.groups:
            raise ValueError(f"{operator}: {self.groups} groups do not divide {self.image[1]} channels of the image and "
                             f"{self.filter[0]} of weight")  # fmt: skip
        if self.image[1] != self.filter[1] * self.groups:
            raise ValueError(f"{operator}: the image has {self.image[1]} channels, weight expects "
                             f"{self.filter[1] * self.groups} ({self.filter[1]} in each of {self.groups} groups)")  # fmt: skip
        if min(self.filter[2:]) < 1:
            raise ValueError(f"{operator}: the kernel of weight is empty, {self.filter[2:]}")
        if min(self.grid[2:]) < 1:
            raise ValueError(f"{operator}: kernel {self.filter[2:]} with dilation {self.dilation} is larger than the "
                             f"padded image, {self.image[2:]} with padding {self.padding}")  # fmt: skip
        for name, (n, c, h, w) in (("image", self.image), ("grid", self.grid)):
            if n * h * w >= LIMIT or c > GRID_LIMIT:
                raise ValueError(f"{operator}: the {name} has {n * h * w} pixels and {c} channels; kernels take less "
                                 f"than {LIMIT} and at most {GRID_LIMIT}")  # fmt: skip

    @property
    def grid(self) -> tuple[int, int, int, int]:
        """N, O, P, Q."""
        p, q = grid_size(self.image[2:], self.filter[2:], self.stride, self.dilation, self.padding)
        return self.image[0], self.filter[0], p, q

    def arguments(self, x: Array, weight: Array, y: Array) -> tuple[Any, ...]:
        """GEOMETRY_PARAMETERS of convolution.cuh, for arrays (N, C, H, W), (O, C / groups, R, S), (N, O, P, Q)."""
        before = tuple(side[0] for side in self.padding)
        sizes = (
            *self.image,
            *self.grid[1:],
            *self.filter[2:],
            *self.stride,
            *before,
            *self.dilation,
            self.groups,
        )
        return (*integers(*sizes), *strides(x), *strides(weight), *strides(y))


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
    _check_grid(operator, geometry, dy)
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
    _check_grid(operator, geometry, dy)
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
    chosen = _choose(device, operator, x.dtype, shape, version, allow_tf32)
    mma = chosen.startswith(("mma", "tf32"))
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
    tile_m, tile_n, step = _weight_tile(chosen, x.itemsize)
    tiles = (ceil_div(rows, tile_m), ceil_div(columns, tile_n))
    splits, share = _splits(device, prod(tiles) * groups, taps, step)
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


def _check_grid(operator: str, geometry: Geometry, dy: Array) -> None:
    if dy.shape != geometry.grid:
        raise ValueError(f"{operator}: dy is (N, O, P, Q) = {dy.shape}, but an image {geometry.image} and weight "
                         f"{geometry.filter} make {geometry.grid}")  # fmt: skip


def _choose(
    device: Device,
    operator: str,
    dtype: np.dtype,
    shape: Mapping[str, int],
    version: str | None,
    allow_tf32: bool,
) -> str:
    more = {
        "itemsize": dtype.itemsize,
        "multiprocessors": device.multiprocessors,
        "allow_tf32": allow_tf32,
        "forced": version is not None,
    }
    return choose(operator, device.architecture, dtype, version, **shape, **more).name


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
    chosen = _choose(device, operator, source.dtype, sizes, version, allow_tf32)
    mma = chosen.startswith(("mma", "tf32"))
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
        shared = _direct_shared(taps, itemsize)
        device.launch(
            "convolution.cu", f"convolution_direct<{t}, {of}>", grid, THREADS, arguments, shared=shared
        )
    elif chosen == "tiled":
        grid = (ceil_div(rows, TILE_M), ceil_div(columns, TILE_N), parts)
        device.launch("convolution_tiled.cu", f"convolution_tiled<{t}, {of}>", grid, THREADS, arguments)
    else:
        size = _mma_size(chosen)
        grid, expression = (
            (ceil_div(rows, size), ceil_div(columns, size), parts),
            f"convolution_mma<{t}, {of}, {size}>",
        )
        device.launch(
            "convolution_mma.cu", expression, grid, MMA_THREADS[size], arguments, shared=_mma_shared(size)
        )


def _launch_weight(
    device: Device, chosen: str, t: str, grid: tuple[int, int, int], arguments: tuple[Any, ...]
) -> None:
    if chosen == "tiled":
        device.launch("convolution_tiled.cu", f"convolution_tiled_weight<{t}>", grid, THREADS, arguments)
        return
    size = _mma_size(chosen)
    expression, shared = f"convolution_mma_weight<{t}, {size}>", _mma_shared(size)
    device.launch("convolution_mma.cu", expression, grid, MMA_THREADS[size], arguments, shared=shared)


def _mma_size(version: str) -> int:
    return 128 if version.endswith("128") else 64


def _mma_shared(size: int) -> int:
    """Bytes: a tile of each matrix in each stage."""
    return MMA_STAGES * 2 * size * MMA_STEP_BYTES


def _weight_tile(version: str, itemsize: int) -> tuple[int, int, int]:
    """Rows and columns of the result in a tile, and pixels in a step."""
    if version == "tiled":
        return TILE_M, TILE_N, TILE_K
    return _mma_size(version), _mma_size(version), MMA_STEP_BYTES // itemsize


def _splits(device: Device, tiles: int, pixels: int, step: int) -> tuple[int, int]:
    """Into how many the sum over the pixels is cut, and how many pixels each has: two blocks a multiprocessor, at least
    8 steps each."""
    wanted = ceil_div(2 * device.multiprocessors, tiles)
    share = max(ceil_div(ceil_div(pixels, wanted), step), 8) * step
    return ceil_div(pixels, share), share
