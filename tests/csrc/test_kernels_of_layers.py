"""Kernels of optimisers, convolution, pooling and embedding, against plain numpy in float64.

test_kernels.py runs this file on every level of the processor.
"""

import numpy as np
import pytest

kernels = pytest.importorskip("ringleader.csrc.cpu._kernels", reason="the kernels are not built")

DTYPES = (np.float32, np.float64)


def draw(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def narrow(dtype, *arrays):
    return [a.astype(dtype) for a in arrays]


def close(got, want, dtype, scale=1.0):
    want = np.asarray(want)
    assert (got.dtype, got.shape) == (dtype, want.shape)
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(got, want, rtol=32 * eps, atol=32 * eps * scale)


def slopes(f, *inputs):
    """Gradient of the number f(*inputs) to each input, by central differences."""
    grads = []
    for x in inputs:
        grads.append(np.empty_like(x))
        for i in np.ndindex(x.shape):
            value = x[i]
            x[i] = value + 1e-5
            more = f(*inputs)
            x[i] = value - 1e-5
            grads[-1][i] = (more - f(*inputs)) / 2e-5
            x[i] = value
    return grads


@pytest.mark.parametrize("dtype", DTYPES)
def test_add_tanh(dtype):
    a, b = narrow(dtype, draw(3, 17), draw(3, 17, seed=1))
    close(kernels.add_tanh(a, b), np.tanh((a + b).astype(float)), dtype)


# Optimisers

COUNTS = (0, 1, 3, 17, 1000)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0, 0.9])
def test_sgd(momentum, nesterov, dtype):
    for count in COUNTS:
        w, g = draw(count), draw(count, seed=1)
        (mine,), velocity = narrow(dtype, w), np.zeros(count, dtype) if momentum else None
        speed = 0
        for step in range(3):
            slope = g * (step + 1) + 0.01 * w
            speed = slope if step == 0 else momentum * speed + 0.8 * slope
            w = w - 0.1 * (slope if not momentum else slope + momentum * speed if nesterov else speed)
            kernels.sgd(
                mine, velocity, (g * (step + 1)).astype(dtype), lr=0.1, momentum=momentum, dampening=0.2,
                weight_decay=0.01, nesterov=nesterov, first=step == 0,
            )  # fmt: skip
        close(mine, w, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("decoupled", [False, True])
def test_adam(decoupled, dtype):
    for count in COUNTS:
        w, g, m, v = draw(count), draw(count, seed=1), np.zeros(count), np.zeros(count)
        mine = narrow(dtype, w, m, v)
        for t in (1, 2, 3):
            slope = g * t
            if decoupled:
                w = w * (1 - 0.1 * 0.01)
            else:
                slope = slope + 0.01 * w
            m, v = 0.9 * m + 0.1 * slope, 0.99 * v + 0.01 * slope**2
            w = w - 0.1 / (1 - 0.9**t) * m / (np.sqrt(v / (1 - 0.99**t)) + 1e-3)
            kernels.adam(
                *mine, (g * t).astype(dtype), lr=0.1, beta1=0.9, beta2=0.99, eps=1e-3, weight_decay=0.01,
                bias1=1 - 0.9**t, bias2=1 - 0.99**t, decoupled=decoupled,
            )  # fmt: skip
        for got, want in zip(mine, (w, m, v)):
            close(got, want, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_adagrad(dtype):
    for count in COUNTS:
        w, g, total = draw(count), draw(count, seed=1), np.full(count, 0.1)
        mine = narrow(dtype, w, total)
        for t in (1, 2):
            slope = g * t + 0.01 * w
            total = total + slope**2
            w = w - 0.1 * slope / (np.sqrt(total) + 1e-3)
            kernels.adagrad(*mine, (g * t).astype(dtype), lr=0.1, eps=1e-3, weight_decay=0.01)
        for got, want in zip(mine, (w, total)):
            close(got, want, dtype)


# Images

CONVOLUTIONS = [  # x, outputs, kernel, padding
    ((2, 1, 32, 32), 6, (5, 5), (0, 0)), ((9, 6, 14, 14), 16, (5, 5), (0, 0)), ((3, 16, 5, 5), 7, (5, 5), (0, 0)),
    ((1, 1, 1, 1), 1, (1, 1), (0, 0)), ((0, 2, 4, 5), 3, (2, 3), (0, 0)), ((2, 3, 4, 5), 13, (2, 3), (1, 2)),
    ((17, 2, 9, 33), 5, (3, 1), (0, 1)), ((3, 2, 40, 50), 9, (3, 3), (1, 1)), ((1, 1, 5, 20), 4, (2, 13), (0, 2)),
    ((2, 2, 3, 3), 1, (3, 3), (2, 2)), ((1, 1, 2, 70), 2, (1, 7), (3, 0)),
]  # fmt: skip


def windows(x, kernel, padding):
    """(N, C, OH, OW, kh, kw), read-only."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    return np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(2, 3))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("x_shape", "outputs", "kernel", "padding"), CONVOLUTIONS)
def test_conv2d(x_shape, outputs, kernel, padding, dtype):
    x, w, b = draw(*x_shape), draw(outputs, x_shape[1], *kernel, seed=1), draw(outputs, seed=2)
    seen = windows(x, kernel, padding)
    y = np.einsum("nchwij,ocij->nohw", seen, w)
    scale = np.sqrt(w[0].size) * 4
    close(kernels.conv2d(*narrow(dtype, x, w, b), padding), y + b[:, None, None], dtype, scale)
    close(kernels.conv2d(*narrow(dtype, x, w), None, padding), y, dtype, scale)

    g = draw(*y.shape, seed=3)
    dw = np.einsum("nchwij,nohw->ocij", seen, g)
    got, shift = kernels.conv2d_backward_weight(*narrow(dtype, g, x), w.shape, padding)
    close(got, dw, dtype, 4 * np.sqrt(max(y[:, 0].size, 1)))
    close(shift, g.sum(axis=(0, 2, 3)), dtype, 4 * np.sqrt(max(y[:, 0].size, 1)))

    # The gradient of x is the convolution of g with the turned kernel, over zeros around g.
    around = [k - 1 for k in kernel]
    full = np.einsum("nohwij,ocij->nchw", windows(g, kernel, around), w[:, :, ::-1, ::-1])
    dx = full[:, :, padding[0] : padding[0] + x_shape[2], padding[1] : padding[1] + x_shape[3]]
    got = kernels.conv2d_backward_data(*narrow(dtype, g, w), x_shape, padding)
    close(got, dx, dtype, 4 * np.sqrt(w[:, 0].size))


def test_conv2d_keeps_pixels_apart():
    """One pixel that is not finite reaches the windows that it is in, and no others."""
    x = np.zeros((2, 2, 6, 7), np.float32)
    x[0, 1, 2, 6] = np.nan
    y = kernels.conv2d(x, np.ones((3, 2, 3, 3), np.float32), None)
    assert np.isnan(y[0, :, :3, 4]).all()
    assert np.isnan(y).sum() == 3 * 3


def test_conv2d_refuses():
    x, w = np.ones((1, 2, 3, 4)), np.ones((1, 2, 4, 1))
    with pytest.raises(ValueError, match=r"kernel \(1, 2, 4, 1\) does not fit into images \(1, 2, 3, 4\)"):
        kernels.conv2d(x, w, None)
    with pytest.raises(ValueError, match="conv2d: x must be"):
        kernels.conv2d(x[:, :1].copy(), w, None)
    with pytest.raises(ValueError, match=r"g must have shape \(1, 1, 2, 4\)"):
        kernels.conv2d_backward_data(x, w, x.shape, (1, 0))


POOLED = [
    (0, 1, 2, 2),
    (1, 2, 2, 2),
    (2, 1, 5, 7),
    (1, 3, 28, 28),
    (1, 1, 4, 65),
    (2, 1, 3, 34),
    (1, 1, 2, 31),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", POOLED)
def test_pooling(shape, dtype):
    x = draw(*shape).round(0).astype(dtype)  # with ties
    n, c, h, w = shape
    even = x[:, :, : h // 2 * 2, : w // 2 * 2]
    seen = (
        even.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h // 2, w // 2, 4)
    )
    g = draw(n, c, h // 2, w // 2, seed=1).astype(dtype)
    np.testing.assert_array_equal(kernels.avg_pool2x2(x), seen.mean(-1, dtype=dtype))
    y, winner = kernels.max_pool2x2(x)
    np.testing.assert_array_equal(y, seen.max(-1))
    np.testing.assert_array_equal(winner, seen.argmax(-1))
    assert winner.dtype == np.uint8
    averaged, largest = np.zeros_like(x), np.zeros_like(x)
    for at in np.ndindex(g.shape):
        top, left = 2 * at[2], 2 * at[3]
        averaged[at[0], at[1], top : top + 2, left : left + 2] = g[at] / 4
        first = seen[at].argmax()
        largest[at[0], at[1], top + first // 2, left + first % 2] = g[at]
    np.testing.assert_array_equal(kernels.avg_pool2x2_backward(g, shape), averaged)
    np.testing.assert_array_equal(kernels.max_pool2x2_backward(g, winner, shape), largest)


def test_max_pool_lets_nan_through():
    for place in range(4):
        x = np.array([[[[1, 2], [3, 0]]]], np.float32)
        x.ravel()[place] = np.nan
        y, winner = kernels.max_pool2x2(x)
        assert np.isnan(y).all()
        assert kernels.max_pool2x2_backward(np.ones_like(y), winner, x.shape).sum() == 1


def test_pooling_refuses():
    with pytest.raises(ValueError, match="smaller than a window"):
        kernels.avg_pool2x2(np.ones((1, 1, 1, 4)))
    with pytest.raises(ValueError, match=r"must be \(N, C, H, W\)"):
        kernels.max_pool2x2(np.ones((1, 4)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_embedding_backward(dtype):
    for rows, cols in ((0, 3), (1, 1), (50, 17)):
        g, index = draw(rows, cols).astype(dtype), np.random.default_rng(0).integers(0, 7, rows)
        want = np.zeros((7, cols), dtype)
        np.add.at(want, index, g)
        close(kernels.embedding_backward(g, index, 7), want, dtype)
    with pytest.raises(IndexError, match="index 7 is not one of the 7 entries"):
        kernels.embedding_backward(np.ones((1, 2)), np.array([7]), 7)
