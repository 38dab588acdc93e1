"""Activation kernels on the emulator: every row of the table and version against long double, and against the numpy ops."""

from math import erf, pi, sqrt

import numpy as np
import pytest
from helpers.kernel_cases import DTYPES, at_multiple, compute, draw, exact, fitting, roundoff, slope, within
from ringleader.csrc.cuda import activation as kernels
from ringleader.csrc.cuda.elements import elements_shape
from ringleader.runtime.autograd.ops import activation as ops

NUMPY = {"relu": ops.ReLU, "tanh": ops.Tanh, "sigmoid": ops.Sigmoid, "silu": ops.SiLU, "gelu": ops.GELU,
         "gelu_tanh": lambda: ops.GELU("tanh")}  # fmt: skip
COUNTS = (1, 3, 31, 32, 33, 127, 1000, 4097)


def of(name, x):
    """f(x) and f'(x) in long double."""
    gate = 1 / (1 + np.exp(-x))
    if name == "relu":
        return np.maximum(x, 0), (x > 0) * np.longdouble(1)
    if name == "tanh":
        return np.tanh(x), 1 - np.tanh(x) ** 2
    if name == "sigmoid":
        return gate, gate * (1 - gate)
    if name == "silu":
        return x * gate, gate * (1 + x * (1 - gate))
    if name == "gelu":
        phi = 0.5 + 0.5 * np.array([erf(value) for value in (x * sqrt(0.5)).astype(float)], np.longdouble)
        return x * phi, phi + x * np.exp(-x * x / 2) / np.sqrt(2 * np.longdouble(pi))
    root = np.sqrt(2 / np.longdouble(pi))
    t = np.tanh(root * (x + 0.044715 * x**3))
    return x * (1 + t) / 2, (1 + t) / 2 + x * (1 - t * t) / 2 * root * (1 + 3 * 0.044715 * x * x)


def versions(device, operator, x):
    return list(fitting(device, operator, x.dtype, **elements_shape(x.size, x)))


@pytest.mark.parametrize("name", NUMPY)
@pytest.mark.parametrize("dtype", DTYPES)
def test_forward_and_backward(device, dtype, name):
    for count in COUNTS:
        x, g = draw(dtype, count, scale=2), draw(dtype, count, seed=1)
        u, size = roundoff(compute(x.dtype)), np.abs(exact(x))
        y, slopes = of(name, exact(x))
        kept = x
        if kernels.ACTIVATIONS[name][1] == "y":  # what the kernel gets is rounded: the slope of that
            kept = y.astype(np.float64).astype(x.dtype)
            rounded = exact(kept)
            slopes = {"relu": rounded > 0, "tanh": 1 - rounded**2, "sigmoid": rounded * (1 - rounded)}[name]
        # phi and the logistic function have some absolute roundoffs, by which x is multiplied; so has the tanh in
        # gelu_tanh, whose slope has a factor 1 + 0.134 x^2 before it
        relative = 8 + 8 * size * (1 + 0.134 * size**2)
        for version in versions(device, "activation_forward", x):
            within(
                kernels.activation(device, name, x, version),
                y,
                u * (8 * np.abs(y) + 6 * size * (name[:4] == "gelu")),
            )
            dx = kernels.activation_backward(device, name, g, kept, version)
            within(dx, exact(g) * slopes, u * np.abs(exact(g)) * relative)


@pytest.mark.parametrize("name", NUMPY)
def test_is_the_op_in_numpy(device, name):
    x, g = draw("float64", 1000, scale=2), draw("float64", 1000, seed=1)
    op = NUMPY[name]()
    y = op.forward(x)
    np.testing.assert_allclose(kernels.activation(device, name, x), y, rtol=1e-13, atol=1e-15)
    kept = y if kernels.ACTIVATIONS[name][1] == "y" else x
    np.testing.assert_allclose(
        kernels.activation_backward(device, name, g, kept), op.backward(g), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("name", NUMPY)
def test_the_gradient_is_the_forward_passes(device, name):
    x, g = draw("float64", 9), draw("float64", 9, seed=1)
    kept = x if kernels.ACTIVATIONS[name][1] == "x" else kernels.activation(device, name, x)
    want = slope(lambda x: (kernels.activation(device, name, x) * g).sum(), x)
    np.testing.assert_allclose(kernels.activation_backward(device, name, g, kept), want, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", NUMPY)
def test_extremes(device, name):
    x = np.array([np.nan, np.inf, 200, -200, 0, -0.0], np.float32)
    with np.errstate(all="ignore"):
        want = NUMPY[name]().forward(x)
    np.testing.assert_allclose(kernels.activation(device, name, x), want, rtol=1e-6, atol=1e-37)


def test_arrays_that_begin_anywhere(device):
    """Equally far behind a multiple of 16 bytes, the elements before the next one are taken singly; else by the clear one."""
    x, g = draw("float16", 100), draw("float16", 100, seed=1)
    want = kernels.activation_backward(device, "silu", g, x, version="clear")
    for behind in ((3, 3), (0, 1), (2, 7)):
        got = kernels.activation_backward(
            device, "silu", at_multiple(g, behind[0]), at_multiple(x, behind[1])
        )
        np.testing.assert_array_equal(got, want)
    # the kernel itself: dx begins where it is allocated, so in place to have all three alike
    for count in (2, 5, 100):
        x = at_multiple(draw("float16", count), behind=3)
        want = kernels.activation(device, "relu", x, version="clear")
        args = [x, x, np.int64(count)]
        device.launch("activation.cu", "activation_forward_packs<__half, Relu>", 2, 256, args)
        np.testing.assert_array_equal(x, want)


def test_no_elements(device):
    x = np.empty((0, 3), np.float32)
    assert kernels.activation(device, "gelu", x).shape == x.shape
    assert kernels.activation_backward(device, "gelu", x, x).shape == x.shape


def test_refuses(device):
    x = draw("float32", 4, 6)
    with pytest.raises(
        ValueError, match="unknown activation 'mish'; known: relu, tanh, sigmoid, silu, gelu, gelu_tanh"
    ):
        kernels.activation(device, "mish", x)
    with pytest.raises(ValueError, match="unknown activation 'mish'"):
        kernels.activation_backward(device, "mish", x, x)
    with pytest.raises(TypeError, match="relu: x is int64"):
        kernels.activation(device, "relu", x.astype(int))
    with pytest.raises(ValueError, match="tanh: y must be C-contiguous"):
        kernels.activation_backward(device, "tanh", x, x.T)
    with pytest.raises(ValueError, match=r"silu: g has shape \(6,\), the input \(4, 6\)"):
        kernels.activation_backward(device, "silu", x[0], x)
    with pytest.raises(TypeError, match="silu: g is float64, the input float32"):
        kernels.activation_backward(device, "silu", x.astype(float), x)
