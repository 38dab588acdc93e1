"""The pooling kernels, run by the emulator, against the definition written out in numpy, and against the autograd ops."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ringleader.csrc.cuda import pooling
from ringleader.csrc.emulate import EmulatedDevice
from ringleader.runtime.autograd.ops.pooling import AvgPool2d, MaxPool2d

ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes")
DTYPES = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
VERSIONS = ("packs", "clear")


@dataclass(frozen=True)
class Case:
    shape: tuple = (2, 3, 7, 8)
    kernel: tuple = (2, 2)
    stride: tuple = (2, 2)
    padding: tuple = ((0, 0), (0, 0))
    dilation: tuple = (1, 1)

    @property
    def options(self):
        return {name: getattr(self, name) for name in ("kernel", "stride", "padding", "dilation")}

    @property
    def grid(self):
        spans = zip(self.shape[2:], self.padding, self.dilation, self.kernel, self.stride)
        return tuple((n + sum(p) - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in spans)

    def windows(self):
        """For each window its place (p, q) and its pixels inside of the image: [(tap, h, w), ...]."""
        for p, q in product(*map(range, self.grid)):
            taps = []
            for tap, (r, s) in enumerate(product(*map(range, self.kernel))):
                h = p * self.stride[0] + r * self.dilation[0] - self.padding[0][0]
                w = q * self.stride[1] + s * self.dilation[1] - self.padding[1][0]
                if 0 <= h < self.shape[2] and 0 <= w < self.shape[3]:
                    taps.append((tap, h, w))
            yield (p, q), taps


def max_reference(case, x, dy):
    """y, winner, dx."""
    y, winner = (
        np.full((*case.shape[:2], *case.grid), -np.inf),
        np.zeros((*case.shape[:2], *case.grid), np.int32),
    )
    dx = np.zeros(case.shape)
    for at, taps in case.windows():
        for n, c in np.ndindex(*case.shape[:2]):
            values = [np.nan_to_num(x[n, c, h, w], nan=np.inf, posinf=1e9, neginf=-1e9) for _, h, w in taps]
            tap, h, w = taps[values.index(max(values))]  # the first of equals; NaN is larger than all
            y[(n, c, *at)], winner[(n, c, *at)] = x[n, c, h, w], tap
            dx[n, c, h, w] += dy[(n, c, *at)]
    return y, winner, dx


def average_reference(case, x, dy, count_include_pad):
    """y, dx."""
    y, dx = np.zeros((*case.shape[:2], *case.grid)), np.zeros(case.shape)
    for (p, q), taps in case.windows():
        share = 1 / (np.prod(case.kernel) if count_include_pad else len(taps))
        for _, h, w in taps:
            y[:, :, p, q] += x[:, :, h, w] * share
            dx[:, :, h, w] += dy[:, :, p, q] * share
    return y, dx


def nhwc(array):
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1))


def run_max(device, case, x, dy, layout="NCHW", **more):
    """y, winner, dx as (N, C, H, W), whatever the layout."""
    more |= {"layout": layout, **case.options}
    if layout == "NHWC":
        x, dy = nhwc(x), nhwc(dy)
    y, winner = pooling.max_forward(device, x, **more)
    results = y, winner, pooling.max_backward(device, dy, winner, size=case.shape[2:], **more)
    return tuple(each.transpose(0, 3, 1, 2) if layout == "NHWC" else each for each in results)


def run_average(device, case, x, dy, layout="NCHW", **more):
    more |= {"layout": layout, **case.options}
    if layout == "NHWC":
        x, dy = nhwc(x), nhwc(dy)
    results = (
        pooling.average_forward(device, x, **more),
        pooling.average_backward(device, dy, size=case.shape[2:], **more),
    )
    return tuple(each.transpose(0, 3, 1, 2) if layout == "NHWC" else each for each in results)


CASES = {
    "halves": Case(),
    "one pixel": Case((1, 1, 1, 1), (1, 1), (1, 1)),
    "overlapping": Case((2, 2, 6, 5), (3, 2), (1, 2), ((1, 1), (1, 0))),
    "gaps": Case((1, 3, 9, 8), (1, 2), (3, 3)),
    "dilated": Case((1, 2, 9, 10), (2, 3), (2, 1), ((1, 0), (2, 2)), (2, 3)),
    "one axis": Case((3, 2, 1, 11), (1, 3), (1, 2), ((0, 0), (1, 1))),
    "packs": Case((2, 24, 5, 6), (3, 3), (2, 2), ((1, 1), (1, 1))),
    "no image": Case((0, 8, 4, 4)),
    "no channel": Case((1, 0, 4, 4)),
}
RUNS = [(case, layout, version) for case, layout, version in product(CASES, ("NCHW", "NHWC"), VERSIONS)
        if version == "clear" or (layout == "NHWC" and CASES[case].shape[1] % 8 == 0)]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("case", "layout", "version"), RUNS)
def test_the_largest_of_each_window_exactly(device, case, layout, version, dtype):
    """Whole numbers, with many equal ones."""
    case, random = CASES[case], np.random.default_rng(0)
    x, dy = random.integers(-2, 3, case.shape), random.integers(-2, 3, (*case.shape[:2], *case.grid))
    results = run_max(
        device, case, x.astype(DTYPES[dtype]), dy.astype(DTYPES[dtype]), layout, version=version
    )
    for result, expected in zip(results, max_reference(case, x, dy)):
        np.testing.assert_array_equal(result.astype(np.float64), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize(("case", "layout", "version"), RUNS)
def test_means_within_their_rounding(device, case, layout, version, count_include_pad, dtype):
    """As many roundings in the precision of the sums as a window has taps, and one in the dtype's."""
    case, random = CASES[case], np.random.default_rng(1)
    x, dy = random.standard_normal(case.shape), random.standard_normal((*case.shape[:2], *case.grid))
    x, dy = x.astype(DTYPES[dtype]), dy.astype(DTYPES[dtype])
    results = run_average(device, case, x, dy, layout, version=version, count_include_pad=count_include_pad)
    exact = [array.astype(np.float64) for array in (x, dy)]
    epsilon = np.finfo(np.float64 if dtype == "float64" else np.float32).eps * (np.prod(case.kernel) + 1)
    bounds = average_reference(case, *map(abs, exact), count_include_pad)
    for result, expected, bound in zip(results, average_reference(case, *exact, count_include_pad), bounds):
        assert result.shape == expected.shape and result.dtype == DTYPES[dtype]
        numbers = ml_dtypes.finfo(DTYPES[dtype])
        rounding = np.maximum(float(numbers.eps) / 2 * abs(expected), float(numbers.smallest_subnormal) / 2)
        assert (abs(result.astype(np.float64) - expected) <= epsilon * bound + rounding).all()


def ready(op, shape):
    """The autograd op, told of the shape of its input."""
    op.needs = (True,)
    op.xp = np
    op.shape(shape)
    return op


@pytest.mark.parametrize("case", ["overlapping", "dilated"])
def test_nan_is_the_largest(device, case):
    case, random = CASES[case], np.random.default_rng(3)
    x = random.choice([-np.inf, 0.0, 1, 2, np.inf, np.nan], case.shape)
    dy = random.integers(-3, 4, (*case.shape[:2], *case.grid)).astype(np.float64)
    for result, expected in zip(run_max(device, case, x, dy), max_reference(case, x, dy)):
        np.testing.assert_array_equal(result, expected)


kernels = st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(shape=st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(7, 9), st.integers(7, 9)), kernel=kernels,
       stride=kernels, dilation=kernels, data=st.data(), seed=st.integers(0, 99), count=st.booleans())  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_the_same_as_the_autograd_ops(device, shape, kernel, stride, dilation, data, seed, count):
    """Infinities and equal numbers among them; the largest where there is a NaN, but not who gets its gradient."""
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel)]
    padding = tuple(data.draw(st.integers(0, span // 2)) for span in spans)
    case = Case(shape, kernel, stride, tuple((p, p) for p in padding), dilation)
    random = np.random.default_rng(seed)
    x = random.choice([-np.inf, -1, 0.0, 1, 1, 2, np.inf], shape)
    dy = random.integers(-3, 4, (*shape[:2], *case.grid)).astype(np.float64)
    largest, mean = (ready(op, shape) for op in (MaxPool2d(kernel, stride, padding, dilation),
                                                 AvgPool2d(kernel, stride, padding, dilation, count)))  # fmt: skip
    y, _, dx = run_max(device, case, x, dy)
    np.testing.assert_array_equal(y, largest.forward(x))
    np.testing.assert_array_equal(dx, largest.backward(dy))
    holes = np.where(random.random(shape) < 0.1, np.nan, x)
    np.testing.assert_array_equal(run_max(device, case, holes, dy)[0], largest.forward(holes))
    x = np.clip(x, -3, 3)
    y, dx = run_average(device, case, x, dy, count_include_pad=count)
    with np.errstate(divide="ignore", invalid="ignore"):  # windows with no pixel at all: their mean is NaN
        np.testing.assert_allclose(y, mean.forward(x), rtol=1e-14, atol=1e-14)
        np.testing.assert_allclose(dx, mean.backward(dy), rtol=1e-14, atol=1e-14)


def test_any_strides(device):
    """Images as the autograd ops keep them, (C, N, H, W) in memory; winners that lie otherwise than the gradient."""
    case, random = CASES["packs"], np.random.default_rng(2)
    x = random.integers(-2, 3, (24, 2, 5, 6)).astype(np.float32).swapaxes(0, 1)
    dy = random.integers(-2, 3, (*case.grid, 2, 24)).astype(np.float32).transpose(2, 3, 0, 1)
    for result, expected in zip(run_max(device, case, x, dy), max_reference(case, x, dy)):
        np.testing.assert_array_equal(result, expected)
    y, dx = run_average(device, case, x, dy)
    expected = average_reference(case, x, dy, True)
    np.testing.assert_allclose(y, expected[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(dx, expected[1], rtol=0, atol=1e-6)


@pytest.mark.emulator
@pytest.mark.parametrize("version", VERSIONS)
def test_no_access_out_of_bounds(version):
    checked, case = EmulatedDevice("checked"), CASES["packs"]
    random = np.random.default_rng(4)
    x, dy = random.standard_normal(case.shape), random.standard_normal((*case.shape[:2], *case.grid))
    x, dy = x.astype(np.float32), dy.astype(np.float32)
    run_max(checked, case, x, dy, "NHWC", version=version)
    run_average(checked, case, x, dy, "NHWC", version=version, count_include_pad=False)
    assert len(checked.reports) == 4
    assert all(checked.reports)


X, DY, WINNER = (
    np.zeros((1, 2, 4, 6), np.float32),
    np.zeros((1, 2, 2, 3), np.float32),
    np.zeros((1, 2, 2, 3), np.int32),
)
BAD = [
    ({"x": X.tolist()}, TypeError, "x must be an array"),
    ({"x": X.astype(int)}, TypeError, "x is int64; kernels take"),
    ({"x": X[0]}, ValueError, "x must have four axes"),
    ({"kernel": 0}, ValueError, "kernel 0 must be at least 1"),
    ({"kernel": 5}, ValueError, "is larger than the padded image"),
    ({"kernel": "2"}, TypeError, "kernel must be an integer"),
    ({"stride": 0}, ValueError, "stride 0 must be at least 1"),
    ({"dilation": (1, 0)}, ValueError, r"dilation \(1, 0\) must be at least 1"),
    ({"padding": 2}, ValueError, "must be at most half of the kernel"),
    ({"padding": -1}, ValueError, "padding -1 must be at least 0"),
    ({"layout": "HWC"}, ValueError, "layout must be NCHW or NHWC"),
    ({"version": "packs"}, ValueError, "packs does not take packed False"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD, ids=[message for *_, message in BAD])
@pytest.mark.parametrize("operator", ["max_forward", "average_forward"])
def test_bad_arguments_are_named(device, operator, change, error, message):
    with pytest.raises(error, match=f"pooling_{operator}: .*{message}"):
        getattr(pooling, operator)(device, **{"x": X, "kernel": 2} | change)


def test_bad_arguments_of_the_gradients_are_named(device):
    with pytest.raises(
        ValueError, match=r"dy is \(N, C, P, Q\) = \(1, 2, 2, 3\), but an image \(1, 2, 4, 4\)"
    ):
        pooling.max_backward(device, DY, WINNER, size=4, kernel=2)
    with pytest.raises(
        ValueError, match=r"dy is \(N, C, P, Q\) = \(1, 2, 2, 3\), but an image \(1, 2, 4, 4\)"
    ):
        pooling.average_backward(device, DY, size=4, kernel=2)
    with pytest.raises(ValueError, match="winner must be int32 and as large as dy"):
        pooling.max_backward(device, DY, WINNER.astype(np.int64), size=(4, 6), kernel=2)
    with pytest.raises(ValueError, match="winner must be int32 and as large as dy"):
        pooling.max_backward(device, DY, WINNER[:, :1], size=(4, 6), kernel=2)
    with pytest.raises(TypeError, match="winner must be an array"):
        pooling.max_backward(device, DY, WINNER.tolist(), size=(4, 6), kernel=2)


def test_more_elements_than_kernels_count_are_refused(device):
    huge = np.broadcast_to(np.float32(0), (2**16, 1, 2**8, 2**8))
    with pytest.raises(ValueError, match="too many elements"):
        pooling.max_forward(device, huge, kernel=2)
