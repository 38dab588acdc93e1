"""The versions of convolution, the kernels they launch, and the sizes of their blocks and tiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from ringleader.csrc.cuda.device import C_TYPES, Device, ceil_div
from ringleader.csrc.cuda.versions import ALL, Instance, Version, choose, instances, versions
from ringleader.csrc.cuda.windows import GRID_LIMIT

THREADS, TILE_M, TILE_N, TILE_K = 256, 128, 64, 16  # of convolution.cu and convolution_tiled.cu
DIRECT_RESULTS, DIRECT_SHARED = 8, 48 * 1024  # channels a thread; bytes of shared memory at most
MMA_STAGES, MMA_STEP_BYTES = 3, 64  # of convolution_tiles.cuh
MMA_THREADS = {128: 256, 64: 128}  # by the size of a tile
WGMMA_SIZE, WGMMA_THREADS, WGMMA_STAGES, WGMMA_STEP_BYTES = 128, 256, 4, 128  # of convolution_wgmma.cu


Shape: TypeAlias = Mapping[str, int]
Fits: TypeAlias = Callable[[Shape], bool]

# ---- Versions -----------------------------------------------------------------------------------------------------------
#
# shape: channels, features (of a group), rows, columns (of the result, for one group and phase), parts (groups times
# phases), taps (the sum's length), itemsize; forced: whether the caller named the version, so that preferences are silent.


def _aligned(shape: Shape) -> bool:
    """Whether channels and features come in packs of 16 bytes."""
    pack = 16 // shape["itemsize"]
    least = min(shape["channels"], shape["features"])
    return least > 0 and shape["channels"] % pack == 0 and shape["features"] % pack == 0


def _mma(size: int, operator: str) -> Fits:
    """The large tile if there are enough of them for every multiprocessor; the sums of a weight are cut to that end."""

    def fits(shape: Shape) -> bool:
        tiles = ceil_div(shape["rows"], size) * ceil_div(shape["columns"], size) * shape["parts"]
        enough = operator == "convolution_backward_weight" or tiles >= shape["multiprocessors"]
        filled = min(shape["rows"], shape["columns"]) > 64
        wanted = size == 64 or shape["forced"] or (filled and enough)
        return _aligned(shape) and shape["parts"] <= GRID_LIMIT and bool(wanted)

    return fits


def _tf32(size: int, operator: str) -> Fits:
    fits = _mma(size, operator)
    return lambda shape: bool(shape["allow_tf32"]) and fits(shape)


def _direct(shape: Shape) -> bool:
    few = bool(shape["forced"]) or shape["columns"] <= 2 * DIRECT_RESULTS
    small = direct_shared(shape["taps"], shape["itemsize"]) <= DIRECT_SHARED
    return few and small and shape["parts"] <= GRID_LIMIT


def direct_shared(taps: int, itemsize: int) -> int:
    """Bytes: a place, and DIRECT_RESULTS numbers of the filter, for each tap."""
    return taps * (16 + DIRECT_RESULTS * max(itemsize, 4))


def _tiled_weight(shape: Shape) -> bool:
    """Not where most of a tile would be idle."""
    return bool(shape["forced"]) or shape["rows"] * shape["columns"] > TILE_M * TILE_N // 8


PASSES = {"convolution_forward": "FORWARD", "convolution_backward_data": "BACKWARD_DATA"}
HALVES, SINGLE = ("float16", "bfloat16"), ("float32",)

for _operator in (*PASSES, "convolution_backward_weight"):
    versions(
        Version(_operator, "wgmma", least=90, only="90a", dtypes=HALVES, fits=_mma(WGMMA_SIZE, _operator)),
        Version(_operator, "mma128", least=80, dtypes=HALVES, fits=_mma(128, _operator)),
        Version(_operator, "mma64", least=80, dtypes=HALVES, fits=_mma(64, _operator)),
        Version(_operator, "tf32_128", least=80, dtypes=SINGLE, fits=_tf32(128, _operator)),
        Version(_operator, "tf32_64", least=80, dtypes=SINGLE, fits=_tf32(64, _operator)),
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
    if _dtype in HALVES:
        instances(
            *(
                Instance("convolution_wgmma.cu", expression, least=90, only="90a")
                for expression in (
                    f"convolution_wgmma<{_t}, FORWARD>",
                    f"convolution_wgmma<{_t}, BACKWARD_DATA>",
                    f"convolution_wgmma_weight<{_t}>",
                )
            )
        )
    for _size in MMA_THREADS if _production else ():
        instances(
            Instance("convolution_mma.cu", f"convolution_mma<{_t}, FORWARD, {_size}>", least=80),
            Instance("convolution_mma.cu", f"convolution_mma<{_t}, BACKWARD_DATA, {_size}>", least=80),
            Instance("convolution_mma.cu", f"convolution_mma_weight<{_t}, {_size}>", least=80),
        )


def choose_version(
    device: Device,
    operator: str,
    dtype: np.dtype,
    shape: Shape,
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


def on_tensor_cores(version: str) -> bool:
    return version.startswith(("wgmma", "mma", "tf32"))


@dataclass(frozen=True)
class Tiles:
    """How a version on tensor cores is launched: file, kernel and its last template argument, if it has one; size of a
    tile of the result; threads and bytes of shared memory: a tile of each matrix in each stage; bytes of a step's rows."""

    file: str
    kernel: str
    last: str
    size: int
    threads: int
    shared: int
    step_bytes: int


def tiles_of(version: str) -> Tiles:
    """Of one on tensor cores."""
    if version == "wgmma":
        shared = WGMMA_STAGES * 2 * WGMMA_SIZE * WGMMA_STEP_BYTES
        return Tiles(
            "convolution_wgmma.cu",
            "convolution_wgmma",
            "",
            WGMMA_SIZE,
            WGMMA_THREADS,
            shared,
            WGMMA_STEP_BYTES,
        )
    size = 128 if version.endswith("128") else 64
    shared = MMA_STAGES * 2 * size * MMA_STEP_BYTES
    return Tiles(
        "convolution_mma.cu", "convolution_mma", f", {size}", size, MMA_THREADS[size], shared, MMA_STEP_BYTES
    )


def weight_tile(version: str, itemsize: int) -> tuple[int, int, int]:
    """Rows and columns of the result in a tile, and pixels in a step."""
    if version == "tiled":
        return TILE_M, TILE_N, TILE_K
    tiles = tiles_of(version)
    return tiles.size, tiles.size, tiles.step_bytes // itemsize


def weight_splits(device: Device, tiles: int, pixels: int, step: int) -> tuple[int, int]:
    """Into how many the sum over the pixels is cut, and how many pixels each has: two blocks a multiprocessor, at least
    8 steps each."""
    wanted = ceil_div(2 * device.multiprocessors, tiles)
    share = max(ceil_div(ceil_div(pixels, wanted), step), 8) * step
    return ceil_div(pixels, share), share
