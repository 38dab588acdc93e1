"""Embedding kernels on the emulator: rows exactly, sums of integers exactly, others within their roundoffs; refusals."""

import numpy as np
import pytest
from helpers.kernel_cases import DTYPES, at_multiple, compute, draw, exact, fitting, roundoff, within
from ringleader.csrc.cuda import embedding as kernels
from ringleader.csrc.cuda.rows import aligned

SIZES = [
    (1, 1, 1),
    (50, 20, 3),
    (50, 20, 24),
    (7, 300, 33),
    (300, 7, 32),
    (33, 5, 1000),
]  # count, rows, columns


def versions(device, operator, x, columns):
    shape = {"row_bytes": columns * x.dtype.itemsize, "aligned": aligned(x)}
    return list(fitting(device, operator, x.dtype, **shape))


def summed(g, indices, rows):
    total = np.zeros((rows, g.shape[-1]), g.dtype)
    np.add.at(total, indices.reshape(-1), g.reshape(-1, g.shape[-1]))
    return total


@pytest.mark.parametrize("dtype", DTYPES)
def test_forward(device, dtype):
    for count, rows, columns in SIZES:
        table, indices = draw(dtype, rows, columns), np.random.default_rng(count).integers(0, rows, count)
        for version in versions(device, "embedding_forward", table, columns):
            np.testing.assert_array_equal(kernels.embedding(device, table, indices, version), table[indices])


@pytest.mark.parametrize("dtype", DTYPES)
def test_backward(device, dtype):
    for count, rows, columns in SIZES:
        indices = np.random.default_rng(count).integers(0, rows, count)
        indices[: count // 2] = rows // 2  # half of them ask for one row
        g = draw(dtype, count, columns)
        want, size = summed(exact(g), indices, rows), summed(np.abs(exact(g)), indices, rows)
        whole = at_multiple(np.round(2 * g.astype(float)).astype(g.dtype), 0)  # sums of integers are exact
        for version in versions(device, "embedding_backward", g, columns):
            got = kernels.embedding_backward(device, g, indices, rows, version=version)
            within(got, want, roundoff(compute(g.dtype)) * count * size)
            got = kernels.embedding_backward(device, whole, indices, rows, version=version)
            np.testing.assert_array_equal(
                got, summed(exact(whole), indices, rows).astype(float).astype(g.dtype)
            )


@pytest.mark.parametrize("version", ["packs", "clear"])
def test_padding(device, version):
    g, indices = draw("float32", 2, 9, 8), np.random.default_rng(0).integers(0, 4, (2, 9))
    for padding in (2, -2):
        got = kernels.embedding_backward(device, g, indices, 4, padding, version)
        want = kernels.embedding_backward(device, g, indices, 4, version=version)
        assert (want[2] != 0).all()
        want[2] = 0
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("version", ["packs", "clear"])
def test_indices_that_are_no_rows(device, version):
    table, indices = draw("float16", 4, 8), np.array([0, 4, -1, 3])
    got = kernels.embedding(device, table, indices, version)
    np.testing.assert_array_equal(got[[0, 3]], table[[0, 3]])
    assert np.isnan(got[[1, 2]]).all()
    g = draw("float16", 4, 8, seed=1)
    want = np.zeros((4, 8), np.float16)
    want[[0, 3]] = g[[0, 3]]
    np.testing.assert_array_equal(kernels.embedding_backward(device, g, indices, 4, version=version), want)


def test_nothing_to_do_and_unaligned(device):
    table = draw("float32", 4, 8)
    assert kernels.embedding(device, table, np.empty((2, 0), np.int64)).shape == (2, 0, 8)
    assert kernels.embedding(device, table[:, :0].copy(), np.array([1])).shape == (1, 0)
    got = kernels.embedding_backward(device, np.empty((0, 8), np.float32), np.empty(0, np.int64), 4)
    np.testing.assert_array_equal(got, np.zeros((4, 8)))
    assert kernels.embedding_backward(device, table[:0], np.empty(0, np.int64), 0).shape == (0, 8)
    indices = np.array([3, 1])
    np.testing.assert_array_equal(kernels.embedding(device, at_multiple(table, 1), indices), table[indices])


def test_refuses(device):
    table, indices = draw("float32", 4, 8), np.array([1, 2])
    g = draw("float32", 2, 8)
    for error, match, call in [
        (TypeError, "table is int64", lambda: kernels.embedding(device, table.astype(int), indices)),
        (ValueError, r"table must be \(rows, columns\); its shape is \(8,\)", lambda: kernels.embedding(
            device, table[0], indices)),
        (ValueError, "table must be C-contiguous", lambda: kernels.embedding(device, table.T, indices)),
        (TypeError, "indices must be int64, not int32", lambda: kernels.embedding(device, table, indices.astype(np.int32))),
        (ValueError, "indices must be C-contiguous", lambda: kernels.embedding(device, table, indices.repeat(2)[::2])),
        (TypeError, "embedding_backward: g is int64", lambda: kernels.embedding_backward(
            device, g.astype(int), indices, 4)),
        (ValueError, r"g must be \(\*indices.shape, columns\); it is \(4, 8\), indices \(2,\)", lambda: (
            kernels.embedding_backward(device, table, indices, 4))),
        (ValueError, "g must be C-contiguous", lambda: kernels.embedding_backward(
            device, np.asfortranarray(g), indices, 4)),
        (TypeError, "embedding_backward: indices must be int64", lambda: kernels.embedding_backward(
            device, g, indices.astype(float), 4)),
        (ValueError, "padding_idx 4 is not one of the 4 rows", lambda: kernels.embedding_backward(
            device, g, indices, 4, 4)),
    ]:  # fmt: skip
        with pytest.raises(error, match=match):
            call()
