"""ldmatrix, mma and cp.async do what the PTX ISA says."""

import numpy as np
import pytest

ml_dtypes = pytest.importorskip("ml_dtypes", reason="numpy's bfloat16: pip install ml_dtypes")
modes = pytest.mark.parametrize("mode", ["fast", "scrambled"])
HALVES = {"__half": np.float16, "__nv_bfloat16": ml_dtypes.bfloat16}
halves = pytest.mark.parametrize("c_type", HALVES)


@modes
@halves
def test_mma(kernels, mode, c_type):
    numbers = np.random.default_rng(1)
    a = numbers.integers(-8, 9, (16, 16)).astype(HALVES[c_type])  # so that sums are exact
    b = numbers.integers(-8, 9, (16, 8)).astype(HALVES[c_type])
    d = np.zeros((16, 8), np.float32)
    kernels("tensor.cu").get(f"product<{c_type}>")(1, 32, [a, b, d], mode=mode)
    assert (d == 1 + a.astype(np.float32) @ b.astype(np.float32)).all()


def test_mma_of_tf32(kernels):
    numbers = np.random.default_rng(2)
    a, b = numbers.standard_normal((16, 8)).astype("f4"), numbers.standard_normal((8, 8)).astype("f4")
    d = np.zeros((16, 8), np.float32)
    kernels("tensor.cu").get("product_tf32")(1, 32, [a, b, d])
    a, b = (tf32(a).astype(np.float64), tf32(b).astype(np.float64))
    bound = 8 * np.finfo(np.float32).eps * (np.abs(a) @ np.abs(b))
    assert (np.abs(d - a @ b) <= bound).all()


def tf32(x):
    """To 10 bits of mantissa, to nearest, ties away from zero: by the definition, in float64."""
    mantissa, exponent = np.frexp(x.astype(np.float64))
    scaled = mantissa * 2**11
    return np.ldexp(np.trunc(scaled + np.copysign(0.5, scaled)) / 2**11, exponent).astype(np.float32)


@modes
def test_ldmatrix(kernels, mode):
    matrices = np.arange(4 * 64, dtype=np.uint16).reshape(4, 8, 8)
    out = np.zeros((12, 32), np.uint32)
    kernels("tensor.cu").get("load_matrices")(1, 32, [matrices, out], mode=mode)
    got = out.view(np.uint16).reshape(12, 8, 8)  # lane l: row l / 4, columns 2 (l % 4), +1
    assert (got[:4] == matrices).all()
    assert (got[4:8] == matrices.transpose(0, 2, 1)).all()
    assert (got[8:10] == matrices[:2]).all()
    assert (got[10:] == matrices[:2].transpose(0, 2, 1)).all()


@modes
@pytest.mark.parametrize("n", [4, 128, 500])
def test_copies_in_groups(kernels, mode, n):
    x = np.random.default_rng(n).standard_normal(n).astype("f4")
    y = np.full(-(-n // 128) * 128, 9, np.float32)
    kernels("tensor.cu").get("copy_in_groups")(1, 32, [x, y, np.int32(n)], mode=mode, seed=n)
    assert (y[:n] == x).all()
    assert (y[n:] == 0).all()


@modes
@halves
def test_a_product_of_matrices_on_tensor_cores(kernels, mode, c_type):
    M, N, K = 64, 128, 64
    numbers = np.random.default_rng(3)
    a = numbers.standard_normal((M, K)).astype(HALVES[c_type])
    b = numbers.standard_normal((K, N)).astype(HALVES[c_type])
    c = np.zeros((M, N), np.float32)
    args = [a, b, c, np.int32(N), np.int32(K)]
    shared = (64 * 40 + 32 * 72) * 2
    kernels("tensor.cu").get(f"multiply<{c_type}, true>")(
        (N // 64, M // 64), 128, args, shared=shared, mode=mode, seed=1
    )
    a, b = a.astype(np.float64), b.astype(np.float64)
    assert (np.abs(c - a @ b) <= K * np.finfo(np.float32).eps * (np.abs(a) @ np.abs(b))).all()
