"""Folds of flat buffers on the emulator: bit for bit those of numpy and of the CPU's kernels."""

import numpy as np
import pytest
from helpers.kernel_cases import DTYPES, at_multiple, draw, fitting
from ringleader.csrc.cuda import reduce as kernels
from ringleader.csrc.cuda.elements import elements_shape

UFUNCS = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}
COUNTS = (0, 1, 3, 31, 33, 1000, 4097)


def buffers(dtype, k, count, seed=0):
    """Floats with zeros of both signs, integers of all sizes."""
    if dtype in DTYPES:
        made = [draw(dtype, count, seed=seed + i) for i in range(k)]
        for i, buffer in enumerate(made):
            buffer[i % 3 :: 7], buffer[i % 2 :: 5] = 0.0, -0.0
        return made
    limits = np.iinfo(dtype)
    draws = np.random.default_rng([k, count, seed])
    return [draws.integers(limits.min, limits.max, count, dtype, endpoint=True) for _ in range(k)]


def one_by_one(operation, given):
    """By numpy, two at a time, rounded to the dtype each time."""
    folded = given[0]
    with np.errstate(over="ignore"):
        for other in given[1:]:
            folded = UFUNCS[operation](folded, other)
    return folded


def same_bits(got, want):
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got.view(np.uint8), want.view(np.uint8))


def versions(device, operator, x):
    return list(fitting(device, operator, x.dtype, **elements_shape(x.size, x)))


@pytest.mark.parametrize("operation", UFUNCS)
@pytest.mark.parametrize("dtype", kernels.DTYPES)
def test_is_numpy_bit_for_bit(device, dtype, operation):
    for count in COUNTS:
        for k in (1, 2, 3, 8, 9, 17):
            given = buffers(dtype, k, count)
            want = one_by_one(operation, given)
            for version in versions(device, "fold", given[0]):
                same_bits(kernels.fold(device, operation, given, version=version), want)


@pytest.mark.parametrize("operation", UFUNCS)
@pytest.mark.parametrize("dtype", kernels.DTYPES)
def test_is_the_fold_of_the_cpu(device, dtype, operation):
    engine = pytest.importorskip("ringleader.csrc.cpu._engine", reason="the CPU engine is not built")
    given = buffers(dtype, 5, 1000)
    want = given[0].copy()
    for other in given[1:]:
        engine.fold(operation, want, want, other)
    same_bits(kernels.fold(device, operation, given), want)


def test_sixteen_bits_are_rounded_after_each_step(device):
    """2048 + 1 + 1 is 2048 in float16 when rounded twice, and 2050 when rounded once; the order given is kept."""
    given = [np.full(9, value, np.float16) for value in (2048, 1, 1)]
    assert (kernels.fold(device, "sum", given) == 2048).all()
    assert (kernels.fold(device, "sum", given[::-1]) == 2050).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", ["max", "min"])
def test_a_nan_is_kept(device, dtype, operation):
    a, b = buffers(dtype, 2, 100)
    a[::3], b[::4], a[1], b[2] = np.nan, np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        want = UFUNCS[operation](a, b)
    same_bits(kernels.fold(device, operation, [a, b]), want)


@pytest.mark.parametrize("dtype", DTYPES)
def test_mean(device, dtype):
    for count in COUNTS:
        given = buffers(dtype, 3, count)
        want = (one_by_one("sum", given) / given[0].dtype.type(3)).astype(given[0].dtype)
        for version in versions(device, "divide", given[0]):
            same_bits(kernels.mean(device, given, version=version), want)


def test_into_a_buffer_and_into_parts_of_one(device):
    """Chunks of a large buffer begin anywhere: alike, with elements before the first 16 bytes, or each elsewhere."""
    for behind in ((0, 0, 0), (3, 3, 3), (1, 2, 3), (0, 0, 1)):
        for count in (1, 4, 5, 100):
            given = [at_multiple(x, b) for x, b in zip(buffers("float32", 3, count), behind)]
            want = one_by_one("sum", given)
            assert kernels.fold(device, "sum", given, out=given[1]) is given[1]
            same_bits(given[1], want)
    given = buffers("float32", 12, 10)
    want = one_by_one("sum", given)
    same_bits(kernels.fold(device, "sum", given, out=given[0]), want)


def test_refuses(device):
    x = draw("float32", 4, 6)
    many = [x.copy() for _ in range(9)]
    for error, match, call in [
        (ValueError, "unknown operation 'or'; known: sum, prod, max, min", lambda: kernels.fold(device, "or", [x])),
        (ValueError, "there are no buffers", lambda: kernels.fold(device, "sum", [])),
        (ValueError, "there are no buffers", lambda: kernels.mean(device, [])),
        (TypeError, "do not take complex128", lambda: kernels.fold(device, "sum", [x.astype(complex)])),
        (TypeError, "buffer 1 is float64, buffer 0 float32", lambda: kernels.fold(device, "sum", [x, x.astype(float)])),
        (ValueError, r"buffer 1 has shape \(6,\), buffer 0 \(4, 6\)", lambda: kernels.fold(device, "sum", [x, x[0]])),
        (ValueError, "buffer 0 must be C-contiguous", lambda: kernels.fold(device, "sum", [x.T])),
        (ValueError, r"out has shape \(6,\)", lambda: kernels.fold(device, "sum", [x, x], out=x[0])),
        (ValueError, "out must not be one of the buffers after the first 8", lambda: kernels.fold(
            device, "sum", many, out=many[8])),
        (TypeError, "mean: buffer 0 is int32", lambda: kernels.mean(device, [x.astype(np.int32)])),
    ]:  # fmt: skip
        with pytest.raises(error, match=match):
            call()
