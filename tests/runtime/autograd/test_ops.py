"""Every op of the table: gradient against central differences, shape rule against the result, dtypes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.op_cases import CASES
from helpers.op_cases.draw import Array, Case, normal
from helpers.op_cases.images import images
from hypothesis import given, settings
from hypothesis import strategies as st
from ringleader.runtime.autograd import (
    OPS,
    GradientError,
    ShapeError,
    Tensor,
    apply,
    avg_pool2d,
    conv2d,
    cross_entropy,
    gradcheck,
    max_pool2d,
)


def label(case: Case) -> str:
    name, options, arrays = case
    return f"{name}-{'-'.join(str(v) for v in options.values())}-{[a.shape for a in arrays]}".replace(" ", "")


def test_every_op_of_the_table_has_cases() -> None:
    assert {name for name, _, _ in CASES} == set(OPS)


@pytest.mark.parametrize("case", CASES, ids=label)
def test_gradient(case: Case) -> None:
    name, options, arrays = case
    gradcheck(lambda *tensors: apply(name, *tensors, **options), *arrays)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=label)
def test_shape_rule_and_dtype(case: Case, dtype: Any) -> None:
    name, options, arrays = case
    tensors = [Tensor(a.astype(dtype), requires_grad=True) for a in arrays]
    out = apply(name, *tensors, **options)
    assert out.shape == OPS[name]["cpu"](**options).shape(*(a.shape for a in arrays))
    assert out.dtype == dtype
    out.backward(np.ones(out.shape, dtype))
    for tensor in tensors:
        assert tensor.grad is not None
        assert (tensor.grad.shape, tensor.grad.dtype) == (tensor.shape, dtype)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("case", CASES, ids=label)
def test_sixteen_bits(case: Case, dtype: str) -> None:
    """The dtype stays, of the gradients too, and the values are those of 64 bits but for rounding."""
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="it has bfloat16")
    name, options, arrays = case
    tensors = [Tensor(a.astype(dtype), requires_grad=True) for a in arrays]
    out = apply(name, *tensors, **options)
    assert out.dtype == dtype
    out.backward(np.ones(out.shape, dtype))
    assert all(t.grad is not None and t.grad.dtype == dtype for t in tensors)
    wide = apply(name, *(Tensor(t.data.astype(np.float64)) for t in tensors), **options)
    np.testing.assert_allclose(out.data.astype(np.float64), wide.data, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("case", CASES, ids=label)
def test_inputs_are_left_alone_and_the_gradient_is_not_shared(case: Case) -> None:
    name, options, arrays = case
    before = [a.copy() for a in arrays]
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    out = apply(name, *tensors, **options)
    seed = np.ones(out.shape)
    out.backward(seed)
    for tensor, array in zip(tensors, before):
        assert tensor.grad is not None and tensor.grad.flags.writeable
        tensor.grad += 1
        np.testing.assert_array_equal(tensor.data, array)
    np.testing.assert_array_equal(seed, 1)


def test_gradcheck_sees_a_wrong_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OPS["tanh"]["cpu"], "backward", lambda self, g: g * (1 - self.y))
    with pytest.raises(GradientError, match=r"input 0, shape \(2, 3\), at \(0, 0\)"):
        gradcheck(lambda x: x.tanh(), normal(2, 3))
    with pytest.raises(TypeError, match="float32"):
        gradcheck(lambda x: x.tanh(), normal(2).astype(np.float32))


def naive_conv2d(
    x: Array, weight: Array, bias: Array, stride: tuple[int, int], padding: tuple[int, int]
) -> Array:
    (sh, sw), (ph, pw), (kh, kw) = stride, padding, weight.shape[2:]
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    out = np.empty((len(x), len(weight), (x.shape[2] - kh) // sh + 1, (x.shape[3] - kw) // sw + 1))
    for n, o, p, q in np.ndindex(out.shape):
        out[n, o, p, q] = (x[n, :, p * sh : p * sh + kh, q * sw : q * sw + kw] * weight[o]).sum() + bias[o]
    return out


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 3), c=st.integers(1, 3), o=st.integers(1, 3),
    size=st.tuples(st.integers(3, 8), st.integers(3, 8)), kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)), padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)  # fmt: skip
def test_conv2d_is_the_sum_over_each_window(
    n: int, c: int, o: int, size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int],
    padding: tuple[int, int],
) -> None:  # fmt: skip
    x, weight, bias = normal(n, c, *size), normal(o, c, *kernel), normal(o)
    got = conv2d(Tensor(x), Tensor(weight), Tensor(bias), stride, padding)
    np.testing.assert_allclose(
        got.data, naive_conv2d(x, weight, bias, stride, padding), rtol=1e-12, atol=1e-12
    )


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(3, 8), st.integers(3, 8)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)), stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)  # fmt: skip
def test_pooling_is_the_mean_and_the_maximum_of_each_window(
    size: tuple[int, ...], kernel: tuple[int, int], stride: tuple[int, int]
) -> None:
    x = normal(*size)
    mean, largest = avg_pool2d(Tensor(x), kernel, stride).data, max_pool2d(Tensor(x), kernel, stride).data
    for n, c, p, q in np.ndindex(mean.shape):
        top, left = p * stride[0], q * stride[1]
        window = x[n, c, top : top + kernel[0], left : left + kernel[1]]
        np.testing.assert_allclose(mean[n, c, p, q], window.mean(), rtol=1e-12)
        assert largest[n, c, p, q] == window.max()


def test_max_pool2d_gives_a_tie_to_the_first_and_lets_nan_through() -> None:
    x = Tensor(np.ones((1, 1, 2, 2)), requires_grad=True)
    max_pool2d(x, 2).sum().backward()
    np.testing.assert_array_equal(x.grad, [[[[1, 0], [0, 0]]]])
    for place in range(4):
        values = np.zeros(4)
        values[place] = np.nan
        assert np.isnan(max_pool2d(Tensor(values.reshape(1, 1, 2, 2)), 2).item())


def test_cross_entropy_is_exact_where_exp_overflows() -> None:
    x = Tensor(np.array([[1e4, 0.0], [0.0, -1e4]], np.float32), requires_grad=True)
    loss = cross_entropy(x, np.array([1, 0]), reduction="none")
    np.testing.assert_array_equal(loss.data, np.array([1e4, 0], np.float32))
    loss.sum().backward()
    np.testing.assert_array_equal(x.grad, [[1, -1], [0, 0]])


def test_empty_batch() -> None:
    empty = np.empty(0, np.int64)
    x = Tensor(np.empty((0, 3), np.float32), requires_grad=True)
    assert cross_entropy(x, empty, reduction="sum").item() == 0
    assert np.isnan(cross_entropy(x, empty).item())
    assert np.isnan(x.mean().item())


def test_sigmoid_does_not_overflow() -> None:
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        np.testing.assert_array_equal(Tensor([-1e4, 0, 1e4]).sigmoid().data, [0, 0.5, 1])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_sigmoid_keeps_its_digits_next_to_0(dtype: str) -> None:
    """So that x sigmoid(x), and the gradient of a loss far on the right side, are not 0 before they must be."""
    x = np.linspace(-9 if dtype == "float16" else -80, 0, 50).astype(dtype)
    e = np.exp(x.astype(np.float64))
    rtol = 20 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(Tensor(x).sigmoid().data, e / (1 + e), rtol=rtol)
    np.testing.assert_allclose(apply("silu", Tensor(x)).data, x * e / (1 + e), rtol=rtol)


SHAPE_ERRORS: list[tuple[Callable[[], Any], str]] = [
    (lambda: Tensor(normal(2, 3)) + Tensor(normal(2)), r"add: shapes \(2, 3\) and \(2,\): do not broadcast"),
    (
        lambda: Tensor(normal(2, 3)) @ Tensor(normal(2, 3)),
        r"matmul: shapes \(2, 3\) and \(2, 3\).* 3 and 2 differ",
    ),
    (lambda: Tensor(normal()) @ Tensor(normal(3, 2)), r"matmul: .*at least 1 axis"),
    (lambda: Tensor(normal(2, 2, 3)) @ Tensor(normal(3, 3, 1)), r"matmul: .*leading axes do not broadcast"),
    (lambda: Tensor(normal(2, 3)).reshape(4), r"reshape: shapes \(2, 3\) and \(4,\)"),
    (lambda: Tensor(normal(2, 3)).reshape(-1, -1), r"reshape: shapes \(2, 3\) and \(-1, -1\)"),
    (lambda: Tensor(normal(0, 3)).reshape(0, -1), r"reshape: shapes \(0, 3\) and \(0, -1\)"),
    (lambda: Tensor(normal(2, 3)).reshape(-2, -3), r"reshape: shapes"),
    (lambda: Tensor(normal(2, 3)).permute(0, 0), r"permute: shape \(2, 3\): dims \(0, 0\)"),
    (lambda: Tensor(normal(2, 3)).sum(axis=2), r"sum: shape \(2, 3\): axis 2"),
    (lambda: Tensor(normal(2, 3)).mean(axis=(0, -2)), r"mean: shape \(2, 3\): axis \(0, -2\)"),
    (lambda: conv2d(Tensor(images()), Tensor(normal(1, 3, 2, 2))), r"conv2d: .*2 channels, weight expects 3"),
    (lambda: conv2d(Tensor(images()), Tensor(normal(1, 2, 7, 2))), r"conv2d: .*larger than the padded image"),
    (lambda: conv2d(Tensor(images()), Tensor(normal(2, 2))), r"conv2d: .*\(N, C, H, W\)"),
    (
        lambda: conv2d(Tensor(images()), Tensor(normal(1, 2, 2, 2)), Tensor(normal(2))),
        r"conv2d: .*bias must be \(1,\)",
    ),
    (lambda: conv2d(Tensor(images()), Tensor(normal(1, 2, 2, 2)), stride=0), r"conv2d: .*stride"),
    (lambda: avg_pool2d(Tensor(images()), 7), r"avg_pool2d: .*larger than the image"),
    (lambda: max_pool2d(Tensor(normal(2, 3)), 2), r"max_pool2d: shape \(2, 3\): input must be"),
    (lambda: max_pool2d(Tensor(images()), 2, 0), r"max_pool2d: .*must be positive"),
    (
        lambda: cross_entropy(Tensor(normal(2, 3)), np.array([0])),
        r"cross_entropy: shapes \(2, 3\) and \(1,\)",
    ),
]


@pytest.mark.parametrize(("call", "message"), SHAPE_ERRORS, ids=[m for _, m in SHAPE_ERRORS])
def test_shape_errors_name_op_and_shapes(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call()


def test_cross_entropy_refuses_bad_targets() -> None:
    x = Tensor(normal(2, 3))
    with pytest.raises(ValueError, match="target 3 is not one of the 3 classes"):
        cross_entropy(x, np.array([0, 3]))
    with pytest.raises(ValueError, match="target -1"):
        cross_entropy(x, np.array([-1, 0]))
    with pytest.raises(TypeError, match="integers, not float64"):
        cross_entropy(x, np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="unknown reduction 'max'; known: mean, sum, none"):
        cross_entropy(x, np.array([0, 1]), reduction="max")
