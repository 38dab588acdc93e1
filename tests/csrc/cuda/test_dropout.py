"""Dropout kernels on the emulator: the generator's published numbers, masks, and the op in numpy bit for bit."""

import numpy as np
import pytest
from helpers.kernel_cases import DTYPES, at_multiple, draw, fitting
from ringleader.csrc.cuda import dropout as kernels
from ringleader.csrc.cuda.elements import elements_shape
from ringleader.runtime.autograd.ops.dropout import Dropout

COUNTS = (0, 1, 3, 4, 31, 33, 1000, 4097)


def philox(counter, key):
    """Four words, of four words and two: Philox 4x32-10 as in the paper, with Python's integers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c0, 1 << 32)
        high1, low1 = divmod(0xCD9E8D57 * c2, 1 << 32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % (1 << 32), (k1 + 0xBB67AE85) % (1 << 32)
    return c0, c1, c2, c3


def words(count, seed, offset):
    halves = [offset % (1 << 32), offset >> 32], [seed % (1 << 32), seed >> 32]
    drawn = [philox([i, 0, *halves[0]], halves[1]) for i in range((count + 3) // 4)]
    return np.array(drawn, np.uint64).reshape(-1)[:count]


def versions(device, operator, x):
    return list(fitting(device, operator, x.dtype, **elements_shape(x.size, x)))


def test_the_generator_is_philox():
    """The known answers of Random123, the authors' library."""
    ones = 0xFFFFFFFF
    assert philox([0] * 4, [0] * 2) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    assert philox([ones] * 4, [ones] * 2) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0]
    assert philox(pi[:4], pi[4:]) == (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("seed", "offset"), [(0, 0), (0x0123456789ABCDEF, 0x7EDCBA9876543210)])
def test_drops_what_the_generator_says(device, dtype, seed, offset):
    for count in COUNTS:
        x = draw(dtype, count)
        keep = words(count, seed, offset) >= round(0.3 * 2**32)
        factor = keep * x.dtype.type(1 / 0.7)
        for version in versions(device, "dropout", x):
            got = kernels.dropout(device, x, 0.3, seed, offset, version=version)
            np.testing.assert_array_equal(got, x * factor)
            assert got.dtype == x.dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_masked_is_the_op_in_numpy(device, dtype):
    for count in COUNTS:
        x, keep = draw(dtype, count), np.random.default_rng(count).random(count) > 0.3
        op = Dropout(keep, 1 / 0.7)
        op.shape(x.shape)
        want = op.forward(x)
        for version in versions(device, "masked_dropout", x):
            np.testing.assert_array_equal(kernels.masked_dropout(device, x, keep, 1 / 0.7, version), want)


def test_share_and_scale(device):
    """Of 4097 elements 1 - p are kept, within four standard deviations; the expectation stays."""
    x = np.ones(4097, np.float64)
    for p in (0.1, 0.5):
        y = kernels.dropout(device, x, p, seed=5)
        kept = (y != 0).mean()
        assert abs(kept - (1 - p)) < 4 * (p * (1 - p) / 4097) ** 0.5
        assert set(y) == {0, 1 / (1 - p)}
    assert (kernels.dropout(device, x, 0, seed=5) == 1).all()
    assert (kernels.dropout(device, x, 1, seed=5) == 0).all()
    assert set(kernels.dropout(device, x, 0.5, seed=5, scale=3)) == {0, 3}


def test_the_backward_pass_is_the_same_call(device):
    """And calls with another seed or offset drop others."""
    x, g = draw("float32", 1000), draw("float32", 1000, seed=1)
    dropped = kernels.dropout(device, x, 0.5, seed=5, offset=7) == 0
    np.testing.assert_array_equal(kernels.dropout(device, g, 0.5, seed=5, offset=7) == 0, dropped)
    for seed, offset in ((6, 7), (5, 8)):
        assert ((kernels.dropout(device, x, 0.5, seed=seed, offset=offset) == 0) != dropped).any()


def test_unaligned(device):
    x, keep = draw("float16", 100), np.arange(100) % 3 > 0
    got = kernels.dropout(device, at_multiple(x, behind=1), 0.5, seed=5)
    np.testing.assert_array_equal(got, kernels.dropout(device, x, 0.5, seed=5))
    got = kernels.masked_dropout(device, x, at_multiple(keep, behind=1), 2)
    np.testing.assert_array_equal(got, kernels.masked_dropout(device, x, keep, 2))


def test_refuses(device):
    x, keep = draw("float32", 4, 6), np.ones((4, 6), bool)
    for error, match, call in [
        (TypeError, "dropout: x is int64", lambda: kernels.dropout(device, x.astype(int), 0.5, 0)),
        (ValueError, "dropout: x must be C-contiguous", lambda: kernels.dropout(device, x.T, 0.5, 0)),
        (ValueError, "dropout: p must be in 0..1, it is 1.5", lambda: kernels.dropout(device, x, 1.5, 0)),
        (ValueError, r"dropout: seed must be in 0..2\^63 - 1, it is -1", lambda: kernels.dropout(device, x, 0.5, -1)),
        (ValueError, r"dropout: offset must be in", lambda: kernels.dropout(device, x, 0.5, 0, 2**63)),
        (TypeError, "keep must be boolean, not int8", lambda: kernels.masked_dropout(device, x, keep.view(np.int8), 2)),
        (ValueError, r"keep has shape \(6,\), x \(4, 6\)", lambda: kernels.masked_dropout(device, x, keep[0], 2)),
        (ValueError, "keep must be C-contiguous", lambda: kernels.masked_dropout(device, x, np.asfortranarray(keep), 2)),
        (TypeError, "masked_dropout: x is int64", lambda: kernels.masked_dropout(device, x.astype(int), keep, 2)),
    ]:  # fmt: skip
        with pytest.raises(error, match=match):
            call()
