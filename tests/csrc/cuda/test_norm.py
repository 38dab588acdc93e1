"""Layer and RMS norm kernels on the emulator: every version that fits against long double, gradients, refusals."""

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
from ringleader.csrc.cuda import norm as kernels
from ringleader.csrc.cuda.rows import shape_of

EPS = 1e-5
CASES = [("float64", n) for n in LENGTHS] + [
    (dtype, n) for dtype in DTYPES if dtype != "float64" for n in (32, 1000, 33)
]


def forward(device, centred, x, weight, bias, version=None):
    """y, mean (None without) and r."""
    if centred:
        return kernels.layer_norm(device, x, weight, bias, EPS, version)
    y, r = kernels.rms_norm(device, x, weight, EPS, version)
    return y, None, r


def backward(device, centred, g, x, mean, r, weight, version=None):
    """dx, dweight and dbias (None without)."""
    if centred:
        return kernels.layer_norm_backward(device, g, x, mean, r, weight, version=version)
    return *kernels.rms_norm_backward(device, g, x, r, weight, version=version), None


def parameters(dtype, n, centred, affine=True):
    if not affine:
        return None, None
    return draw(dtype, n, seed=3), draw(dtype, n, seed=4) if centred else None


class Reference:
    def __init__(self, x, weight, bias, centred):
        x = exact(x)
        self.mean = x.mean(-1, keepdims=True) * centred
        self.r = 1 / np.sqrt(((x - self.mean) ** 2).mean(-1, keepdims=True) + np.longdouble(EPS))
        self.n = (x - self.mean) * self.r
        self.weight = np.ones(x.shape[-1]) if weight is None else exact(weight)
        self.bias = np.zeros(x.shape[-1]) if bias is None else exact(bias)
        self.y = self.n * self.weight + self.bias
        self.size = np.abs(x).mean(-1, keepdims=True)


def versions(device, operator, x):
    return list(fitting(device, operator, x.dtype, **shape_of(*x.shape, x)))


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(("dtype", "n"), CASES)
def test_forward(device, dtype, n, centred):
    x, u, s = draw(dtype, 5, n) + DTYPES[dtype](1), roundoff(compute(DTYPES[dtype])), summing(n)
    x = at_multiple(x, behind=0)
    for affine in (True, False):
        weight, bias = parameters(dtype, n, centred, affine)
        want = Reference(x, weight, bias, centred)
        mean_bound = u * (s + 2) * want.size * centred
        bound = (want.r * mean_bound + u * (s + 10) * np.abs(want.n)) * np.abs(want.weight) + 2 * u * np.abs(
            want.bias
        )
        for version in versions(device, "norm_forward", x):
            y, mean, r = forward(device, centred, x, weight, bias, version)
            within(y, want.y, bound)
            within(r, want.r[:, 0], (u * (s + 10) * want.r + (want.r * mean_bound) ** 2)[:, 0])
            if centred:
                within(mean, want.mean[:, 0], mean_bound[:, 0])


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(("dtype", "n"), CASES)
def test_backward(device, dtype, n, centred):
    rows = 70 if n < 100 else 5  # more than the blocks of the first stage
    x, g, s = draw(dtype, rows, n), draw(dtype, rows, n, seed=1), summing(n)
    u = roundoff(compute(x.dtype))
    for affine in (True, False):
        weight, bias = parameters(dtype, n, centred, affine)
        want = Reference(x, weight, bias, centred)
        mean, r = (of[:, 0].astype(compute(x.dtype)) for of in (want.mean, want.r))
        n_bound = 3 * np.abs(want.n) + 2 * want.r * np.abs(
            want.mean
        )  # in roundoffs, mean and r being rounded
        h = exact(g) * want.weight
        mean_h, mean_hn = h.mean(-1, keepdims=True) * centred, (h * want.n).mean(-1, keepdims=True)
        sizes = [np.abs(part).mean(-1, keepdims=True) for part in (h, h * want.n, h * n_bound)]
        bound = 5 * np.abs(h) + (s + 8) * (sizes[0] * centred + np.abs(want.n) * sizes[1])
        bound = u * want.r * (bound + np.abs(want.n) * sizes[2] + n_bound * np.abs(mean_hn))
        parameter_bounds = (
            u * (((rows + 16) * np.abs(exact(g) * want.n)).sum(0) + (np.abs(exact(g)) * n_bound).sum(0)),
            u * (rows + 16) * np.abs(exact(g)).sum(0),
        )
        for version in versions(device, "norm_backward", x):
            dx, dweight, dbias = backward(device, centred, g, x, mean, r, weight, version)
            within(dx, want.r * (h - mean_h - want.n * mean_hn), bound)
            within(dweight, (exact(g) * want.n).sum(0), parameter_bounds[0])
            if centred:
                within(dbias, exact(g).sum(0), parameter_bounds[1])


@pytest.mark.parametrize("centred", [True, False])
def test_the_gradient_is_the_forward_passes(device, centred):
    x, g = draw("float64", 3, 6), draw("float64", 3, 6, seed=1)
    weight, bias = parameters("float64", 6, centred)
    _, mean, r = forward(device, centred, x, weight, bias)
    got = backward(device, centred, g, x, mean, r, weight)
    for gradient, of in zip(got, (x, weight, bias)):
        if of is not None:
            want = slope(lambda _: (forward(device, centred, x, weight, bias)[0] * g).sum(), of)
            np.testing.assert_allclose(gradient, want, rtol=0, atol=1e-8)


@pytest.mark.parametrize("n", [32, 33])
def test_a_large_mean_does_not_cancel_the_variance(device, n):
    """x = 4096 + d with d of {-1, 0, 1}: exact in float32, where the mean of x^2 has a unit in the last place of 2."""
    d = np.random.default_rng(0).integers(-1, 2, (4, n)).astype(np.float32)
    x = at_multiple(d + np.float32(4096), behind=0)
    for version in versions(device, "norm_forward", x):
        y = kernels.layer_norm(device, x, version=version)[0]
        np.testing.assert_allclose(
            y, kernels.layer_norm(device, d.astype(np.float64))[0], rtol=0, atol=4e-4 * n
        )


@pytest.mark.parametrize("version", ["registers", "long", "clear"])
def test_without_the_parameters_gradients(device, version):
    x, g = draw("float32", 5, 32), draw("float32", 5, 32, seed=1)
    _, mean, r = kernels.layer_norm(device, x)
    dx, dweight, dbias = kernels.layer_norm_backward(device, g, x, mean, r, parameters=False, version=version)
    assert dweight is None
    assert dbias is None
    np.testing.assert_array_equal(dx, kernels.layer_norm_backward(device, g, x, mean, r, version=version)[0])


def test_no_rows_and_unaligned_rows(device):
    x = np.empty((2, 0, 8), np.float32)
    y, mean, r = kernels.layer_norm(device, x)
    assert (y.shape, mean.shape, r.shape) == (x.shape, (0,), (0,))
    dx, dweight, dbias = kernels.layer_norm_backward(device, x, x, mean, r)
    assert dx.shape == x.shape
    np.testing.assert_array_equal([dweight, dbias], np.zeros((2, 8)))
    x = draw("float32", 3, 32)
    got = kernels.rms_norm(device, at_multiple(x, behind=1))
    np.testing.assert_array_equal(got[0], kernels.rms_norm(device, x, version="clear")[0])


def test_refuses(device):
    x = draw("float16", 5, 8)
    _, mean, r = kernels.layer_norm(device, x)
    for error, match, call in [
        (ValueError, "x has no columns", lambda: kernels.layer_norm(device, x[:, :0].copy())),
        (ValueError, "x must be C-contiguous", lambda: kernels.rms_norm(device, x[:, ::2])),
        (TypeError, "layer_norm: x is int64", lambda: kernels.layer_norm(device, x.astype(int))),
        (ValueError, "eps must not be negative, it is -1", lambda: kernels.rms_norm(device, x, eps=-1)),
        (TypeError, "weight is float32, x float16", lambda: kernels.layer_norm(device, x, x[0].astype(np.float32))),
        (ValueError, r"bias must be \(8,\)", lambda: kernels.layer_norm(device, x, x[0], x[0, 1:])),
        (ValueError, "weight must be C-contiguous", lambda: kernels.layer_norm(device, x, x[0].repeat(2)[::2])),
        (ValueError, r"g has shape \(8,\)", lambda: kernels.rms_norm_backward(device, x[0], x, r)),
        (ValueError, r"mean must be float32 \(5,\), it is float16 \(5,\)", lambda: kernels.layer_norm_backward(
            device, x, x, mean.astype(np.float16), r)),
        (ValueError, r"r must be float32 \(5,\)", lambda: kernels.rms_norm_backward(device, x, x, r[1:])),
    ]:  # fmt: skip
        with pytest.raises(error, match=match):
            call()
