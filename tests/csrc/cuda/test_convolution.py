"""The convolution kernels, run by the emulator, against the formula written out in numpy."""

from dataclasses import dataclass
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.on_gpu import kernel_device
from hypothesis import given, settings
from hypothesis import strategies as st
from ringleader.csrc.cuda import convolution, convolution_versions
from ringleader.csrc.cuda.versions import VERSIONS
from ringleader.csrc.emulate import EmulatedDevice

ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes")
DTYPES = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
OPERATORS = ("forward", "backward_data", "backward_weight")


@dataclass(frozen=True)
class Case:
    """channels and features of all groups."""

    images: int = 2
    channels: int = 3
    size: tuple = (5, 7)
    features: int = 4
    kernel: tuple = (3, 3)
    stride: tuple = (1, 1)
    padding: tuple = ((0, 0), (0, 0))
    dilation: tuple = (1, 1)
    groups: int = 1

    @property
    def options(self):
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }

    @property
    def grid(self):
        spans = zip(self.size, self.padding, self.dilation, self.kernel, self.stride)
        return tuple((n + sum(p) - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in spans)

    def arrays(self, draw):
        """x, weight, dy by draw(shape)."""
        return (draw((self.images, self.channels, *self.size)),
                draw((self.features, self.channels // self.groups, *self.kernel)),
                draw((self.images, self.features, *self.grid)))  # fmt: skip


def reference(case, x, weight, dy):
    """y, dx, dw in float64, window by window."""
    (above, below), (left, right) = case.padding
    n, o, groups = case.images, case.features, case.groups
    x, weight, dy = (array.astype(np.float64) for array in (x, weight, dy))
    padded = np.pad(x, ((0, 0), (0, 0), (above, below), (left, right)))
    by_group = padded.reshape(n, groups, case.channels // groups, *padded.shape[2:])
    filters = weight.reshape(groups, o // groups, *weight.shape[1:])
    y, dx, dw = (
        np.zeros((n, groups, o // groups, *case.grid)),
        np.zeros_like(by_group),
        np.zeros_like(filters),
    )
    dy = dy.reshape(y.shape)
    for p, q in product(*map(range, case.grid)):
        window = (..., *(slice(at * s, at * s + d * (k - 1) + 1, d)
                         for at, s, d, k in zip((p, q), case.stride, case.dilation, case.kernel)))  # fmt: skip
        y[..., p, q] = np.einsum("ngcrs,gocrs->ngo", by_group[window], filters)
        dx[window] += np.einsum("ngo,gocrs->ngcrs", dy[..., p, q], filters)
        dw += np.einsum("ngo,ngcrs->gocrs", dy[..., p, q], by_group[window])
    inside = (..., slice(above, above + case.size[0]), slice(left, left + case.size[1]))
    dx = dx.reshape(padded.shape)[inside]
    return y.reshape(n, o, *case.grid), dx, dw.reshape(weight.shape)


def run(device, case, operator, x, weight, dy, layout="NCHW", **more):
    """One of y, dx, dw, as (N, C, H, W) or (O, C / groups, R, S) whatever the layout."""
    if more.get("version") == "wgmma":
        device = on_hopper(device)
    last = layout == "NHWC"
    x, weight, dy = (
        (np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if last else array) for array in (x, weight, dy)
    )
    more |= {**case.options, "layout": layout}
    if operator == "forward":
        result = convolution.forward(device, x, weight, **more)
    elif operator == "backward_data":
        result = convolution.backward_data(device, dy, weight, size=case.size, **more)
    else:
        result = convolution.backward_weight(device, x, dy, kernel=case.kernel, **more)
    return result.transpose(0, 3, 1, 2) if last else result


def on_hopper(device):
    """The device, if it can be, else another that takes kernels for Hopper."""
    hopper = device if device.architecture == 90 else kernel_device(architecture=90)
    if hopper.architecture != 90:
        pytest.skip("wgmma is for Hopper")
    return hopper


def whole_numbers(seed, dtype):
    """Small enough that every product and sum is exact in float32, whatever the order."""
    random = np.random.default_rng(seed)
    return lambda shape: random.integers(-2, 3, shape).astype(dtype)


def versions(operator, dtype):
    found = (version for version in VERSIONS[f"convolution_{operator}"] if dtype in version.dtypes)
    return [version.name for version in found]


def options_of(version):
    return {"version": version, "allow_tf32": version.startswith("tf32")}


EVERY = [(o, d, v) for o in OPERATORS for d in DTYPES for v in versions(o, d)]
TENSOR_CORES = [(o, d, v) for o, d, v in EVERY if v.startswith(("wgmma", "mma", "tf32"))]
ANY_SHAPE = [(o, d, v) for o, d, v in EVERY if (o, d, v) not in TENSOR_CORES]

CASES = {
    "one": Case(1, 1, (1, 1), 1, (1, 1)),
    "odd": Case(),
    "few to few": Case(2, 1, (12, 11), 6, (5, 5), padding=((2, 2), (2, 2))),
    "strided": Case(2, 3, (9, 8), 5, (3, 2), (2, 3), ((1, 1), (0, 0))),
    "stride over kernel": Case(2, 2, (8, 9), 3, (1, 2), (3, 4)),
    "one more after": Case(1, 2, (6, 5), 3, (4, 2), padding=((1, 2), (0, 1))),
    "dilated": Case(1, 2, (11, 9), 3, (3, 2), padding=((2, 1), (3, 0)), dilation=(2, 4)),
    "dilated and strided": Case(2, 2, (13, 12), 3, (3, 4), (4, 2), ((3, 2), (1, 5)), (6, 3)),
    "groups": Case(2, 6, (5, 4), 9, (3, 3), (2, 1), ((1, 1), (1, 1)), groups=3),
    "depthwise": Case(1, 5, (6, 6), 5, (3, 3), padding=((1, 1), (1, 1)), groups=5),
    "one axis": Case(3, 4, (1, 17), 5, (1, 4), (1, 2), ((0, 0), (1, 2))),
    "whole image": Case(3, 2, (4, 5), 7, (4, 5)),
    "more than a tile": Case(3, 5, (9, 9), 70, (2, 2)),
    "no image": Case(0),
    "no channel": Case(1, 0),
    "no feature": Case(1, 2, features=0),
}
ALIGNED = {  # for tensor cores: groups in packs of 8 channels
    "one pixel": Case(1, 8, (1, 1), 8, (1, 1)),
    "odd": Case(3, 24, (5, 7), 40, (3, 2), padding=((1, 1), (0, 1))),
    "strided": Case(2, 16, (9, 8), 24, (3, 3), (2, 3), ((1, 1), (1, 2))),
    "dilated and strided": Case(2, 8, (13, 12), 8, (3, 4), (4, 2), ((3, 2), (1, 5)), (6, 3)),
    "pointwise, strided": Case(2, 72, (6, 5), 16, (1, 1), (2, 2)),
    "groups": Case(2, 48, (5, 4), 24, (3, 3), (2, 1), ((1, 1), (1, 1)), groups=3),
    "more than a tile": Case(2, 136, (9, 9), 144, (1, 2), padding=((0, 0), (1, 0))),
    "long sum": Case(1, 64, (3, 3), 8, (3, 3), padding=((1, 1), (1, 1))),
    "many pixels": Case(5, 8, (17, 13), 8, (1, 1)),
    "no image": Case(0, 8, features=8),
}


def check_exactly(device, operator, dtype, version, case, layout):
    arrays = case.arrays(whole_numbers(0, DTYPES[dtype]))
    expected = reference(case, *arrays)[OPERATORS.index(operator)]
    result = run(device, case, operator, *arrays, layout=layout, **options_of(version))
    assert result.dtype == DTYPES[dtype] and result.shape == expected.shape
    np.testing.assert_array_equal(
        result.astype(np.float64), expected.astype(DTYPES[dtype]).astype(np.float64)
    )


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize(("operator", "version"), dict.fromkeys((o, v) for o, _, v in ANY_SHAPE))
def test_whole_numbers_come_out_exactly(device, operator, version, case, layout):
    check_exactly(device, operator, "float64", version, case, layout)


@pytest.mark.parametrize("case", ["strided", "groups"])
@pytest.mark.parametrize(
    ("operator", "dtype", "version"), [each for each in ANY_SHAPE if each[1] != "float64"]
)
def test_whole_numbers_come_out_exactly_in_every_dtype(device, operator, dtype, version, case):
    check_exactly(device, operator, dtype, version, CASES[case], "NCHW")


@pytest.mark.parametrize("case", ALIGNED.values(), ids=ALIGNED)
@pytest.mark.parametrize(("operator", "dtype", "version"), TENSOR_CORES)
def test_tensor_cores_are_exact_on_whole_numbers(device, operator, dtype, version, case):
    check_exactly(device, operator, dtype, version, case, "NHWC")


@pytest.mark.parametrize(("operator", "dtype", "version"), EVERY)
def test_any_strides(device, operator, dtype, version):
    """Images as the autograd ops keep them, (C, N, H, W) in memory; every second row of a filter."""
    case = ALIGNED["odd"]
    x, weight, dy = case.arrays(whole_numbers(1, DTYPES[dtype]))
    odd = [np.ascontiguousarray(array.swapaxes(0, 1)).swapaxes(0, 1) for array in (x, dy)]
    rows = np.repeat(weight, 2, axis=2)[:, :, ::2]
    assert not odd[0].flags.c_contiguous and not rows.flags.c_contiguous
    result = run(device, case, operator, odd[0], rows, odd[1], **options_of(version))
    expected = run(device, case, operator, x, weight, dy, version="clear")
    np.testing.assert_array_equal(result.astype(np.float64), expected.astype(np.float64))


sizes = st.integers(1, 6)
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(data=st.data(), images=st.integers(0, 2), group=st.tuples(st.integers(1, 3), st.integers(1, 3)), kernel=pairs,
       size=st.tuples(sizes, sizes), stride=pairs, dilation=pairs, groups=st.integers(1, 2), seed=st.integers(0, 99))  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_float64_against_the_formula(
    device, data, images, group, kernel, size, stride, dilation, groups, seed
):
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel)]
    before = tuple(data.draw(st.integers(0, span)) for span in spans)
    after = tuple(
        data.draw(st.integers(max(0, span - n - b), span + 1)) for span, n, b in zip(spans, size, before)
    )
    case = Case(images, group[0] * groups, size, group[1] * groups, kernel, stride, tuple(zip(before, after)), dilation,
                groups)  # fmt: skip
    arrays = case.arrays(np.random.default_rng(seed).standard_normal)
    bounds = reference(case, *map(abs, arrays))
    for operator, expected, bound in zip(OPERATORS, reference(case, *arrays), bounds):
        for version in versions(operator, "float64"):
            result = run(device, case, operator, *arrays, version=version)
            assert (abs(result - expected) <= 4e-15 * bound).all(), (operator, version)


@pytest.mark.parametrize(("operator", "dtype", "version"), EVERY)
def test_rounding_stays_within_its_bound(device, operator, dtype, version):
    """|error| <= one rounding of the result + (terms) eps32 sum |a| |b|; tf32 also rounds what it multiplies."""
    case = ALIGNED["strided"]
    arrays = case.arrays(np.random.default_rng(2).standard_normal)
    arrays = tuple(array.astype(DTYPES[dtype]) for array in arrays)
    at = OPERATORS.index(operator)
    expected, magnitude = reference(case, *arrays)[at], reference(case, *map(abs, arrays))[at]
    result = run(device, case, operator, *arrays, **options_of(version)).astype(np.float64)
    epsilon = float(np.finfo(np.float64).eps if dtype == "float64" else np.finfo(np.float32).eps)
    terms = {"forward": 16 * 9, "backward_data": 24 * 9, "backward_weight": 2 * np.prod(case.grid)}[operator]
    bound = terms * epsilon * magnitude + float(ml_dtypes.finfo(DTYPES[dtype]).eps) / 2 * abs(expected)
    if version.startswith("tf32"):
        bound = bound + 2 * 2.0**-11 * 1.001 * magnitude
    assert (abs(result - expected) <= bound).all()


@pytest.mark.parametrize(("operator", "version"), [(o, v) for o, _, v in EVERY if v.startswith("tf32")])
def test_tf32_is_rounded_to_nearest(device, operator, version):
    """1 + 3/4 of the last place becomes 1 + one last place, exactly."""
    case = ALIGNED["one pixel"]
    arrays = case.arrays(lambda shape: np.full(shape, 1 + 0.75 * 2.0**-10, np.float32))
    terms = {"forward": 8, "backward_data": 8, "backward_weight": 1}[operator]
    assert (run(device, case, operator, *arrays, **options_of(version)) == terms * (1 + 2.0**-10) ** 2).all()


@pytest.mark.parametrize(("operator", "dtype", "version"), EVERY)
def test_each_is_the_others_adjoint(device, operator, dtype, version):
    """<dy, y> = <dx, x> = <dw, w>, exactly on whole numbers (of two values, for the sums of bfloat16)."""
    case = Case(1, 8, (4, 3), 8, (2, 2), (1, 2), ((1, 0), (0, 1)))
    random = np.random.default_rng(3)
    x, weight, dy = case.arrays(lambda shape: random.integers(0, 2, shape).astype(DTYPES[dtype]))
    result = run(device, case, operator, x, weight, dy, **options_of(version))
    other = {"forward": dy, "backward_data": x, "backward_weight": weight}[operator]
    y = reference(case, x, weight, dy)[0]
    assert (result.astype(np.float64) * other.astype(np.float64)).sum() == (y * dy.astype(np.float64)).sum()


@pytest.mark.parametrize(
    ("operator", "dtype", "version"), [each for each in EVERY if each[0] != "backward_weight"]
)
def test_bias_and_activation(device, operator, dtype, version):
    case = ALIGNED["strided"]
    x, weight, dy = case.arrays(whole_numbers(4, DTYPES[dtype]))
    sums = reference(case, x, weight, dy)[OPERATORS.index(operator)]
    bias = whole_numbers(5, DTYPES[dtype])((sums.shape[1],))
    expected = np.maximum(sums + bias.astype(np.float64)[:, None, None], 0)
    result = run(device, case, operator, x, weight, dy, bias=bias, activation="relu", **options_of(version))
    assert expected.any() and not expected.all()
    np.testing.assert_array_equal(
        result.astype(np.float64), expected.astype(DTYPES[dtype]).astype(np.float64)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_gradient_of_the_bias(device, dtype, layout):
    dy = whole_numbers(6, DTYPES[dtype])((2, 3, 17, 9))
    given = dy if layout == "NCHW" else dy.transpose(0, 2, 3, 1)
    result = convolution.backward_bias(device, given, layout=layout)
    expected = dy.astype(np.float64).sum(axis=(0, 2, 3)).astype(DTYPES[dtype])
    np.testing.assert_array_equal(result.astype(np.float64), expected.astype(np.float64))


@pytest.mark.parametrize("version", versions("forward", "float32"))
def test_nan_goes_through_bias_and_relu(device, version):
    case = ALIGNED["one pixel"]
    x, weight, dy = case.arrays(whole_numbers(7, np.float32))
    x[0, 3] = np.nan
    result = run(device, case, "forward", x, weight, dy, activation="relu", **options_of(version))
    assert np.isnan(result).all()


@pytest.mark.emulator
@pytest.mark.parametrize(("operator", "dtype", "version"), EVERY)
def test_the_order_of_threads_does_not_matter(device, operator, dtype, version):
    """The same bits whatever the order of threads and blocks, with shared memory full of NaN before."""
    case = ALIGNED["dilated and strided"]
    arrays = case.arrays(np.random.default_rng(8).standard_normal)
    arrays = tuple(array.astype(DTYPES[dtype]) for array in arrays)
    usual = run(device, case, operator, *arrays, **options_of(version))
    for seed in range(2):
        other = EmulatedDevice("scrambled", seed, architecture=90)
        np.testing.assert_array_equal(run(other, case, operator, *arrays, **options_of(version)), usual)


@pytest.mark.emulator
@pytest.mark.parametrize(("operator", "version"), dict.fromkeys((o, v) for o, _, v in EVERY))
def test_no_races_and_on_tensor_cores_no_bank_conflicts(operator, version):
    """Every access is looked at; the checked device raises at a race, an access out of bounds, or a copy not waited for."""
    checked, case = EmulatedDevice("checked", architecture=90), ALIGNED["groups"]
    dtype = np.float16 if version.startswith(("wgmma", "mma")) else np.float32
    arrays = case.arrays(whole_numbers(9, dtype))
    result = run(checked, case, operator, *arrays, layout="NHWC", **options_of(version))
    expected = reference(case, *arrays)[OPERATORS.index(operator)]
    np.testing.assert_array_equal(result, expected)
    assert checked.reports
    assert all(checked.reports)
    if version.startswith(("wgmma", "mma", "tf32")):
        shared = [each for each in checked.reports[0].requests if each.space == "shared"]
        assert shared
        assert all(each.cost == each.ideal for each in shared), checked.reports[0]


def test_the_sum_of_a_weight_is_cut_where_its_tiles_are_few(device):
    """Several splits are added up, the last of them shorter; the cases above mostly have one."""
    case = Case(3, 8, (16, 15), 8, (1, 1))
    splits, share = convolution_versions.weight_splits(device, 1, 720, 16)
    assert splits > 1 and 720 % share
    check_exactly(device, "backward_weight", "float32", "tiled", case, "NHWC")
    check_exactly(device, "backward_weight", "float32", "tf32_64", case, "NHWC")
    check_exactly(device, "backward_weight", "float16", "mma64", case, "NHWC")


def chosen(
    architecture, dtype, images, channels, features, kernel=3, groups=1, tf32=False, operator="forward"
):
    """The version for images of 56 x 56."""
    device = SimpleNamespace(architecture=architecture, multiprocessors=132)
    taps = channels // groups * kernel**2
    shape = {"channels": channels // groups, "features": features // groups, "rows": images * 56 * 56,
             "columns": features // groups, "taps": taps, "parts": groups}  # fmt: skip
    return convolution_versions.choose_version(
        device, f"convolution_{operator}", np.dtype(dtype), shape, None, tf32
    )


@pytest.mark.emulator
def test_which_version_is_chosen():
    assert chosen(90, np.float16, 32, 64, 256) == "wgmma"
    assert chosen(80, np.float16, 32, 64, 256) == "mma128"
    assert chosen(90, np.float16, 32, 64, 64) == "mma64"  # half of a larger tile would be idle
    assert chosen(90, np.float16, 1, 64, 256) == "mma64"  # too few large ones for 132 multiprocessors
    assert chosen(75, np.float16, 32, 64, 256) == "tiled"
    assert chosen(90, np.float32, 32, 64, 256) == "tiled"
    assert chosen(90, np.float32, 32, 64, 256, tf32=True) == "tf32_128"
    assert chosen(90, np.float16, 32, 3, 64, kernel=7) == "tiled"
    assert chosen(90, np.float32, 32, 1, 6, kernel=5) == "direct"
    assert chosen(90, np.float16, 32, 64, 64, groups=64) == "direct"
    assert chosen(90, np.float64, 1, 64, 64) == "tiled"


X, W = np.zeros((1, 4, 5, 6), np.float32), np.zeros((2, 4, 3, 3), np.float32)
DY = np.zeros((1, 2, 3, 4), np.float32)
BAD = [
    ({"x": X.tolist()}, TypeError, "x must be an array"),
    ({"x": X.astype(np.int32)}, TypeError, "x is int32; kernels take"),
    ({"weight": W.astype(np.float64)}, TypeError, "weight is float64, the other arrays are float32"),
    ({"x": X[0]}, ValueError, r"x must have four axes, NCHW, not shape \(4, 5, 6\)"),
    ({"x": X[:, :3]}, ValueError, "the image has 3 channels, weight expects 4"),
    ({"groups": 3}, ValueError, "3 groups do not divide 4 channels"),
    ({"groups": 0}, ValueError, "groups 0 must be at least 1"),
    ({"weight": W[:, :, :0]}, ValueError, "the kernel of weight is empty"),
    ({"dilation": 3}, ValueError, "is larger than the padded image"),
    ({"dilation": 0}, ValueError, "dilation 0 must be at least 1"),
    ({"stride": (1, 0)}, ValueError, r"stride \(1, 0\) must be at least 1"),
    ({"stride": 1.5}, TypeError, "stride must be an integer"),
    ({"stride": (1, 1, 1)}, TypeError, "stride must be an integer, or one each"),
    ({"padding": -1}, ValueError, "padding -1 must be at least 0"),
    ({"padding": ((1, 1), (0, -2))}, ValueError, r"padding \(0, -2\) must be at least 0"),
    ({"padding": ((1, 1, 1), (0, 2, 2))}, TypeError, "padding must be a number, "),
    ({"bias": np.zeros(3, np.float32)}, ValueError, r"bias must be \(2,\), not \(3,\)"),
    ({"bias": np.zeros(2)}, TypeError, "bias is float64"),
    ({"activation": "gelu"}, ValueError, "activation must be none or relu, not 'gelu'"),
    ({"layout": "CHWN"}, ValueError, "layout must be NCHW or NHWC, not 'CHWN'"),
    ({"version": "fast"}, ValueError, "has no version 'fast'; it has: wgmma, mma128, mma64, tf32_128"),
    ({"version": "mma64"}, ValueError, "mma64 takes float16, bfloat16, not float32"),
    ({"version": "tf32_64"}, ValueError, "tf32_64 does not take .*allow_tf32 False"),
    (
        {"x": X[:, :2], "weight": W[:, :2], "version": "tf32_64", "allow_tf32": True},
        ValueError,
        "tf32_64 does not take channels 2",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_arguments_of_forward_are_named(device, change, error, message):
    with pytest.raises(error, match=f"convolution_forward: .*{message}|convolution_forward {message}"):
        convolution.forward(device, **{"x": X, "weight": W} | change)


def test_bad_arguments_of_the_gradients_are_named(device):
    with pytest.raises(
        ValueError, match=r"dy is \(N, O, P, Q\) = \(1, 2, 3, 4\), but an image \(1, 4, 5, 5\)"
    ):
        convolution.backward_data(device, DY, W, size=5)
    with pytest.raises(
        ValueError, match=r"the image has 4 channels|weight \(3, 4, 3, 3\) make \(1, 3, 3, 4\)"
    ):
        convolution.backward_data(device, DY, np.zeros((3, 4, 3, 3), np.float32), size=(5, 6))
    with pytest.raises(ValueError, match="size 0 must be at least 1"):
        convolution.backward_data(device, DY, W, size=0)
    with pytest.raises(ValueError, match=r"dy is .* \(1, 2, 3, 4\), but an image .* make \(1, 2, 4, 5\)"):
        convolution.backward_weight(device, X, DY, kernel=2)
    with pytest.raises(ValueError, match="3 groups do not divide 4 channels of x"):
        convolution.backward_weight(device, X, DY, kernel=3, groups=3)
    with pytest.raises(TypeError, match="dy is float64, the other arrays are float32"):
        convolution.backward_weight(device, X, DY.astype(np.float64), kernel=3)


def test_more_pixels_than_kernels_count_are_refused(device):
    huge = np.broadcast_to(np.float32(0), (2**16, 1, 2**8, 2**8))
    with pytest.raises(ValueError, match="the image has 4294967296 pixels"):
        convolution.forward(device, huge, np.zeros((1, 1, 1, 1), np.float32))
    wide = np.broadcast_to(np.float32(0), (1, 2**15, 2**8, 2**8))
    with pytest.raises(ValueError, match="an image, or weight, has 2147483648 elements"):
        convolution.forward(device, wide, np.broadcast_to(np.float32(0), (1, 2**15, 1, 1)))
    with pytest.raises(ValueError, match="dy has 4294967296 pixels"):
        convolution.backward_bias(device, huge)
