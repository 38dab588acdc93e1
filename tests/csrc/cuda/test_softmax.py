"""Softmax kernels on the emulator: every version that fits against long double, gradients, rows that are special."""

import numpy as np
import pytest
from helpers.kernel_cases import (
    DTYPES,
    LENGTHS,
    at_multiple,
    compute,
    draw,
    exact,
    fitting,
    roundoff,
    slope,
    summing,
    within,
)
from ringleader.csrc.cuda import softmax as kernels
from ringleader.csrc.cuda.rows import shape_of
from ringleader.csrc.cuda.versions import choose

FORWARD = {False: kernels.softmax, True: kernels.log_softmax}
BACKWARD = {False: kernels.softmax_backward, True: kernels.log_softmax_backward}
# Every length in float64; the other types where all versions fit, in two layouts, and where just the clear one does.
CASES = [("float64", n) for n in LENGTHS] + [
    (dtype, n) for dtype in DTYPES if dtype != "float64" for n in (32, 1000, 33)
]


def versions(device, operator, x, *others):
    return list(fitting(device, operator, x.dtype, **shape_of(x.shape[0], x.shape[1], x, *others)))


def reference(x, log):
    """The result and, of each row, x minus its maximum."""
    with np.errstate(invalid="ignore"):  # rows of -inf
        below = exact(x) - exact(x).max(-1, keepdims=True)
        total = np.exp(below).sum(-1, keepdims=True)
        return (below - np.log(total) if log else np.exp(below) / total), below


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(("dtype", "n"), CASES)
def test_forward(device, dtype, n, log):
    x = draw(dtype, 3, n, scale=3)
    want, below = reference(x, log)
    u = roundoff(compute(x.dtype))
    # a roundoff of x - max is |x - max| roundoffs of its exponential; exp, log, division: 2 each
    bound = u * (np.abs(below) + np.abs(want) + summing(n) + 6) * (1 if log else want)
    names = versions(device, "softmax_forward", x)
    assert {"clear", "long"} <= set(names)
    for version in names:
        within(FORWARD[log](device, x, version), want, bound)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(("dtype", "n"), CASES)
def test_backward(device, dtype, n, log):
    y = reference(draw(dtype, 3, n), log)[0].astype(np.float64).astype(DTYPES[dtype])
    g, u = draw(dtype, 3, n, seed=1), roundoff(compute(DTYPES[dtype]))
    slopes, out = exact(g), exact(y)
    terms = slopes if log else slopes * out
    total, size = terms.sum(-1, keepdims=True), np.abs(terms).sum(-1, keepdims=True)
    want = slopes - np.exp(out) * total if log else out * (slopes - total)
    factor = np.exp(out) if log else np.abs(out)
    bound = u * ((summing(n) + 6) * factor * size + 2 * np.abs(slopes) * (1 if log else factor))
    for version in versions(device, "softmax_backward", y, g):
        within(BACKWARD[log](device, g, y, version), want, bound)


@pytest.mark.parametrize("log", [False, True])
def test_the_gradient_is_the_forward_passes(device, log):
    x, g = draw("float64", 2, 6), draw("float64", 2, 6, seed=1)
    got = BACKWARD[log](device, g, FORWARD[log](device, x))
    np.testing.assert_allclose(
        got, slope(lambda x: (FORWARD[log](device, x) * g).sum(), x), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("n", [32, 33, 1000])
def test_special_rows(device, n, log):
    """NaN and +inf spoil their row, and only that; -inf is a probability of 0, but a row of nothing else is NaN."""
    x = draw("float32", 7, n)
    x[1, n // 2], x[2, 0], x[4] = np.nan, np.inf, -np.inf
    x[3, : n - 1] = -np.inf  # all but the last
    x[5] = 500  # exp would overflow
    x[6] = np.nan
    want, _ = reference(x, log)
    assert np.isnan(want[[1, 2, 4, 6]]).all() and not np.isnan(want[[0, 3, 5]]).any()
    for version in versions(device, "softmax_forward", x):
        got = FORWARD[log](device, x, version)
        np.testing.assert_allclose(got, want.astype(np.float32), rtol=1e-5, atol=0)


def test_shapes_without_elements(device):
    for shape in ((0, 5), (3, 0), (2, 0, 4)):
        x = np.empty(shape, np.float32)
        for f in FORWARD.values():
            assert f(device, x).shape == shape
        for f in BACKWARD.values():
            assert f(device, x, x).shape == shape


def test_more_axes_are_more_rows(device):
    x = draw("float32", 2, 3, 8)
    np.testing.assert_array_equal(
        kernels.softmax(device, x), kernels.softmax(device, x.reshape(6, 8)).reshape(2, 3, 8)
    )


def test_more_rows_than_are_launched_at_once(device):
    """The rows' loop goes round: 4 multiprocessors, 32 blocks each, 16 rows of a fourth of a warp."""
    x = draw("float32", 5000, 4)
    halves = [kernels.softmax(device, x[:2500]), kernels.softmax(device, x[2500:])]
    np.testing.assert_array_equal(kernels.softmax(device, x), np.concatenate(halves))


def test_the_version_is_chosen_by_alignment_and_length(device):
    def chosen(x):
        return choose("softmax_forward", 80, x.dtype, **shape_of(len(x), x.shape[1], x)).name

    assert chosen(draw("float32", 2, 8192)) == "registers"
    assert chosen(draw("float32", 2, 8196)) == "long"  # more than 32 KB
    assert chosen(draw("float32", 2, 33)) == "long"  # rows begin anywhere
    assert chosen(at_multiple(draw("float32", 2, 32), behind=1)) == "clear"
    with pytest.raises(ValueError, match=r"registers does not take .*aligned False"):
        kernels.softmax(device, at_multiple(draw("float32", 2, 32), behind=1), version="registers")


def test_unaligned_arrays(device):
    x = draw("float32", 3, 32)
    np.testing.assert_array_equal(
        kernels.softmax(device, at_multiple(x, behind=1)), kernels.softmax(device, x, version="clear")
    )


def test_refuses(device):
    x = draw("float32", 3, 8)
    with pytest.raises(
        TypeError, match="softmax: x is int64; it must be one of float16, bfloat16, float32, float64"
    ):
        kernels.softmax(device, np.ones((2, 3), np.int64))
    with pytest.raises(ValueError, match="log_softmax: x must have an axis"):
        kernels.log_softmax(device, np.float32(1).reshape(()))
    with pytest.raises(ValueError, match="softmax: x must be C-contiguous"):
        kernels.softmax(device, x.T)
    with pytest.raises(ValueError, match=r"softmax_backward: g has shape \(8,\), the input \(3, 8\)"):
        kernels.softmax_backward(device, x[0], x)
    with pytest.raises(TypeError, match="log_softmax_backward: g is float64, the input float32"):
        kernels.log_softmax_backward(device, x.astype(np.float64), x)
    with pytest.raises(ValueError, match="no version 'best'; it has: registers, long, clear"):
        kernels.softmax(device, x, version="best")
