"""Cross-entropy kernels on the emulator: every version that fits against long double, and against the op in numpy."""

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
from ringleader.csrc.cuda import cross_entropy as kernels
from ringleader.csrc.cuda.rows import shape_of
from ringleader.runtime.autograd.ops.loss import CrossEntropy

IGNORED = -100
CASES = [("float64", n) for n in LENGTHS] + [
    (dtype, n) for dtype in DTYPES if dtype != "float64" for n in (32, 1000, 33)
]
OPTIONS = [(False, 0.0), (False, 0.1), (True, 0.0), (True, 0.3)]  # weights given, smoothing


class Reference:
    """In long double. statistics: maximum and log sum exp(x - maximum); on: the weight of log p at the target."""

    def __init__(self, x, target, weight, smoothing):
        n = x.shape[1]
        # as the kernels get it: e / C in the type of their arithmetic would be one more rounding, which the bounds have
        weights = np.ones(n, np.longdouble) if weight is None else exact(weight)
        self.counts = (target != IGNORED)[:, None]
        label = np.where(self.counts[:, 0], target, 0)
        self.hit = (np.arange(n) == label[:, None]) & self.counts
        self.m = exact(x).max(-1, keepdims=True)
        self.below = exact(x) - self.m
        self.log_total = np.log(np.exp(self.below).sum(-1, keepdims=True))
        self.smooth = weights * np.longdouble(smoothing) / n
        self.on = self.counts * (1 - np.longdouble(smoothing)) * weights[label][:, None]
        self.total = self.on + self.smooth.sum() * self.counts
        self.at_label = np.take_along_axis(self.below, label[:, None], 1)
        losses = self.on * (self.log_total - self.at_label)
        losses = losses + self.counts * (
            self.smooth.sum() * self.log_total - (self.smooth * self.below).sum(-1, keepdims=True)
        )
        self.losses = losses[:, 0]
        self.p = np.exp(self.below - self.log_total)
        self.statistics = np.concatenate([self.m, self.log_total], 1)

    def gradient(self, g):
        return exact(g)[:, None] * (self.p * self.total - self.counts * self.smooth - self.hit * self.on)


def inputs(dtype, n, weighted):
    x, target = draw(dtype, 5, n, scale=2), np.random.default_rng(n).integers(0, n, 5)
    target[1] = IGNORED
    weight = np.abs(draw(compute(x.dtype).name, n, seed=1)) if weighted else None
    return x, target, weight


def versions(device, operator, x):
    return list(fitting(device, operator, x.dtype, **shape_of(*x.shape, x)))


@pytest.mark.parametrize(("weighted", "smoothing"), OPTIONS)
@pytest.mark.parametrize(("dtype", "n"), CASES)
def test_forward(device, dtype, n, weighted, smoothing):
    x, target, weight = inputs(dtype, n, weighted)
    want, u, s = Reference(x, target, weight, smoothing), roundoff(compute(x.dtype)), summing(n)
    log_bound = u * (s + 6 + np.abs(want.log_total))
    spread = (want.smooth * (np.abs(want.below) + 2 * np.abs(want.m))).sum(-1, keepdims=True)
    bound = (
        want.total * (log_bound + u * (s + 8) * (np.abs(want.at_label) + want.log_total))
        + u * (s + 8) * spread
    )
    for version in versions(device, "cross_entropy_forward", x):
        losses, statistics = kernels.cross_entropy(device, x, target, weight, IGNORED, smoothing, version)
        within(losses, want.losses, bound[:, 0])
        within(statistics, want.statistics, np.concatenate([0 * log_bound, log_bound], 1))
        assert losses[1] == 0


@pytest.mark.parametrize(("weighted", "smoothing"), OPTIONS)
@pytest.mark.parametrize(("dtype", "n"), CASES)
def test_backward(device, dtype, n, weighted, smoothing):
    x, target, weight = inputs(dtype, n, weighted)
    g = draw(compute(x.dtype).name, 5, seed=2)
    want, u = Reference(x, target, weight, smoothing), roundoff(compute(x.dtype))
    statistics = want.statistics.astype(g.dtype)
    # the exponent and log_total are rounded, the sum of the weights has a roundoff for each
    relative = 2 * np.abs(want.below) + 3 * np.abs(want.log_total) + 10 + (summing(n) if weighted else 0)
    parts = want.p * want.total * relative + 6 * want.smooth + 6 * want.hit * want.on
    for version in versions(device, "cross_entropy_backward", x):
        dx = kernels.cross_entropy_backward(
            device, g, x, statistics, target, weight, IGNORED, smoothing, version
        )
        within(dx, want.gradient(g), u * np.abs(exact(g))[:, None] * parts)
        assert (dx[1] == 0).all()


@pytest.mark.parametrize(("weighted", "smoothing"), OPTIONS)
def test_the_gradient_is_the_losses(device, weighted, smoothing):
    x, target, weight = inputs("float64", 6, weighted)
    g = draw("float64", 5, seed=2)
    options = target, weight, IGNORED, smoothing
    got = kernels.cross_entropy_backward(
        device, g, x, kernels.cross_entropy(device, x, *options)[1], *options
    )
    want = slope(lambda x: (kernels.cross_entropy(device, x, *options)[0] * g).sum(), x)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("weighted", "smoothing"), OPTIONS)
def test_is_the_op_in_numpy(device, weighted, smoothing):
    """With each loss's share in the mean as its gradient."""
    x, target, weight = inputs("float64", 10, weighted)
    op = CrossEntropy(target, weight, IGNORED, "none", smoothing)
    op.shape(x.shape)
    losses, statistics = kernels.cross_entropy(device, x, target, weight, IGNORED, smoothing)
    np.testing.assert_allclose(losses, op.forward(x), rtol=1e-14, atol=1e-14)
    g = draw("float64", 5, seed=2)
    dx = kernels.cross_entropy_backward(device, g, x, statistics, target, weight, IGNORED, smoothing)
    np.testing.assert_allclose(dx, op.backward(g), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("n", [32, 33])
def test_special_rows(device, n):
    """A class of -inf has no probability and, as target, an infinite loss; NaN, and a target that is no class, make NaN."""
    x = draw("float32", 6, n)
    x[0, 3], x[1, 3], x[2, 5] = -np.inf, -np.inf, np.nan
    target = np.array([3, 4, 0, n, -1, IGNORED])
    x[5] = np.nan  # ignored
    for version in versions(device, "cross_entropy_forward", x):
        losses, statistics = kernels.cross_entropy(device, x, target, version=version)
        assert losses[0] == np.inf
        assert np.isfinite(losses[1])
        assert np.isnan(losses[2:5]).all()
        assert losses[5] == 0
        dx = kernels.cross_entropy_backward(
            device, np.ones(6, np.float32), x, statistics, target, version=version
        )
        assert dx[1, 3] == 0
        assert np.isnan(dx[2:5]).all()
        assert (dx[5] == 0).all()


def test_no_rows_and_unaligned_rows(device):
    losses, statistics = kernels.cross_entropy(device, np.empty((0, 4), np.float16), np.empty(0, np.int64))
    assert (losses.shape, losses.dtype, statistics.shape) == ((0,), np.float32, (0, 2))
    dx = kernels.cross_entropy_backward(
        device, losses, np.empty((0, 4), np.float16), statistics, np.empty(0, np.int64)
    )
    assert (dx.shape, dx.dtype) == ((0, 4), np.float16)
    x, target, _ = inputs("float32", 32, weighted=False)
    got = kernels.cross_entropy(device, at_multiple(x, behind=1), target)
    np.testing.assert_array_equal(got[0], kernels.cross_entropy(device, x, target, version="clear")[0])


def test_refuses(device):
    x, target, weight = inputs("float16", 8, weighted=True)
    loss, statistics = kernels.cross_entropy(device, x, target, weight)

    def backward(g=loss, statistics=statistics):
        kernels.cross_entropy_backward(device, g, x, statistics, target, weight)

    for error, match, call in [
        (ValueError, r"x must be \(rows, columns\)", lambda: kernels.cross_entropy(device, x[0], target)),
        (ValueError, "x has no classes", lambda: kernels.cross_entropy(device, x[:, :0].copy(), target)),
        (ValueError, "x must be C-contiguous", lambda: kernels.cross_entropy(device, x[:, ::2], target)),
        (TypeError, "x is int64; it must be", lambda: kernels.cross_entropy(device, x.astype(int), target)),
        (TypeError, "target must be int64, not int32", lambda: kernels.cross_entropy(device, x, target.astype(np.int32))),
        (ValueError, r"target must be \(5,\)", lambda: kernels.cross_entropy(device, x, target[1:])),
        (ValueError, "target must be C-contiguous", lambda: kernels.cross_entropy(device, x, target.repeat(2)[::2])),
        (TypeError, "weight must be float32, not float16", lambda: kernels.cross_entropy(device, x, target, x[0])),
        (ValueError, r"weight must be \(8,\)", lambda: kernels.cross_entropy(device, x, target, weight[1:])),
        (ValueError, "label_smoothing must be in 0..1, it is 2", lambda: kernels.cross_entropy(
            device, x, target, label_smoothing=2)),
        (TypeError, "g must be float32, not float64", lambda: backward(g=loss.astype(float))),
        (ValueError, r"g must be \(5,\)", lambda: backward(g=loss[1:])),
        (ValueError, r"statistics must be \(5, 2\)", lambda: backward(statistics=statistics[:, :1])),
    ]:  # fmt: skip
        with pytest.raises(error, match=match):
            call()
