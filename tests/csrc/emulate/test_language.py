"""Kernels in the emulator compute what CUDA says they compute, in any order of threads."""

import math

import numpy as np
import pytest

ml_dtypes = pytest.importorskip("ml_dtypes", reason="numpy's bfloat16: pip install ml_dtypes")
modes = pytest.mark.parametrize("mode", ["fast", "scrambled"])
TYPES = {"float": np.float32, "double": np.float64, "__half": np.float16, "__nv_bfloat16": ml_dtypes.bfloat16}
types = pytest.mark.parametrize("c_type", TYPES)


@modes
def test_coordinates(kernels, mode):
    grid, block = (2, 3, 4), (5, 2, 3)
    out = np.full(24 * 30, -1, np.int32)
    kernels("language.cu").get("coordinates")(grid, block, [out], mode=mode)
    wanted = [
        ((bz * 10 + by) * 10 + bx) * 1000 + (tz * 10 + ty) * 10 + tx
        for bz in range(4) for by in range(3) for bx in range(2)
        for tz in range(3) for ty in range(2) for tx in range(5)
    ]  # fmt: skip
    assert out.tolist() == wanted


@modes
@types
def test_shared_memory(kernels, mode, c_type):
    x = np.arange(3 * 96).astype(TYPES[c_type])
    y = np.zeros_like(x)
    kernel = kernels("language.cu").get(f"reverse<{c_type}, 96>")
    kernel(3, 96, [x, y], shared=96 * x.itemsize, mode=mode, seed=4)
    assert (y.reshape(3, 96) == x.reshape(3, 96)[:, ::-1]).all()


@modes
@types
@pytest.mark.parametrize("columns", [1, 63, 200])
def test_reductions_of_a_block(kernels, mode, c_type, columns):
    x = np.random.default_rng(columns).integers(-4, 5, (3, columns)).astype(TYPES[c_type])  # sums are exact
    sums, largest = np.zeros(3, x.dtype), np.zeros(3, x.dtype)
    kernel = kernels("language.cu").get(f"row_sums<{c_type}>")
    kernel(3, 64, [x, sums, largest, np.int32(columns)], mode=mode, seed=columns)
    assert (sums == x.astype(np.float64).sum(1)).all()
    assert (largest == x.max(1)).all()


@modes
def test_what_lanes_of_a_warp_do_together(kernels, mode):
    out = np.zeros((9, 32), np.int32)
    kernels("language.cu").get("warp_functions")(1, 32, [out], mode=mode, seed=2)
    lane = np.arange(32)
    assert (out[0] == 25).all()
    assert (out[1] == lane ^ 3).all()
    assert (out[2] == np.where(lane % 16 + 4 < 16, lane + 4, lane)).all()
    assert (out[3] == np.where(lane % 16 >= 4, lane - 4, lane)).all()
    assert (out[4].view(np.uint32) == sum(1 << i for i in range(0, 32, 3))).all()
    assert (out[5] == 10).all()
    assert (out[6] == np.where(lane < 16, lane ^ 1, 100 + (lane ^ 2))).all()
    assert (out[7] == 710).all()
    assert (out[8].view(np.uint32) == [0xFF << i // 8 * 8 for i in range(32)]).all()


def test_reductions_of_a_warp(kernels):
    out = np.zeros((3, 32), np.int32)
    kernels("language.cu").get("reductions")(1, 32, [out], mode="scrambled")
    assert (out[0] == 496).all()
    assert (out[1] == -9).all()
    assert (out[2] == 0).all()  # each bit is set in half of 0 ... 31


@pytest.mark.parametrize(
    ("c_type", "dtype"),
    [("int", "i4"), ("unsigned", "u4"), ("unsigned long long", "u8"), ("float", "f4"), ("double", "f8")],
)
def test_atomic_sums(kernels, c_type, dtype):
    out = np.ones(1, dtype)
    kernels("language.cu").get(f"atomic_sum<{c_type}>")(3, 40, [out], mode="scrambled", seed=1)
    assert out[0] == 1 + 119 * 120 // 2


def test_other_atomics(kernels):
    out = np.array([5, 5, 0, 0xFFFF, 0, 0, 0], np.uint32)
    kernels("language.cu").get("integer_atomics")(3, 40, [out], mode="scrambled", seed=1)
    assert out.tolist() == [119, 0, 0xFFFFFFFF, 0xFF00, 240, 0, 7]


@pytest.mark.parametrize("c_type", ["__half", "__nv_bfloat16"])
def test_conversions_round_as_numpy_does(kernels, c_type):
    dtype = TYPES[c_type]
    every = np.arange(1 << 16, dtype=np.uint16).view(dtype).astype(np.float32)  # each value of the type
    every = every[~np.isnan(every)]
    with np.errstate(all="ignore"):
        middles = (every[:-1] + every[1:]) / 2  # ties
    x = np.concatenate(
        [every, middles, np.nextafter(middles, np.float32(0)), np.nextafter(middles, np.float32(1e9))]
    )
    if c_type == "__nv_bfloat16":  # whose subnormals are subnormal floats
        x = x[~((np.abs(x) > 0) & (np.abs(x) < np.finfo(np.float32).tiny))]
    rounded, back, paired = np.zeros(x.size, dtype), np.zeros_like(x), np.zeros_like(x)
    args = [x, rounded, back, paired, np.int32(x.size)]
    kernels("language.cu").get(f"convert<{c_type}>")(-(-x.size // 256), 256, args)
    with np.errstate(all="ignore"):
        wanted = x.astype(dtype)
    number = ~np.isnan(x)
    assert (rounded.view(np.uint16)[number] == wanted.view(np.uint16)[number]).all()
    assert np.isnan(rounded[~number].astype(np.float32)).all()
    assert (back[number] == wanted.astype(np.float32)[number]).all()
    assert (paired[number] == back[number]).all()


@types
def test_packs_of_16_bytes(kernels, c_type):
    x = np.random.default_rng(0).standard_normal(320).astype(TYPES[c_type])
    y = np.zeros_like(x)
    packs = x.nbytes // 16
    kernels("language.cu").get(f"scale_packs<{c_type}>")(4, 64, [x, y, np.float32(-2), np.int32(packs)])
    assert (y == -2 * x).all()


@pytest.mark.parametrize(("c_type", "ulp"), [("float", 4), ("double", 4)])
def test_math(kernels, c_type, ulp):
    x = np.array([0.1, 0.5, 1.0, 2.5, 7.0], TYPES[c_type])
    out = np.zeros((9, 5), x.dtype)
    kernels("language.cu").get(f"math<{c_type}>")(1, 32, [x, out, np.int32(5)])
    wide = x.astype(np.float64)
    erf = np.array([math.erf(v) for v in wide])
    wanted = [
        np.exp(wide), np.log(wide), np.tanh(wide), erf, np.sqrt(wide), 1 / np.sqrt(wide), 2**wide, wide * wide + 1,
        wide + 1,
    ]  # fmt: skip
    assert (np.abs(out - wanted) <= ulp * np.finfo(x.dtype).eps * np.abs(wanted)).all()


def test_subnormals_are_zero_as_on_a_gpu(kernels):
    x = np.array([np.finfo(np.float32).tiny, 1e-40, 1.0], np.float32)
    out = np.ones(3, np.float32)
    kernels("language.cu").get("subnormals")(1, 3, [x, out])
    assert out.tolist() == [0, 0, 0.5]
    assert (x * np.float32(0.5))[0] > 0  # and only while the kernel runs


@modes
def test_threads_that_have_ended_are_not_waited_for(kernels, mode):
    out = np.zeros(64, np.int32)
    kernels("language.cu").get("some_end_early")(1, 64, [out], mode=mode, seed=5)
    assert out.tolist() == [32] * 32 + [8] * 8 + [0] * 24


def test_arguments_by_value(kernels):
    shape = np.array((3, 4), np.dtype([("rows", "i4"), ("columns", "i4")]))[()]
    out = np.zeros(2)
    kernels("language.cu").get("by_value")(1, 32, [shape, np.bool_(True), np.int64(2**40), out, None])
    assert out.tolist() == [304.5 + 2**40, 1]
