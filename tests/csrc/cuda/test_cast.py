"""Casts on the emulator: bit for bit those of numpy and ml_dtypes, with a scale, and with the check for inf and NaN."""

import numpy as np
import pytest
from helpers.kernel_cases import DTYPES, at_multiple, compute, draw, fitting
from ringleader.csrc.cuda import cast as kernels
from ringleader.csrc.cuda.elements import elements_shape

COUNTS = (0, 1, 3, 31, 33, 1000, 4097)


def versions(device, x):
    return list(fitting(device, "cast", x.dtype, **elements_shape(x.size, x)))


@pytest.mark.parametrize(("a", "b"), kernels.PAIRS)
def test_is_numpy(device, a, b):
    for count in COUNTS:
        x = draw(a, count, scale=100)
        for version in versions(device, x):
            for scale in (1.0, 1 / 3):
                with np.errstate(over="ignore"):
                    scaled = x.astype(compute(x.dtype)) * compute(x.dtype).type(scale)
                    want = scaled.astype(compute(DTYPES[b])).astype(DTYPES[b])
                got = kernels.cast(device, x, DTYPES[b], scale, version=version)
                assert got.dtype == want.dtype
                np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("version", ["packs", "clear"])
def test_rounding(device, version):
    """Ties to even, subnormal halves, overflow to inf; every half and every normal bfloat16 survives the way there and back."""
    x = np.array(
        [1 + 2**-11, 1 + 3 * 2**-11, 2.0**-25, 3 * 2.0**-25, -(2.0**-24), 65519, 65520, -1e6], np.float32
    )
    want = np.array([1, 1 + 2**-9, 0, 2.0**-23, -(2.0**-24), 65504, np.inf, -np.inf])
    np.testing.assert_array_equal(kernels.cast(device, x, np.float16, version=version), want)
    x = np.array([1 + 2**-8, 1 + 3 * 2**-8, 3.4e38, np.inf], np.float32)
    want = np.array([1, 1 + 2**-6, np.inf, np.inf])
    np.testing.assert_array_equal(kernels.cast(device, x, DTYPES["bfloat16"], version=version), want)
    for name in ("float16", "bfloat16"):
        every = np.arange(1 << 16, dtype=np.uint16).view(DTYPES[name])
        if name == "bfloat16":  # float32 takes its subnormal numbers for zero
            every = every[(every == 0) | ~(np.abs(every.astype(np.float32)) < 2.0**-126)]
        back = kernels.cast(
            device, kernels.cast(device, every, np.float32, version=version), DTYPES[name], version=version
        )
        nan = np.isnan(every.astype(np.float32))
        np.testing.assert_array_equal(back.view(np.uint16)[~nan], every.view(np.uint16)[~nan])
        assert np.isnan(back.astype(np.float32)[nan]).all()


@pytest.mark.parametrize("version", ["packs", "clear"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])  # the last is inf as float16 only
def test_says_what_is_not_finite(device, version, bad):
    flag = np.zeros(1, np.int32)
    x = draw("float32", 100)
    kernels.cast(device, x, np.float16, 0.5, flag, version=version)
    assert flag == 0
    x[37] = bad
    kernels.cast(device, x, np.float32, 0.5, flag, version=version)
    assert flag == (bad != 1e30)
    for at in (0, 37, 99):
        flag[0] = 0
        x = draw("float32", 100)
        x[at] = bad
        kernels.cast(device, x, np.float16, 0.5, flag, version=version)
        assert flag == 1
    kernels.cast(device, draw("float32", 100), np.float16, 0.5, flag, version=version)
    assert flag == 1  # stays


def test_in_place_and_unaligned(device):
    x = draw("float32", 100)
    want = x * np.float32(0.25)
    assert kernels.cast(device, x, np.float32, 0.25, out=x) is x
    np.testing.assert_array_equal(x, want)
    out = at_multiple(np.zeros(100, np.float16), behind=1)
    kernels.cast(device, x, np.float16, out=out)
    np.testing.assert_array_equal(out, x.astype(np.float16))


def test_refuses(device):
    x = draw("float32", 4, 6)
    for error, match, call in [
        (TypeError, "x is int64", lambda: kernels.cast(device, x.astype(int), np.float32)),
        (ValueError, "x must be C-contiguous", lambda: kernels.cast(device, x.T, np.float16)),
        (TypeError, "no kernel from float32 to int32", lambda: kernels.cast(device, x, np.int32)),
        (TypeError, "no kernel from float64 to float16", lambda: kernels.cast(device, x.astype(float), np.float16)),
        (ValueError, r"not_finite must be one int32, it is int64 \(1,\)", lambda: kernels.cast(
            device, x, np.float16, not_finite=np.zeros(1, np.int64))),
        (ValueError, r"not_finite must be one int32, it is int32 \(2,\)", lambda: kernels.cast(
            device, x, np.float16, not_finite=np.zeros(2, np.int32))),
        (ValueError, r"out must be float16 \(4, 6\), it is float32", lambda: kernels.cast(device, x, np.float16, out=x)),
        (ValueError, "out must be C-contiguous", lambda: kernels.cast(device, x, np.float32, out=np.asfortranarray(x))),
    ]:  # fmt: skip
        with pytest.raises(error, match=match):
            call()
