"""Normalisation, dropout, embedding, losses and the affine map, without PyTorch: values, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.op_cases.draw import normal
from ringleader.runtime.autograd import (
    BatchNorm1d,
    BatchNorm2d,
    Dropout,
    Embedding,
    GroupNorm,
    Linear,
    Sequential,
    ShapeError,
    Tensor,
    batch_norm,
    binary_cross_entropy_with_logits,
    checkpoint,
    cross_entropy,
    dropout,
    elu,
    embedding,
    gelu,
    group_norm,
    huber_loss,
    layer_norm,
    linear,
    log_softmax,
    mse_loss,
    nll_loss,
    relu6,
    rms_norm,
    scaled_tanh,
    softmax,
    softplus,
)

Array = Any


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def x(*shape: int) -> Tensor:
    return Tensor(normal(*shape))


def test_normalisation_makes_mean_0_and_variance_1() -> None:
    data = 3 * normal(4, 6, 5) + 2
    tensor = Tensor(data)
    for y, axes in [
        (layer_norm(tensor, (6, 5), eps=0), (1, 2)),
        (batch_norm(tensor, None, None, training=True, eps=0), (0, 2)),
        (group_norm(tensor, 6, eps=0), (2,)),
    ]:
        np.testing.assert_allclose(y.data.mean(axis=axes), 0, atol=1e-12)
        np.testing.assert_allclose(y.data.var(axis=axes), 1, rtol=1e-12)
    np.testing.assert_allclose(np.square(rms_norm(tensor, (5,), eps=0).data).mean(axis=2), 1, rtol=1e-12)


def test_float32_of_large_mean_keeps_its_variance() -> None:
    data = (1e4 + np.arange(8)).astype(np.float32)[None]
    wanted = (np.arange(8) - 3.5) / np.sqrt(5.25)
    np.testing.assert_allclose(layer_norm(Tensor(data), (8,), eps=0).data[0], wanted, rtol=1e-5)


def test_batch_norm_tracks_mean_and_unbiased_variance() -> None:
    layer, batches = BatchNorm1d(2, momentum=0.5, dtype=np.float64), [normal(4, 2), normal(3, 2, 5) + 1]
    mean, variance = np.zeros(2), np.ones(2)
    for batch in batches:
        layer(Tensor(batch))
        axes = (0, *range(2, batch.ndim))
        mean += 0.5 * (batch.mean(axis=axes) - mean)
        variance += 0.5 * (batch.var(axis=axes, ddof=1) - variance)
    state = layer.state_dict()
    np.testing.assert_allclose(state["running_mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(state["running_var"], variance, rtol=1e-12)
    assert state["num_batches_tracked"] == 2
    layer.eval()
    y = layer(Tensor(batches[0]))
    np.testing.assert_allclose(y.data, (batches[0] - mean) / np.sqrt(variance + 1e-5), rtol=1e-12)
    np.testing.assert_array_equal(layer.state_dict()["running_mean"], state["running_mean"])


def test_batch_norm_state_moves_to_another_model_in_its_dtype() -> None:
    model, other = (Sequential(BatchNorm2d(3, dtype=t)) for t in (np.float64, np.float32))
    model(x(2, 3, 2, 2))
    other.load_state_dict(model.state_dict())
    for name, array in other.state_dict().items():
        np.testing.assert_allclose(array, model.state_dict()[name], rtol=1e-6)
    assert other.state_dict()["0.running_var"].dtype == np.float32
    assert other.eval()(Tensor(np.ones((1, 3, 1, 1), np.float32))).dtype == np.float32


def test_an_empty_batch_leaves_the_running_statistics_alone() -> None:
    layer = BatchNorm1d(2)
    assert layer(Tensor(np.empty((0, 2), np.float32))).shape == (0, 2)
    np.testing.assert_array_equal(layer.state_dict()["running_mean"], [0, 0])
    np.testing.assert_array_equal(layer.state_dict()["running_var"], [1, 1])


def test_dropout_drops_a_share_p_and_keeps_the_expectation() -> None:
    tensor = Tensor(np.ones((200, 300)), requires_grad=True)
    y = dropout(tensor, 0.3, generator=rng())
    np.testing.assert_allclose((y.data == 0).mean(), 0.3, atol=0.01)  # 5 standard deviations
    np.testing.assert_allclose(np.unique(y.data), [0, 1 / 0.7])
    y.sum().backward()
    np.testing.assert_array_equal(tensor.grad, y.data)


def test_dropout_is_the_identity_in_evaluation_and_for_p_0_and_zero_for_p_1() -> None:
    tensor, generator = x(3, 4), rng()
    assert dropout(tensor, 0.5, False, generator=generator) is tensor
    assert dropout(tensor, 0.0, generator=generator) is tensor
    assert generator.random() == rng().random()  # nothing was drawn
    everything = Tensor(np.array([1.0, np.finfo(np.float64).max]), requires_grad=True)
    gone = dropout(everything, 1.0, generator=generator)
    gone.sum().backward()
    np.testing.assert_array_equal(gone.data, [0, 0])
    np.testing.assert_array_equal(everything.grad, [0, 0])


def test_masks_depend_on_the_layer_s_own_generator_alone() -> None:
    def masks(disturb: bool, dtype: Any) -> list[Array]:
        weights, layer = rng(1), Dropout(0.5, generator=rng(2))
        drawn = []
        for _ in range(3):
            if disturb:
                weights.random(5)
                layer.eval()(Tensor(np.ones(7, dtype)))
            drawn.append(layer.train()(Tensor(np.ones(7, dtype))).data)
        return drawn

    first, second = masks(False, np.float64), masks(True, np.float32)
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first[0], first[1])


def test_recomputation_draws_the_same_masks_and_tracks_a_batch_once() -> None:
    def trained(recompute: bool) -> list[Array]:
        model = Sequential(Linear(3, 4, generator=rng(), dtype=np.float64), BatchNorm1d(4, dtype=np.float64),
                           Dropout(0.5, generator=rng(1)))  # fmt: skip
        y = checkpoint(model, x(5, 3)) if recompute else model(x(5, 3))
        (y * y).sum().backward()
        gradients = [parameter.grad for parameter in model.parameters()]
        return [y.data, *gradients, *model.state_dict().values(), model(x(5, 3)).data]

    for plain, again in zip(trained(False), trained(True)):
        np.testing.assert_array_equal(plain, again)


def test_embedding_sums_the_gradient_of_repeated_rows() -> None:
    weight = Tensor(normal(4, 2), requires_grad=True)
    indices = np.array([[1, 3], [1, 1]])
    g = normal(2, 2, 2)
    embedding(indices, weight).backward(g)
    wanted = np.zeros((4, 2))
    np.add.at(wanted, indices, g)
    np.testing.assert_allclose(weight.grad, wanted, rtol=1e-15)
    weight.zero_grad()
    embedding(Tensor(indices), weight, padding_idx=-3).backward(g)
    wanted[1] = 0
    np.testing.assert_allclose(weight.grad, wanted, rtol=1e-15)


def test_embedding_layer_starts_normal_with_zeros_for_padding() -> None:
    layer = Embedding(500, 20, padding_idx=3, generator=rng())
    assert layer.weight.dtype == np.float32
    np.testing.assert_array_equal(layer(np.array([3])).data, np.zeros((1, 20)))
    rest = np.delete(layer.weight.data, 3, axis=0)
    assert abs(rest.mean()) < 0.05 and abs(rest.std() - 1) < 0.05


def test_linear_takes_any_leading_axes() -> None:
    layer, data = Linear(3, 2, generator=rng(), dtype=np.float64), normal(4, 5, 3)
    assert layer.bias is not None
    wanted = np.einsum("abi,oi->abo", data, layer.weight.data) + layer.bias.data
    np.testing.assert_allclose(layer(Tensor(data)).data, wanted, rtol=1e-12)
    assert layer(Tensor(data[0, 0])).shape == (2,)


def test_cross_entropy_of_ignored_targets_alone_is_nan_without_gradient() -> None:
    logits = Tensor(normal(2, 3), requires_grad=True)
    loss = cross_entropy(logits, np.array([-100, -100]))
    assert np.isnan(loss.item())
    loss.backward()
    np.testing.assert_array_equal(logits.grad, np.zeros((2, 3)))
    assert cross_entropy(logits, np.array([-100, -100]), reduction="sum").item() == 0


def test_cross_entropy_is_nll_loss_of_log_softmax() -> None:
    logits, target, weight = x(2, 3, 4), np.array([[0, 1, 2, -100], [2, 2, 0, 1]]), np.array([1, 0.5, 2])
    together = cross_entropy(logits, target, weight)
    apart = nll_loss(log_softmax(logits, 1), target, weight)
    np.testing.assert_allclose(together.data, apart.data, rtol=1e-13)


def test_smoothing_is_the_mean_over_the_smoothed_distribution() -> None:
    logits, target = x(4, 3), np.array([0, 2, 1, 2])
    wanted = 0.7 * np.eye(3)[target] + 0.1
    losses = cross_entropy(logits, target, reduction="none", label_smoothing=0.3)
    np.testing.assert_allclose(losses.data, -(wanted * log_softmax(logits, 1).data).sum(axis=1), rtol=1e-12)


def test_nothing_overflows_far_out() -> None:
    far = Tensor(np.array([-1e4, -50, 0, 50, 1e4], np.float32), requires_grad=True)
    zeros = np.zeros(5)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for y in (
            softmax(far, 0), log_softmax(far, 0), softplus(far), elu(far), relu6(far), gelu(far),
            gelu(far, "tanh"), binary_cross_entropy_with_logits(far, zeros, reduction="none"),
        ):  # fmt: skip
            assert np.isfinite(y.data).all() and y.dtype == np.float32
            y.sum().backward()
    assert far.grad is not None and np.isfinite(far.grad).all()


ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: linear(x(2, 3), x(4, 2)), ShapeError, r"linear: .*input has 3 features, weight expects 2"),
    (lambda: linear(x(2, 3), x(4, 3), x(3)), ShapeError, r"linear: .*bias must be \(4,\)"),
    (lambda: linear(x(2, 3), x(3)), ShapeError, r"linear: .*weight \(out, in\)"),
    (lambda: layer_norm(x(2, 3), (2,)), ShapeError, r"layer_norm: .*last axes must be \(2,\)"),
    (lambda: layer_norm(x(2, 3), (3,), x(2)), ShapeError, r"layer_norm: .*weight must be \(3,\)"),
    (lambda: layer_norm(x(2, 3), (3,), None, x(3)), ValueError, "layer_norm: a bias needs a weight"),
    (lambda: rms_norm(x(2, 3), (3, 1)), ShapeError, r"rms_norm: .*last axes must be \(3, 1\)"),
    (lambda: batch_norm(x(3), None, None), ShapeError, r"batch_norm: .*\(N, C, ...\)"),
    (lambda: batch_norm(x(2, 3), None, None), ValueError, "batch_norm: not in training it needs running_mean"),
    (lambda: batch_norm(x(2, 3), np.ones(2), None), ShapeError, r"batch_norm: .*running_mean must be \(3,\)"),
    (lambda: batch_norm(x(1, 3), None, None, training=True), ShapeError, "batch_norm: .*more than 1 value"),
    (lambda: BatchNorm2d(3)(x(2, 3)), ShapeError, r"BatchNorm2d: shape \(2, 3\): must be \(N, C, H, W\)"),
    (lambda: group_norm(x(2, 3), 2), ShapeError, "group_norm: .*multiple of 2 groups"),
    (lambda: GroupNorm(2, 3), ValueError, "num_channels 3 must be a multiple of num_groups 2"),
    (lambda: dropout(x(2), 1.5, generator=rng()), ValueError, "dropout: p must be in 0..1, it is 1.5"),
    (lambda: Dropout(-0.1, generator=rng()), ValueError, "dropout: p must be in 0..1"),
    (lambda: embedding(np.array([[0, 1], [7, -1]]), x(3, 2)), IndexError, r"index 7 is not one of the 3 rows 0\.\.2"),
    (lambda: embedding(np.array([-1]), x(3, 2)), IndexError, "embedding: index -1"),
    (lambda: embedding(np.array([0.0]), x(3, 2)), TypeError, "embedding: indices must be integers, not float64"),
    (lambda: embedding(np.array([0]), x(3)), ShapeError, r"embedding: .*weight must be \(V, D\)"),
    (lambda: embedding(np.array([0]), x(3, 2), 3), ValueError, "padding_idx 3 is not one of the 3 rows"),
    (lambda: Embedding(3, 2, -4, generator=rng()), ValueError, "padding_idx -4 is not one of the 3 rows"),
    (lambda: softmax(x(2, 3), 2), ShapeError, r"softmax: shape \(2, 3\): dim 2 is out of range"),
    (lambda: log_softmax(x(), 0), ShapeError, r"log_softmax: .*dim 0"),
    (lambda: gelu(x(2), "fast"), ValueError, "gelu: approximate must be 'none' or 'tanh', not 'fast'"),
    (lambda: scaled_tanh(x(2), 0.0, 1.0), ValueError, "scaled_tanh: alpha must not be 0"),
    (lambda: softplus(x(2), 0.0), ValueError, "softplus: beta must be positive"),
    (lambda: cross_entropy(x(2, 3), np.zeros(2, int), np.ones(2)), ShapeError, r"weight must be \(3,\)"),
    (lambda: cross_entropy(x(2, 3), np.zeros(2, int), label_smoothing=2), ValueError, "label_smoothing must be in 0..1"),
    (lambda: cross_entropy(x(2, 3, 4), np.zeros((2, 3), int)), ShapeError, r"target \(N, ...\)"),
    (lambda: nll_loss(x(2, 3), np.array([0, 3])), ValueError, "nll_loss: target 3 is not one of the 3 classes"),
    (lambda: mse_loss(x(2, 3), x(3)), ShapeError, "mse_loss: .*same shape"),
    (lambda: mse_loss(x(2), x(2), reduction="max"), ValueError, "mse_loss: unknown reduction 'max'"),
    (lambda: huber_loss(x(2), x(2), delta=0), ValueError, "huber_loss: delta must be positive"),
    (lambda: binary_cross_entropy_with_logits(x(2, 3), x(2, 3), pos_weight=np.ones(2)), ShapeError, "pos_weight must broadcast"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=[m for _, _, m in ERRORS])
def test_what_is_refused(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
