"""The kernels of attention against the plain formula and its gradient, both in float64.

test_kernels.py runs this file on every level of the processor.
"""

import numpy as np
import pytest

kernels = pytest.importorskip("ringleader.csrc.cpu._kernels", reason="the kernels are not built")

# N, heads of the keys, query heads for each, queries, keys, their size, the values' size
SHAPES = [
    (1, 1, 1, 1, 1, 1, 1), (2, 2, 1, 5, 7, 3, 4), (1, 2, 3, 9, 8, 5, 1), (1, 1, 2, 65, 64, 32, 33), (2, 1, 1, 300, 300, 16, 16),
    (1, 1, 1, 300, 70, 33, 65), (1, 1, 2, 70, 300, 64, 128), (1, 1, 1, 130, 289, 256, 1), (1, 1, 1, 17, 33, 2, 257),
]  # fmt: skip


def draw(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def plain(q, k, v, g, scale, causal):
    """The output, the logarithms of the sums, and the gradients to q, k and v."""
    n, heads, queries, _ = q.shape
    groups = heads // k.shape[1]
    k, v = (np.repeat(a, groups, axis=1) for a in (k, v))
    scores = scale * q @ k.swapaxes(2, 3)
    if causal:
        scores[..., ~np.tri(queries, k.shape[2], dtype=bool)] = -np.inf
    log_sums = np.log(np.exp(scores).sum(-1))
    p = np.exp(scores - log_sums[..., None])
    out, dp = p @ v, g @ v.swapaxes(2, 3)
    ds = scale * p * (dp - (g * out).sum(-1, keepdims=True))
    dk, dv = ds.swapaxes(2, 3) @ q, p.swapaxes(2, 3) @ g
    dk, dv = (d.reshape(n, heads // groups, groups, *d.shape[2:]).sum(axis=2) for d in (dk, dv))
    return out, log_sums, ds @ k, dk, dv


def problem(shape):
    n, heads, groups, queries, keys, size, value_size = shape
    q, k, v = (n, heads * groups, queries, size), (n, heads, keys, size), (n, heads, keys, value_size)
    return [draw(*s, seed=i) for i, s in enumerate((q, k, v, (*q[:3], value_size)))]


def both(q, k, v, g, scale, causal):
    out, log_sums = kernels.attention(q, k, v, scale, causal)
    return out, log_sums, *kernels.attention_backward(g, q, k, v, out, log_sums, scale, causal)


def close(got, want, dtype):
    eps = float(np.finfo(dtype).eps)
    for mine, other in zip(got, want, strict=True):
        assert (mine.dtype, mine.shape) == (dtype, other.shape)
        np.testing.assert_allclose(mine, other, rtol=0, atol=200 * eps * max(1, np.abs(other).max()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_attention(shape, causal, dtype):
    q, k, v, g = (a.astype(dtype) for a in problem(shape))
    scale = 1 / np.sqrt(shape[5])
    close(
        both(q, k, v, g, scale, causal), plain(*(a.astype(float) for a in (q, k, v, g)), scale, causal), dtype
    )


@pytest.mark.parametrize("scale", [0.0, -0.5, 3.0])
def test_scale(scale):
    q, k, v, g = problem((1, 2, 1, 20, 30, 4, 5))
    close(both(q, k, v, g, scale, True), plain(q, k, v, g, scale, True), np.float64)


def test_strided_heads_come_back_as_they_lie():
    """Views as a layer makes them, with neighbours in memory; a head that all share; the results lie as the inputs do."""
    wide = draw(2, 9, 3, 4, 8)  # N, T, which, heads, size
    q, k, v = (wide[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    g = draw(2, 9, 4, 8, seed=1).transpose(0, 2, 1, 3)
    got = both(q, k, v, g, 0.5, True)
    close(got, both(*map(np.ascontiguousarray, (q, k, v, g)), 0.5, True), np.float64)
    for array in (got[0], *got[2:]):
        assert array.transpose(0, 2, 1, 3).flags.c_contiguous
    shared = np.broadcast_to(k[:, :1], k.shape)
    close(both(q, shared, v, g, 0.5, False), both(q, shared.copy(), v, g, 0.5, False), np.float64)
    backwards = q[:, :, ::-1]
    close(both(backwards, k, v, g, 0.5, True), both(backwards.copy(), k, v, g, 0.5, True), np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_not_finite_stays_in_its_row(dtype):
    q, k, v, g = (a.astype(dtype) for a in problem((1, 1, 1, 20, 20, 4, 3)))
    q[0, 0, 5, 1] = np.nan
    out, log_sums = kernels.attention(q, k, v, 1.0)
    lost = np.isnan(out).any(-1)[0, 0]
    assert lost[5] and lost.sum() == 1 and np.isnan(log_sums[0, 0, 5])
    k[...], q[...] = 1, 0
    q[0, 0, 7] = -np.inf  # all its scores are -inf
    out, log_sums = kernels.attention(q, k, v, 1.0)
    np.testing.assert_array_equal(out[0, 0, 7], 0)
    dq, _, dv = kernels.attention_backward(g, q, k, v, out, log_sums, 1.0)
    np.testing.assert_array_equal(dq[0, 0, 7], 0)
    assert np.isfinite(dq).all() and np.isfinite(dv).all()


def test_large_scores_do_not_overflow():
    x = np.array([[300.0], [-300.0]], np.float32)[None, None]
    out, log_sums = kernels.attention(x, x, x, 1.0)
    np.testing.assert_array_equal(out, x)
    np.testing.assert_array_equal(log_sums, [[[9e4, 9e4]]])


def test_refusals():
    q, k, v, g = problem((1, 2, 2, 3, 5, 4, 6))
    out, log_sums = kernels.attention(q, k, v, 1.0)
    for wrong, error, message in [
        (lambda: kernels.attention(q[0], k, v, 1.0), ValueError, "q must have 4 axes"),
        (lambda: kernels.attention(q, k[:, :, :0], v[:, :, :0], 1.0), ValueError, "k must not be empty"),
        (lambda: kernels.attention(q[:, :3], k, v, 1.0), ValueError, "q has 3 heads, no multiple of the 2 of k"),
        (lambda: kernels.attention(q, k[..., :3], v, 1.0), ValueError, r"k must have shape \(1, 2, 5, 4\)"),
        (lambda: kernels.attention(q, k, v[:, :, :4], 1.0), ValueError, r"v must have shape \(1, 2, 5, 6\)"),
        (lambda: kernels.attention(q[..., ::2], k[..., :2], v, 1.0), ValueError, "q must be aligned, and contiguous along"),
        (lambda: kernels.attention(q, k.astype(np.float32), v, 1.0), TypeError, "k must be float64, it is float32"),
        (lambda: kernels.attention_backward(g, q, k, v, out[:, :2], log_sums, 1.0), ValueError, "out must have shape"),
        (lambda: kernels.attention_backward(g, q, k, v, out, log_sums[0], 1.0), ValueError, "log_sums must have shape"),
    ]:  # fmt: skip
        with pytest.raises(error, match=message):
            wrong()
