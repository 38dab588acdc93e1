"""The kernels of training against float64 references, at odd sizes and starts, on every level of the processor."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest

kernels = pytest.importorskip("ringleader.csrc.cpu._kernels", reason="the kernels are not built")

SIZES = (0, 1, 3, 15, 16, 17, 63, 64, 65, 1000)
DTYPES = (np.float32, np.float64)
erf = np.vectorize(math.erf, otypes=[np.float64])


def draw(*shape, dtype=np.float64, seed=0):
    """Normal values in a contiguous array which starts one element after its memory."""
    values = np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)
    memory = np.empty(values.size + 1, dtype)
    memory[1:] = values.ravel()
    return memory[1:].reshape(shape)


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


FORWARD = {
    "exp": np.exp, "tanh": np.tanh, "sigmoid": sigmoid, "erf": erf, "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x * sigmoid(x), "gelu": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))), "gelu_tanh": gelu_tanh,
}  # fmt: skip
FROM_OUTPUT = ("tanh", "sigmoid", "relu")  # whose gradient is a function of the output
ULPS = {"exp": 1.1, "tanh": 2.5, "sigmoid": 2.5, "erf": 1.2, "silu": 3.5}


def close(got, want, dtype, scale=1.0):
    """Within some units in the last place of what is about `scale` large."""
    want = np.asarray(want)
    assert (got.dtype, got.shape) == (dtype, want.shape)
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(got, want, rtol=16 * eps, atol=16 * eps * scale)


def derivative(f, *inputs, of=0, g=1.0):
    """Of sum(g * f(inputs)) by central differences, all in float64."""
    x = inputs[of]
    slope = np.empty_like(x)
    for i in np.ndindex(x.shape):
        values = []
        for step in (1e-5, -1e-5):
            moved = x.copy()
            moved[i] += step
            values.append(np.sum(g * f(*inputs[:of], moved, *inputs[of + 1 :])))
        slope[i] = (values[0] - values[1]) / 2e-5
    return slope


# Element by element


@pytest.mark.parametrize("name", ULPS)
def test_error_in_units_of_the_last_place(name):
    """Every 4001st of all float32 numbers. silu: above the results that sigmoid has as denormal numbers."""
    x = np.arange(0, 2**32, 4001, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = x[np.isfinite(x)]
    if name == "silu":
        x = x[x > -87]
    with np.errstate(all="ignore"):
        want = FORWARD[name](x.astype(np.float64))
        rounded = want.astype(np.float32)
        got = getattr(kernels, name)(x)
        finite = np.isfinite(rounded)
        np.testing.assert_array_equal(got[~finite], rounded[~finite])
        error = np.abs(got[finite] - want[finite]) / np.spacing(np.abs(rounded[finite])).astype(np.float64)
    assert error.max() < ULPS[name]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORWARD)
def test_sizes_and_starts(name, dtype):
    for size in SIZES:
        x = draw(size, dtype=dtype) * 3
        for start in range(min(size, 3)):
            close(getattr(kernels, name)(x[start:]), FORWARD[name](x[start:].astype(np.float64)), dtype)
    assert getattr(kernels, name)(np.ones((), dtype)).shape == ()
    assert getattr(kernels, name)(np.ones((2, 0, 3), dtype)).shape == (2, 0, 3)


def test_gelu_loses_little_even_where_it_vanishes():
    x = np.linspace(-12, 12, 100_001).astype(np.float32)
    want = FORWARD["gelu"](x.astype(np.float64))
    np.testing.assert_allclose(kernels.gelu(x), want, rtol=4e-7, atol=2e-7)
    tail = x[x < 0]
    exact = [
        float(v) * 0.5 * math.erfc(-float(v) / math.sqrt(2)) for v in tail
    ]  # 1 + erf has no digits left there
    np.testing.assert_allclose(kernels.gelu(tail), exact, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinities_nan_and_zeros(dtype):
    inf, nan = math.inf, math.nan
    x = np.array([-inf, -0.0, 0.0, inf, nan], dtype)
    wanted = {
        "exp": [0, 1, 1, inf, nan], "tanh": [-1, -0.0, 0, 1, nan], "sigmoid": [0, 0.5, 0.5, 1, nan],
        "erf": [-1, -0.0, 0, 1, nan], "relu": [0, 0, 0, inf, nan], "silu": [nan, -0.0, 0, inf, nan],
        "gelu": [nan, -0.0, 0, inf, nan], "gelu_tanh": [nan, -0.0, 0, inf, nan],
    }  # fmt: skip
    for name, values in wanted.items():
        got = getattr(kernels, name)(x)
        np.testing.assert_array_equal(got, np.array(values, dtype))
        np.testing.assert_array_equal(np.signbit(got[1:3]), np.signbit(np.array(values)[1:3]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["tanh", "sigmoid", "relu", "silu", "gelu", "gelu_tanh"])
def test_gradients_of_activations(name, dtype):
    backward, forward = getattr(kernels, f"{name}_backward"), FORWARD[name]
    for size in SIZES[:-1]:
        x, g = draw(size, seed=1).astype(dtype), draw(size, seed=2).astype(dtype)
        kept = forward(x.astype(np.float64)).astype(dtype) if name in FROM_OUTPUT else x
        want = derivative(forward, x.astype(np.float64), g=g)
        np.testing.assert_allclose(
            backward(g, kept), want, rtol=1e-5, atol=1e-5 if dtype == np.float32 else 1e-8
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_scaled_tanh(dtype):
    for size in SIZES:
        x, g = draw(size, dtype=dtype) * 3, draw(size, dtype=dtype, seed=1)
        y, up = 1.7159 * np.tanh(2 / 3 * x.astype(np.float64)), g.astype(np.float64)
        close(kernels.scaled_tanh(x, 1.7159, 2 / 3), y, dtype)
        got = kernels.scaled_tanh_backward(g, y.astype(dtype), 1.7159, 2 / 3)
        close(got, up * 2 / 3 * (1.7159 - y * y / 1.7159), dtype, scale=8)


# Rows

ROWS = [(0, 3), (1, 1), (3, 1), (2, 15), (3, 16), (2, 17), (5, 65), (70, 10), (2, 1000)]


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def log_softmax(x):
    z = x - x.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ROWS)
def test_softmax(shape, dtype):
    x, g = draw(*shape, dtype=dtype) * 4, draw(*shape, dtype=dtype, seed=1)
    wide, up = x.astype(np.float64), g.astype(np.float64)
    y, log_y = softmax(wide), log_softmax(wide)
    close(kernels.softmax(x), y, dtype)
    close(kernels.log_softmax(x), log_y, dtype, scale=10)
    want = y * (up - (up * y).sum(-1, keepdims=True))
    close(kernels.softmax_backward(g, y.astype(dtype)), want, dtype, scale=4)
    want = up - y * up.sum(-1, keepdims=True)
    close(kernels.log_softmax_backward(g, log_y.astype(dtype)), want, dtype, scale=100)


def test_softmax_of_what_is_not_finite():
    inf = np.float32(np.inf)
    x = np.array([[-inf, 0, 0], [np.nan, 0, 1], [-inf, -inf, -inf], [1e4, 0, -1e4]], np.float32)
    np.testing.assert_array_equal(kernels.softmax(x), [[0, 0.5, 0.5], [np.nan] * 3, [np.nan] * 3, [1, 0, 0]])
    np.testing.assert_array_equal(kernels.log_softmax(x)[3], [0, -1e4, -2e4])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [0, 0.1, 1])
@pytest.mark.parametrize("shape", ROWS)
def test_cross_entropy(shape, smoothing, dtype):
    x = draw(*shape, dtype=dtype) * 3
    target = np.random.default_rng(0).integers(0, shape[1], shape[0])
    target[::3] = -7
    share = np.full(shape, smoothing / shape[1])
    share[np.arange(shape[0]), target * (target >= 0)] += 1 - smoothing
    share[target < 0] = 0
    wide, g = x.astype(np.float64), draw(shape[0], dtype=dtype, seed=5)
    loss, stats = kernels.cross_entropy(x, target, -7, smoothing)
    close(loss, -(share * log_softmax(wide)).sum(-1), dtype, scale=10)
    got = kernels.cross_entropy_backward(g, stats, x, target, -7, smoothing)
    close(got, g[:, None] * (softmax(wide) * (target >= 0)[:, None] - share), dtype, scale=4)


def normalised(x, weight, bias, eps, centred):
    d = x - x.mean(-1, keepdims=True) if centred else x
    return d / np.sqrt((d * d).mean(-1, keepdims=True) + eps) * weight + bias


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 3), (3, 2, 17), (70, 5)])
@pytest.mark.parametrize("centred", [True, False])
def test_norms(centred, shape, dtype):
    x, g, weight, bias = (draw(*s, seed=i) for i, s in enumerate((shape, shape, shape[-1:], shape[-1:])))
    x = x + 1
    narrow = [a.astype(dtype) for a in (x, g, weight, bias)]
    if centred:
        y, mean, rstd = kernels.layer_norm(narrow[0], narrow[2], narrow[3], 1e-5)
        got = kernels.layer_norm_backward(narrow[1], narrow[0], mean, rstd, narrow[2])
    else:
        y, rstd = kernels.rms_norm(narrow[0], narrow[2], 1e-5)
        got = kernels.rms_norm_backward(narrow[1], narrow[0], rstd, narrow[2])
        bias = bias * 0
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == np.float32 else {"rtol": 1e-6, "atol": 1e-8}
    np.testing.assert_allclose(y, normalised(x, weight, bias, 1e-5, centred), **tolerance)
    for of, mine in zip((0, 1, 2), got):
        want = derivative(lambda *a: normalised(*a, 1e-5, centred), x, weight, bias, of=of, g=g)
        assert mine.dtype == dtype
        np.testing.assert_allclose(mine, want, **tolerance)


def test_norm_without_weight_is_the_one_with_ones():
    x, g, ones = draw(4, 19), draw(4, 19, seed=1), np.ones(19)
    y, mean, rstd = kernels.layer_norm(x, None, None)
    np.testing.assert_array_equal(y, kernels.layer_norm(x, ones, ones * 0)[0])
    for got, want in zip(
        kernels.layer_norm_backward(g, x, mean, rstd, None),
        kernels.layer_norm_backward(g, x, mean, rstd, ones),
    ):
        np.testing.assert_allclose(got, want, rtol=1e-14, atol=1e-15)
    np.testing.assert_array_equal(kernels.rms_norm(x, None)[0], kernels.rms_norm(x, ones)[0])


def test_sums_over_many_rows_stay_exact_in_float32():
    g = np.full((100_003, 1), 1.1, np.float32)
    x = np.zeros_like(g)
    _, mean, rstd = kernels.layer_norm(x, None, None)
    dbias = kernels.layer_norm_backward(g, x, mean, rstd, None)[2]
    np.testing.assert_allclose(dbias, g.astype(np.float64).sum(), rtol=1e-6)


# Which kernels, and what they refuse


def test_level_is_as_asked():
    asked = os.environ.get("RINGLEADER_CPU")
    if asked is None:
        assert kernels.cpu_level() in ("baseline", "avx2", "avx512")
    else:
        assert kernels.cpu_level() in (asked, "baseline")  # baseline where the processor has no more


def test_refusals():
    x = np.ones((2, 3), np.float32)
    for wrong, error, message in [
        (lambda: kernels.tanh(x.astype(int)), TypeError, "x must be float32 or float64, it is int64"),
        (lambda: kernels.tanh(x.astype(">f4")), TypeError, "x must be float32 or float64, it is >f4"),
        (lambda: kernels.tanh(x.T), ValueError, "x must be contiguous and aligned"),
        (lambda: kernels.tanh_backward(x, x.ravel()), ValueError, r"y must have shape \(2, 3\), it has \(6,\)"),
        (lambda: kernels.tanh_backward(x, x.astype(float)), TypeError, "y must be float32, it is float64"),
        (lambda: kernels.scaled_tanh(x, 0, 1), ValueError, "alpha must not be 0"),
        (lambda: kernels.softmax(np.ones((2, 0))), ValueError, "a last axis that is not empty"),
        (lambda: kernels.cross_entropy(x, np.array([0, 3])), ValueError, r"target 3 is not one of the 3 classes 0\.\.2"),
        (lambda: kernels.cross_entropy(x, np.array([-1, 0])), ValueError, "target -1"),
        (lambda: kernels.cross_entropy(x, np.array([0, 1]), -1, 2.0), ValueError, r"label_smoothing must be in \[0, 1\]"),
        (lambda: kernels.cross_entropy(x, np.array([0.0, 1.0])), TypeError, "target must be int64, it is float64"),
    ]:  # fmt: skip
        with pytest.raises(error, match=message):
            wrong()
    unaligned = np.frombuffer(bytes(13), np.uint8)[1:].view(np.float32)
    with pytest.raises(ValueError, match="aligned"):
        kernels.tanh(unaligned)
    x.flags.writeable = False
    with pytest.raises(ValueError, match="w must be writeable"):
        kernels.sgd(x, None, x, lr=1)


@pytest.mark.skipif("RINGLEADER_CPU" in os.environ, reason="this run is one of the levels")
@pytest.mark.parametrize("level", ["baseline", "avx2"])
def test_lower_levels(level):
    """This file and the one of the layers' kernels again, in a process that may use no more than `level`."""
    files = [
        __file__,
        *(
            __file__.replace("kernels", name)
            for name in ("kernels_of_layers", "kernels_products", "kernels_attention")
        ),
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files]
    done = subprocess.run(
        command, env=os.environ | {"RINGLEADER_CPU": level}, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
