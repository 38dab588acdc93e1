"""Native ops along rows, and attention: the same as the numpy ops that they stand for, and those where kernels cannot."""

import numpy as np
import pytest
from ringleader.runtime.autograd import OPS, native
from ringleader.runtime.autograd.op import ShapeError
from ringleader.runtime.autograd.ops import (
    attention,
    embedding,
    loss,
    native_activation,
    native_attention,
    normalization,
    softmax,
)
from ringleader.runtime.autograd.ops import native_rows as by_kernel
from ringleader.runtime.autograd.ops.activation import GELU

pytestmark = pytest.mark.skipif(native.KERNELS is None, reason="the kernels are not built, or turned off")

rng = np.random.default_rng(0)
NATIVE = {
    "softmax": (by_kernel.NativeSoftmax, softmax.Softmax),
    "log_softmax": (by_kernel.NativeLogSoftmax, softmax.LogSoftmax),
    "layer_norm": (by_kernel.NativeLayerNorm, normalization.LayerNorm),
    "rms_norm": (by_kernel.NativeRMSNorm, normalization.RMSNorm),
    "cross_entropy": (by_kernel.NativeCrossEntropy, loss.CrossEntropy),
    "embedding": (by_kernel.NativeEmbedding, embedding.Embedding),
    "gelu": (native_activation.NativeGELU, GELU),
    "scaled_dot_product_attention": (native_attention.NativeAttention, attention.Attention),
}


def normal(*shape):
    return np.asarray(rng.standard_normal(shape))


def target(*shape, classes, ignored=-100):
    labels = rng.integers(0, classes, shape)
    return np.where(rng.random(shape) < 0.3, ignored, labels)


# Name, options, inputs: what kernels take.
TAKEN = [
    *((name, {"dim": -1}, [normal(*s)]) for name in ("softmax", "log_softmax") for s in ((1,), (3, 17), (2, 3, 65))),
    ("softmax", {"dim": 1}, [normal(4, 5)]),
    *(
        (name, {"normalized_shape": s[-axes:], "eps": 1e-5}, [normal(*s), *(normal(*s[-axes:]) for _ in range(count))])
        for name, most in (("layer_norm", 2), ("rms_norm", 1))
        for s, axes in (((5,), 1), ((3, 17), 1), ((2, 3, 64), 1), ((2, 3, 7), 2), ((40, 3), 1))
        for count in range(most + 1)
    ),
    *(
        ("cross_entropy", {"target": target(n, classes=c), "reduction": how, "label_smoothing": smoothing}, [normal(n, c)])
        for n, c in ((1, 1), (7, 5), (33, 65))
        for how in ("mean", "sum", "none")
        for smoothing in (0.0, 0.1, 1.0)
    ),
    ("cross_entropy", {"target": target(9, classes=4, ignored=2).astype(np.uint8), "ignore_index": 2}, [normal(9, 4)]),
    ("cross_entropy", {"target": np.full(3, -100)}, [normal(3, 4)]),
    *(("embedding", {"indices": rng.integers(0, 5, s), "padding_idx": p}, [normal(5, 17)])
      for s in ((), (40,), (2, 3), (0,)) for p in (None, 2, -1)),
    ("embedding", {"indices": rng.integers(0, 5, (4, 6)).astype(np.int32)[:, ::2]}, [normal(5, 3)]),
    *(("gelu", {"approximate": how}, [3 * normal(*s)]) for how in ("none", "tanh") for s in ((), (0, 3), (7, 5), (3, 64))),
    *(
        ("scaled_dot_product_attention", {"scale": 0.3, "groups": groups, "is_causal": causal},
         [normal(*lead, groups * heads, queries, size), normal(*lead, heads, keys, size), normal(*lead, heads, keys, values)])
        for lead, heads, groups, queries, keys, size, values in (
            ((), 1, 1, 1, 1, 1, 1), ((2,), 2, 2, 5, 9, 3, 4), ((2,), 1, 3, 70, 150, 33, 5), ((), 2, 1, 300, 300, 128, 64),
        )
        for causal in (False, True)
    ),
    ("scaled_dot_product_attention", {"scale": 1.0}, [normal(3, 2), normal(4, 2), normal(4, 3)]),
    ("scaled_dot_product_attention", {"scale": 1.0}, [normal(2, 1, 3, 2), normal(3, 4, 2), normal(4, 1)]),
]  # fmt: skip

# What they do not take.
LEFT = [
    ("softmax", {"dim": 0}, [normal(3, 4)]),
    ("softmax", {"dim": -1}, [normal(3, 0)]),
    ("log_softmax", {"dim": -1}, [normal(4, 3).T]),
    ("layer_norm", {"normalized_shape": (4,), "eps": 1e-5}, [normal(4, 3).T, normal(8)[::2]]),
    ("rms_norm", {"normalized_shape": (4,), "eps": 1e-5}, [normal(3, 4), normal(4), normal(4)]),
    ("rms_norm", {"normalized_shape": (4,), "eps": 1e-5}, [normal(0, 4), normal(4)]),
    ("cross_entropy", {"target": target(3, classes=4), "weight": np.abs(normal(4))}, [normal(3, 4)]),
    ("cross_entropy", {"target": target(3, 2, classes=4)}, [normal(3, 4, 2)]),
    ("cross_entropy", {"target": np.array(1)}, [normal(4)]),
    ("gelu", {}, [normal(4, 6)[:, ::2]]),
    ("scaled_dot_product_attention", {"scale": 1.0, "allowed": rng.random(4) > 0.3}, [normal(3, 2), normal(4, 2), normal(4, 3)]),
    ("scaled_dot_product_attention", {"scale": 1.0}, [normal(3, 2), normal(4, 2), normal(4, 3), normal(3, 4)]),
    ("scaled_dot_product_attention", {"scale": 1.0, "dropout_p": 0.5}, [normal(3, 2), normal(4, 2), normal(4, 3)]),
    ("scaled_dot_product_attention", {"scale": 1.0}, [normal(3, 0), normal(4, 0), normal(4, 3)]),
    ("scaled_dot_product_attention", {"scale": 1.0}, [normal(1, 1, 2, 3, 2), normal(1, 1, 2, 4, 2), normal(1, 1, 2, 4, 3)]),
]  # fmt: skip


def run(function, options, arrays, g=None, needs=True):
    """Output and gradients."""
    node = function(**options)
    node.needs, node.input_shapes = (needs,) * len(arrays), [a.shape for a in arrays]
    node.shape(*node.input_shapes)
    y = np.asarray(node.forward(*arrays))
    if g is None:
        g = np.asarray(np.random.default_rng(1).standard_normal(y.shape), y.dtype)
    grads = node.backward(g)
    return y, *(grads if isinstance(grads, tuple) else (grads,))


def close(got, want, dtype, rounded=64):
    assert len(got) == len(want)
    for mine, other in zip(got, want):
        assert (mine.dtype, mine.shape) == (dtype, np.shape(other))
        atol = rounded * np.finfo(dtype).eps * max(1, np.abs(other[np.isfinite(other)]).max(initial=0))
        np.testing.assert_allclose(mine, other, rtol=0, atol=atol)


def test_they_stand_in_the_table():
    for name, (ours, _) in NATIVE.items():
        assert OPS[name]["cpu"] is ours


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", TAKEN, ids=lambda case: f"{case[0]}-{[a.shape for a in case[2]]}")
def test_native_equals_numpy(case, dtype, monkeypatch):
    name, options, arrays = case
    arrays = [np.asarray(a, dtype) for a in arrays]
    ours, numpys = NATIVE[name]
    wanted = run(numpys, options, arrays)
    monkeypatch.setattr(
        numpys, "sum_rows" if name == "embedding" else "forward", None
    )  # nothing goes to numpy
    got = run(ours, options, arrays)
    close(got, wanted, dtype)
    if got[0].ndim > 1:  # a gradient that is not contiguous
        g = np.asarray(np.random.default_rng(1).standard_normal(got[0].shape), dtype)
        strided = np.empty((*g.shape[:-1], 2 * g.shape[-1]), dtype)[..., ::2]
        strided[...] = g
        monkeypatch.undo()
        close(run(ours, options, arrays, strided), wanted, dtype)


@pytest.mark.parametrize("case", LEFT, ids=lambda case: f"{case[0]}-{[a.shape for a in case[2]]}")
def test_what_kernels_do_not_take_goes_to_numpy(case):
    name, options, arrays = case
    ours, numpys = NATIVE[name]
    for got, want in zip(run(ours, options, arrays), run(numpys, options, arrays), strict=True):
        np.testing.assert_array_equal(got, want)


def test_wrong_shapes_are_still_refused():
    with pytest.raises(ShapeError, match="scaled_dot_product_attention"):
        run(native_attention.NativeAttention, {"scale": 1.0}, [normal(3, 2), normal(4, 3), normal(4, 3)])


def test_heads_are_put_together_without_a_copy():
    """Transposed views of (N, T, heads, size) go in; output and gradients lie as they do."""
    q, k, v = (normal(2, 6, 3, 4).transpose(0, 2, 1, 3) for _ in range(3))
    assert not q.flags.c_contiguous
    for array in run(native_attention.NativeAttention, {"scale": 0.5, "is_causal": True}, [q, k, v]):
        assert array.transpose(0, 2, 1, 3).flags.c_contiguous


def test_nothing_is_kept_of_attention_where_no_gradient_is_wanted():
    node = native_attention.NativeAttention(scale=1.0)
    q = normal(2, 3)
    node.shape(*[q.shape] * 3)
    node.needs = (False,) * 3
    node.forward(q, q, q)
    assert not hasattr(node, "out")
