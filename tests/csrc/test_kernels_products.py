"""Matrix products and recurrent layers by native kernels, against numpy; test_kernels.py runs this file on every level.

Products are of small integers, so that they are exact in whatever order they are summed.
"""

import numpy as np
import pytest

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
