"""Matrix products and recurrent layers by native kernels, against numpy; test_kernels.py runs this file on every level.

Products are of small integers, so that they are exact in whatever order they are summed.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from ringleader.runtime.autograd import native
from ringleader.runtime.autograd.ops import native_recurrent
from ringleader.runtime.autograd.ops.recurrent import GRU, LSTM
from threadpoolctl import threadpool_limits

kernels = pytest.importorskip("ringleader.csrc.cpu._kernels", reason="the kernels are not built")

DTYPES = (np.float32, np.float64)
# around the sizes of tiles (8 or 4 rows, 3 vectors), of parts of k (320, then about 208) and of blocks (192 rows, 512)
SIZES = [(0, 3, 4), (3, 0, 4), (3, 4, 0), (1, 1, 1), (7, 5, 3), (9, 321, 50), (193, 640, 97), (17, 64, 529)]
LAYOUTS = {
    "C": lambda a: a,
    "Fortran": np.asfortranarray,
    "every other row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "every third column": lambda a: np.repeat(a, 3, axis=1)[:, ::3],
    "backwards": lambda a: a[::-1].copy()[::-1],
}


def draw(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng([seed, *shape]).integers(-9, 10, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("right", LAYOUTS)
def test_products_of_any_layout_are_exact(left, right, dtype):
    for m, k, n in SIZES:
        a, b = draw(m, k, dtype=dtype), draw(k, n, dtype=dtype, seed=1)
        got = kernels.matmul(LAYOUTS[left](a), LAYOUTS[right](b))
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, a @ b, err_msg=str((m, k, n)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_add_a_bias_or_a_matrix_which_may_be_the_result(dtype):
    for m, k, n in SIZES:
        a, b, bias = draw(m, k, dtype=dtype), draw(k, n, dtype=dtype), draw(n, dtype=dtype)
        c = draw(m, n, dtype=dtype, seed=2)
        want = a @ b + c
        np.testing.assert_array_equal(kernels.matmul(a, b, add=bias), a @ b + bias)
        np.testing.assert_array_equal(kernels.matmul(a, b, add=c), want)
        assert kernels.matmul(a, b, out=c, add=c) is c
        np.testing.assert_array_equal(c, want)


def test_products_refuse_what_does_not_fit():
    a, b = np.zeros((2, 3)), np.zeros((3, 4))
    read_only = np.zeros((2, 4))
    read_only.flags.writeable = False
    for call, error, text in [
        (lambda: kernels.matmul(a, a), ValueError, r"\(2, 3\) and \(2, 3\) do not fit"),
        (lambda: kernels.matmul(a[0], b), ValueError, r"a must be an aligned matrix, it has shape \(3,\)"),
        (lambda: kernels.matmul(a, b.astype("f")), TypeError, "b must be float64, it is float32"),
        (lambda: kernels.matmul(a.astype(int), b), TypeError, "a must be float32 or float64, it is int64"),
        (lambda: kernels.matmul(a, b, out=np.zeros((2, 8))[:, ::2]), ValueError, "out must be contiguous"),
        (lambda: kernels.matmul(a, b, out=read_only), ValueError, "out must be writeable"),
        (lambda: kernels.matmul(a, b, add=np.zeros(3)), ValueError, r"add must have shape \(4,\)"),
        (lambda: kernels.matmul(a, b, add=np.zeros((4, 2))), ValueError, r"add must have shape \(2, 4\)"),
    ]:
        with pytest.raises(error, match=text):
            call()


# Recurrent layers: the op with the kernel beside the numpy op, whose gradients tests/runtime/autograd checks

LAYERS = {LSTM: native_recurrent.NativeLSTM, GRU: native_recurrent.NativeGRU}
needs_kernels = pytest.mark.skipif(native.KERNELS is None, reason="the kernels are turned off")


def inputs_of(layer, t, n, width, hidden, dtype, biases=True):
    rng, gates = np.random.default_rng([t, n, width, hidden]), layer.gate_count * hidden
    shapes = [(t, n, width), *[(n, hidden)] * layer.state_count, (gates, width), (gates, hidden)]
    scale = (
        [1.0] * (len(shapes) - 1) + [hidden**-0.5] + [1.0] * 2 * biases
    )  # so that rounding errors do not grow
    drawn = [rng.standard_normal(shape) for shape in shapes + [(gates,)] * 2 * biases]
    return [(array * by).astype(dtype) for array, by in zip(drawn, scale)]


def run(op, arrays, g):
    op.needs = (True,) * len(arrays)
    return [op.forward(*arrays), *op.backward(g)]


def assert_same(layer, arrays, **options):
    dtype = arrays[0].dtype
    t, n, _ = arrays[0].shape
    hidden = arrays[1].shape[1]
    g = np.random.default_rng(0).standard_normal((t + layer.state_count, n, hidden)).astype(dtype)
    before = [a.copy() for a in (*arrays, g)]
    got, want = run(LAYERS[layer](**options), arrays, g), run(layer(**options), arrays, g)
    for i, (mine, numpys) in enumerate(zip(got, want)):
        assert (mine.dtype, mine.shape) == (dtype, numpys.shape)
        close = (2e-5, 2e-5) if dtype == np.float32 else (1e-12, 1e-12)
        scale = max(1, np.abs(numpys).max(initial=0))
        np.testing.assert_allclose(mine, numpys, rtol=close[0], atol=close[1] * scale, err_msg=str(i))
    for a, b in zip((*arrays, g), before):
        np.testing.assert_array_equal(a, b)  # inputs are left as they were


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_is_the_numpy_op(layer, dtype):
    for sizes in [
        (0, 2, 3, 4),
        (1, 1, 1, 1),
        (3, 0, 2, 5),
        (5, 3, 2, 17),
        (4, 33, 7, 48),
        (2, 9, 3, 65),
        (2, 2, 3, 330),
    ]:
        assert_same(layer, inputs_of(layer, *sizes, dtype))
        assert_same(layer, inputs_of(layer, *sizes, dtype, biases=False), reverse=True)


@needs_kernels
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
def test_sequences_of_different_lengths(layer, reverse):
    for lengths in ([5, 0, 3, 5, 1], [0, 0, 0, 0, 0], [2, 2, 2, 2, 2]):
        arrays = inputs_of(layer, 5, 5, 3, 19, np.float64)
        assert_same(layer, arrays, lengths=np.array(lengths), reverse=reverse)


@needs_kernels
@pytest.mark.parametrize("layer", LAYERS)
def test_one_call_of_a_kernel_does_all_steps_each_way(layer, monkeypatch):
    calls = []

    class Counting:
        def __getattr__(self, name):
            calls.append(name)
            return getattr(kernels, name)

    monkeypatch.setattr(native_recurrent, "KERNELS", Counting())
    arrays = inputs_of(layer, 6, 3, 4, 5, np.float32)
    assert_same(layer, arrays)
    assert calls == [layer.name, f"{layer.name}_backward"]
    strange = [arrays[0], np.repeat(arrays[1], 2, axis=1)[:, ::2], *arrays[2:]]  # made contiguous on the way
    assert_same(layer, strange)
    mixed = [
        a.astype(np.float64) if i == 0 else a for i, a in enumerate(arrays)
    ]  # float64 and float32: numpy's
    run(LAYERS[layer](), mixed, np.zeros((6 + layer.state_count, 3, 5)))
    assert len(calls) == 4


def test_steps_that_do_not_fit_are_refused():
    def call(steps, hidden=2):
        big, small, first = np.zeros((4, 8)), np.zeros((4, hidden)), np.zeros((2, 2))
        kernels.lstm(big, small.copy(), small.copy(), small, np.zeros((8, 2)), first, first, steps)

    call([(0, 2), (2, 2)])
    for steps, text in [
        ([(0, 3)], "rows 0 to 3"),
        ([(3, 2)], "rows 3 to 5"),
        ([(0, 1), (1, 2)], "rows 1 to 3"),
    ]:
        with pytest.raises(ValueError, match=f"steps: {text}"):
            call(steps)
    with pytest.raises(ValueError, match=r"must have shape \(4, 2\)"):
        call([(0, 2)], hidden=3)


@needs_kernels
@pytest.mark.skipif("RINGLEADER_CPU" in os.environ, reason="of the fastest level only")
def test_threads_share_the_work_and_change_no_bit():
    """Rows of a product, or its columns; sequences of a layer; heads; elements; rows of a norm; images and their planes."""
    rng = np.random.default_rng(0)
    tall, square, wide = (
        rng.standard_normal(shape, np.float32) for shape in ((1001, 300), (300, 300), (300, 1001))
    )
    heads = rng.standard_normal((2, 5, 150, 32), np.float32)
    images, weight = (
        rng.standard_normal((41, 8, 40, 40), np.float32),
        rng.standard_normal((16, 8, 3, 3), np.float32),
    )
    targets = rng.integers(300, size=1001)
    layers = {layer: inputs_of(layer, 20, 61, 64, 128, np.float32) for layer in LAYERS}

    def results(threads):
        with threadpool_limits(threads, user_api="openmp"):
            found = [kernels.matmul(tall, square, add=square[0]), kernels.matmul(square, wide)]
            found += [kernels.tanh(wide), kernels.gelu_backward(tall, tall)]
            found += kernels.attention(heads, heads, heads, 0.2, causal=True)
            found += kernels.attention_backward(heads, heads, heads, heads, *found[-2:], 0.2, causal=True)
            found += [kernels.softmax(tall), kernels.log_softmax_backward(tall, tall)]
            found += [*kernels.layer_norm(tall, None, None), *kernels.rms_norm(tall, None)]
            found += kernels.cross_entropy(tall, targets)
            found.append(kernels.cross_entropy_backward(tall[:, 0].copy(), found[-1], tall, targets))
            found.append(kernels.conv2d(images, weight, weight[:, 0, 0, 0].copy(), (1, 1)))
            found.append(kernels.conv2d_backward_data(found[-1], weight, images.shape, (1, 1)))
            found += [kernels.avg_pool2x2(images), *kernels.max_pool2x2(images)]
            found.append(kernels.avg_pool2x2_backward(found[-2], images.shape))
            found.append(kernels.max_pool2x2_backward(found[-3], found[-2], images.shape))
            found.append(tall.copy())
            kernels.sgd(found[-1], None, tall, lr=0.5)
            for layer, arrays in layers.items():
                g = np.ones((20 + layer.state_count, 61, 128), np.float32)
                found += run(LAYERS[layer](), arrays, g)
        return found

    for one, several in zip(results(1), results(3)):
        np.testing.assert_array_equal(one, several)


@pytest.mark.parametrize("threads", [1, 3])
def test_as_many_threads_as_asked_for(threads):
    probe = """
import os
import numpy as np
from ringleader.csrc.cpu import _kernels
a = np.ones((2000, 300), np.float32)
_kernels.matmul(a, a[:300])
print(len(os.listdir("/proc/self/task")))
"""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", probe], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == f"{threads}\n", done.stderr
