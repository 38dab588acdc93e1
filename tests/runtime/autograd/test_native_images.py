"""Convolution and pooling by native kernels: the same as the numpy ops, which do what the kernels cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.op_cases.draw import distinct, normal, strided
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ringleader.runtime.autograd import OPS, Tensor, conv2d, max_pool2d, native
from ringleader.runtime.autograd.ops.convolution import Conv2d
from ringleader.runtime.autograd.ops.native_convolution import NativeConv2d
from ringleader.runtime.autograd.ops.native_pooling import NativeAvgPool2d, NativeMaxPool2d
from ringleader.runtime.autograd.ops.pooling import AvgPool2d, MaxPool2d

pytestmark = pytest.mark.skipif(native.KERNELS is None, reason="the kernels are not built, or turned off")

DTYPES = (np.float32, np.float64)
HALVES = {"kernel_size": (2, 2), "stride": (2, 2)}


def run(node: Any, arrays: Any, needs: Any = None, layout: Any = np.asarray) -> list[Any]:
    """Output and gradients; the output's gradient is drawn, and given in a layout."""
    node.needs = needs or (True,) * len(arrays)
    out = node.forward(*arrays) if node.shape(*(a.shape for a in arrays)) else None
    grads = node.backward(layout(normal(*out.shape).astype(out.dtype)))
    return [out, *(grads if isinstance(grads, tuple) else (grads,))]


def same(ours: list[Any], wanted: list[Any], scale: float) -> None:
    for mine, other in zip(ours, wanted):
        assert (mine is None) == (other is None)
        if mine is not None:
            assert (mine.dtype, mine.shape) == (other.dtype, other.shape)
            eps = np.finfo(mine.dtype).eps
            np.testing.assert_allclose(mine, other, rtol=32 * eps, atol=scale * eps)


def test_the_table_has_them() -> None:
    for name, op in {
        "conv2d": NativeConv2d,
        "avg_pool2d": NativeAvgPool2d,
        "max_pool2d": NativeMaxPool2d,
    }.items():
        assert OPS[name]["cpu"] is op


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    dtype=st.sampled_from(DTYPES), n=st.integers(0, 9), c=st.integers(1, 5), o=st.integers(1, 14),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)), kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    padding=st.one_of(st.tuples(st.integers(0, 3), st.integers(0, 3)), st.sampled_from(["same", "valid"])),
    biased=st.booleans(),
)  # fmt: skip
def test_direct_convolution(
    dtype: Any, n: int, c: int, o: int, size: Any, kernel: Any, padding: Any, biased: bool
) -> None:
    around = padding if isinstance(padding, tuple) else (0, 0)
    assume(padding == "same" or all(s + 2 * p >= k for s, p, k in zip(size, around, kernel)))
    arrays = [normal(n, c, *size), normal(o, c, *kernel), normal(o)][: 2 + biased]
    arrays = [a.astype(dtype) for a in arrays]
    one, other = NativeConv2d(padding=padding), Conv2d(padding=padding)
    same(
        run(one, arrays),
        run(other, arrays),
        scale=64 * (c * o * kernel[0] * kernel[1] + n * size[0] * size[1]) ** 0.5,
    )
    uneven = padding == "same" and (kernel[0] % 2 == 0 or kernel[1] % 2 == 0)
    assert one.direct == (not uneven and not one.whole)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("needs", [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1) if a or b or c])
def test_gradients_that_are_not_needed(needs: Any, dtype: Any) -> None:
    arrays = [a.astype(dtype) for a in (normal(3, 2, 6, 7), normal(5, 2, 3, 3), normal(5))]
    ours, wanted = (run(op(), arrays, needs, strided) for op in (NativeConv2d, Conv2d))
    assert [g is None for g in ours[1:3]] == [not need for need in needs[:2]]
    same(ours, wanted, scale=256)


OTHERS: list[tuple[dict[str, Any], int, int]] = [  # options, channels of x, of y
    ({"stride": (2, 1)}, 2, 3), ({"dilation": (1, 2)}, 2, 3), ({"groups": 2}, 2, 4), ({}, 33, 2), ({}, 2, 33), ({}, 0, 2),
    ({}, 2, 0),
]  # fmt: skip


@pytest.mark.parametrize(("options", "c", "o"), OTHERS)
def test_other_convolutions_go_to_numpy(options: Any, c: int, o: int) -> None:
    arrays = [normal(2, c, 6, 7), normal(o, c // options.get("groups", 1), 3, 2)]
    node = NativeConv2d(**options)
    for mine, other in zip(run(node, arrays), run(Conv2d(**options), arrays)):
        np.testing.assert_array_equal(mine, other)
    assert not node.direct


def test_many_channels_are_direct_only_in_large_outputs() -> None:
    for c, size, direct in [(32, 8, True), (33, 8, False), (33, 9, True), (64, 9, True), (65, 9, False)]:
        for shapes in [((1, c, size, size), (1, c, 3, 3)), ((1, 1, size, size), (c, 1, 3, 3))]:
            node = NativeConv2d()
            run(node, [normal(*shape) for shape in shapes])
            assert node.direct == direct


@pytest.mark.parametrize("way", [strided, lambda x: x.astype(np.float16), lambda x: x[:, :, ::-1]])
def test_arrays_that_kernels_do_not_take_go_to_numpy(way: Any) -> None:
    arrays = [way(normal(2, 2, 6, 8)), way(normal(3, 2, 3, 3))]
    node = NativeConv2d()
    for mine, other in zip(run(node, arrays), run(Conv2d(), arrays)):
        np.testing.assert_array_equal(mine, other)
    assert not node.direct
    for one, other in ((NativeAvgPool2d, AvgPool2d), (NativeMaxPool2d, MaxPool2d)):
        for mine, wanted in zip(run(one(**HALVES), arrays[:1]), run(other(**HALVES), arrays[:1])):
            np.testing.assert_array_equal(mine, wanted)


def test_a_kernel_as_large_as_the_image_is_a_product_of_matrices() -> None:
    arrays = [normal(4, 3, 5, 5), normal(6, 3, 5, 5), normal(6)]
    node = Conv2d()
    ours = run(node, arrays)
    assert node.whole and np.shares_memory(node.columns, arrays[0])
    assert all(a.flags.c_contiguous for a in ours[:3])
    wider = [np.pad(arrays[0], ((0, 0), (0, 0), (0, 1), (0, 0))), *arrays[1:]]  # two windows: unrolled
    other = Conv2d()
    other.needs = (True,) * 3
    other.shape(*(a.shape for a in wider))
    out = other.forward(*wider)
    assert not other.whole
    np.testing.assert_allclose(ours[0], out[:, :, :1], rtol=1e-12, atol=1e-12)
    g = np.zeros(out.shape)
    g[:, :, :1] = normal(*ours[0].shape)
    dx, dw, db = other.backward(g)
    same(ours[1:], [dx[:, :, :5], dw, db], scale=256)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", [np.asarray, strided])
@pytest.mark.parametrize("shape", [(0, 1, 2, 2), (2, 3, 4, 6), (1, 2, 5, 7), (2, 1, 2, 71)])
@pytest.mark.parametrize("pair", [(NativeAvgPool2d, AvgPool2d), (NativeMaxPool2d, MaxPool2d)])
def test_pooling(pair: Any, shape: Any, layout: Any, dtype: Any) -> None:
    """The second layout: a gradient that the kernel does not take, after an output by the kernel."""
    for x in (distinct(*shape), np.round(normal(*shape))):  # the second with ties
        ours, wanted = (run(op(**HALVES), [x.astype(dtype)], layout=layout) for op in pair)
        same(ours, wanted, scale=2)


@pytest.mark.parametrize("pair", [(NativeAvgPool2d, AvgPool2d), (NativeMaxPool2d, MaxPool2d)])
@pytest.mark.parametrize("options", [{"kernel_size": (3, 2)}, {"stride": (2, 1)}, {"padding": (1, 0)}])
def test_other_windows_go_to_numpy(pair: Any, options: Any) -> None:
    ours, wanted = (run(op(**HALVES | options), [normal(2, 2, 6, 7)]) for op in pair)
    for mine, other in zip(ours, wanted):
        np.testing.assert_array_equal(mine, other)


def test_what_is_kept_for_the_gradient() -> None:
    """Convolution needs its images; of pooled ones the winners are enough."""
    x, weight = Tensor(normal(2, 2, 6, 6)), Tensor(normal(3, 2, 3, 3), requires_grad=True)
    y = conv2d(x, weight)
    x.add_(1)
    with pytest.raises(RuntimeError, match="'conv2d' needs its input 0"):
        y.sum().backward()
    z = Tensor(normal(2, 2, 6, 6), requires_grad=True) * 1
    pooled = max_pool2d(z, 2)
    z.add_(1)
    pooled.sum().backward()
