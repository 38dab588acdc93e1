"""Convolution and pooling with every option, without PyTorch: against what they are by definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.op_cases.draw import normal
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ringleader.runtime.autograd import (
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    ShapeError,
    Tensor,
    adaptive_avg_pool2d,
    avg_pool2d,
    conv1d,
    conv2d,
    conv_transpose1d,
    conv_transpose2d,
    gradcheck,
    max_pool1d,
    max_pool2d,
)

Array = Any


def pairs(low: int, high: int) -> Any:
    return st.tuples(st.integers(low, high), st.integers(low, high))


def spread_out(weight: Array, groups: int, dilation: tuple[int, int]) -> Array:
    """The weight of one group and dilation 1 that does the same: zeros between groups and pixels."""
    o, c, kh, kw = weight.shape
    (dh, dw), each = dilation, o // groups
    wide = np.zeros((o, groups * c, dh * (kh - 1) + 1, dw * (kw - 1) + 1))
    for group in range(groups):
        rows, columns = slice(group * each, (group + 1) * each), slice(group * c, (group + 1) * c)
        wide[rows, columns, ::dh, ::dw] = weight[rows]
    return wide


@settings(max_examples=40, deadline=None)
@given(
    groups=st.integers(1, 3), c=st.integers(1, 2), o=st.integers(1, 2), size=pairs(1, 7), kernel=pairs(1, 3),
    stride=pairs(1, 3), padding=pairs(0, 2), dilation=pairs(1, 3),
)  # fmt: skip
def test_groups_and_dilation_are_zeros_in_the_weight(
    groups: int, c: int, o: int, size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any
) -> None:
    assume(all(size[i] + 2 * padding[i] > dilation[i] * (kernel[i] - 1) for i in (0, 1)))
    x, weight = normal(2, groups * c, *size), normal(groups * o, c, *kernel)
    got = conv2d(Tensor(x), Tensor(weight), None, stride, padding, dilation, groups)
    wanted = conv2d(Tensor(x), Tensor(spread_out(weight, groups, dilation)), None, stride, padding)
    np.testing.assert_allclose(got.data, wanted.data, rtol=1e-12, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(0, 2), groups=st.integers(1, 2), c=st.integers(1, 2), o=st.integers(1, 2), size=pairs(1, 7),
    kernel=pairs(1, 3), stride=pairs(1, 3), padding=pairs(0, 2), dilation=pairs(1, 2),
)  # fmt: skip
def test_the_transpose_is_the_adjoint(
    n: int, groups: int, c: int, o: int, size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any
) -> None:
    """<conv(x), g> = <x, conv_transpose(g)>; output_padding says which image size it goes back to."""
    room = [size[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1 for i in (0, 1)]
    assume(min(room) >= 0)
    x, weight = normal(n, groups * c, *size), normal(groups * o, c, *kernel)
    y = conv2d(Tensor(x), Tensor(weight), None, stride, padding, dilation, groups).data
    g = normal(*y.shape)[..., ::-1]
    more = (room[0] % stride[0], room[1] % stride[1])
    back = conv_transpose2d(Tensor(g), Tensor(weight), None, stride, padding, more, groups, dilation).data
    assert back.shape == x.shape
    np.testing.assert_allclose((y * g).sum(), (x * back).sum(), rtol=1e-10, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(0, 2), groups=st.integers(1, 2), size=st.integers(1, 6), kernel=st.integers(1, 3),
    stride=st.integers(1, 3), padding=st.integers(0, 2), dilation=st.integers(1, 2), back=st.booleans(),
)  # fmt: skip
def test_gradients_in_one_dimension(
    n: int, groups: int, size: int, kernel: int, stride: int, padding: int, dilation: int, back: bool
) -> None:
    reach = dilation * (kernel - 1) + 1
    arrays = [normal(n, 2, size), normal(2, 2 // groups, kernel), normal(2)]
    if back:
        assume((size - 1) * stride - 2 * padding + reach > 0)
        gradcheck(lambda *t: conv_transpose1d(*t, stride, padding, 0, groups, dilation), *arrays)
    else:
        assume(size + 2 * padding >= reach)
        gradcheck(lambda *t: conv1d(*t, stride, padding, dilation, groups), *arrays)


@settings(max_examples=40, deadline=None)
@given(
    size=pairs(1, 7), kernel=pairs(1, 3), stride=pairs(1, 3), padding=pairs(0, 1), dilation=pairs(1, 2),
)  # fmt: skip
def test_padding_counts_in_no_maximum_and_only_if_wanted_in_a_mean(
    size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any
) -> None:
    assume(all(2 * p <= k and s + 2 * p > 2 * (k - 1) for s, p, k in zip(size, padding, kernel)))
    x = normal(2, 1, *size)
    around = ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2)
    zeros, holes = np.pad(x, around), np.pad(x, around, constant_values=-np.inf)
    ones = np.pad(np.ones_like(x), around)
    mean = avg_pool2d(Tensor(zeros), kernel, stride).data
    got = avg_pool2d(Tensor(x), kernel, stride, padding).data
    np.testing.assert_allclose(got, mean, rtol=1e-12, atol=1e-13)
    uncounted = avg_pool2d(Tensor(x), kernel, stride, padding, count_include_pad=False).data
    share = avg_pool2d(Tensor(ones), kernel, stride).data
    np.testing.assert_allclose(uncounted, mean / share, rtol=1e-12, atol=1e-13)
    largest = max_pool2d(Tensor(x), kernel, stride, padding, dilation).data
    np.testing.assert_array_equal(largest, max_pool2d(Tensor(holes), kernel, stride, 0, dilation).data)


def test_same_keeps_the_size_and_valid_pads_nothing() -> None:
    x, weight = Tensor(normal(1, 1, 5, 4)), Tensor(normal(1, 1, 2, 3))
    assert conv2d(x, weight, padding="same", dilation=(3, 1)).shape == x.shape
    np.testing.assert_array_equal(conv2d(x, weight, padding="valid").data, conv2d(x, weight).data)
    ahead = conv1d(Tensor([[[1.0, 2, 3]]]), Tensor([[[10.0, 1]]]), padding="same")  # the odd one is behind
    np.testing.assert_array_equal(ahead.data, [[[12, 23, 30]]])


def x(*shape: int) -> Tensor:
    return Tensor(normal(*shape))


ERRORS: list[tuple[Callable[[], Any], str]] = [
    (lambda: conv2d(x(1, 4, 3, 3), x(2, 2, 1, 1)), r"conv2d: .*input has 4 channels, weight expects 2"),
    (lambda: conv2d(x(1, 4, 3, 3), x(2, 2, 1, 1), groups=4), r"conv2d: .*4 groups do not divide 2 channels"),
    (lambda: conv2d(x(1, 4, 3, 3), x(2, 2, 1, 1), groups=0), r"conv2d: .*groups 0 must be positive"),
    (lambda: conv2d(x(1, 1, 3, 3), x(1, 1, 2, 2), dilation=(1, 3)), r"conv2d: .*larger than the padded image"),
    (lambda: conv1d(x(1, 1, 3, 3), x(1, 1, 2)), r"conv1d: .*input must be \(N, C, L\)"),
    (lambda: conv_transpose2d(x(1, 2, 3, 3), x(3, 1, 1, 1)), r"conv_transpose2d: .*2 channels, weight expects 3"),
    (lambda: conv_transpose1d(x(1, 1, 3), x(1, 1, 1), padding=2), r"conv_transpose1d: .*padding .* leaves nothing"),
    (lambda: conv_transpose1d(x(1, 1, 3), x(1, 1, 1), None, 2, 0, 2), r"output_padding \(2,\) must be less than stride"),
    (lambda: conv_transpose2d(x(1, 2, 3, 3), x(2, 2, 1, 1), x(2), groups=2), r"bias must be \(4,\)"),
    (lambda: max_pool2d(x(1, 1, 4, 4), 2, padding=2), r"max_pool2d: .*padding \(2, 2\) must be from 0 to half"),
    (lambda: avg_pool2d(x(1, 1, 4, 4), 3, padding=(1, 2)), r"avg_pool2d: .*padding \(1, 2\) must be from 0 to half"),
    (lambda: max_pool1d(x(1, 1, 4), 3, dilation=2), r"max_pool1d: .*larger than the image"),
    (lambda: adaptive_avg_pool2d(x(1, 1, 4, 4), 3), r"adaptive_avg_pool2d: .*multiples of 3 and 3"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[m for _, m in ERRORS])
def test_shape_errors(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call()


def test_options_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match=r"conv2d: padding 'same' needs stride 1, not \(2, 2\)"):
        conv2d(x(1, 1, 3, 3), x(1, 1, 1, 1), stride=2, padding="same")
    with pytest.raises(ValueError, match="conv2d: padding must be numbers, 'same' or 'valid', not 'full'"):
        conv2d(x(1, 1, 3, 3), x(1, 1, 1, 1), padding="full")
    with pytest.raises(ValueError, match=r"stride must be a number or 2 of them, not \(1, 2, 3\)"):
        conv2d(x(1, 1, 3, 3), x(1, 1, 1, 1), stride=(1, 2, 3))  # type: ignore[arg-type]
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match="in_channels 3 must be a multiple of groups 2"):
        Conv2d(3, 2, 1, groups=2, generator=generator)
    with pytest.raises(ValueError, match="out_channels 3 must be a multiple of groups 2"):
        ConvTranspose2d(2, 3, 1, groups=2, generator=generator)


def test_initial_weights_have_the_fan_in_of_one_group() -> None:
    layer = Conv1d(8, 4, 5, groups=4, generator=np.random.default_rng(0))
    assert layer.weight.shape == (4, 2, 5)
    assert 0.7 / np.sqrt(10) < np.abs(layer.weight.data).max() <= 1 / np.sqrt(10)
