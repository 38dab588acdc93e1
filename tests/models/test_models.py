"""The models: sizes, parameter counts, that they learn."""

from __future__ import annotations

import numpy as np
import pytest
from ringleader.models import MLP, MODELS, Bigram, LeNet5, build
from ringleader.models.lenet5 import squash
from ringleader.runtime.autograd import SGD, Tensor, cross_entropy, gradcheck

IMAGES = sorted(name for name, row in MODELS.items() if "classification" in row.tasks)
COUNTS = {  # LeNet-5 of the paper: 156, 1516 (2416 with all connections), 48120, 10164; output 84 * 10 + 10
    "lenet5": 156 + 2416 + 48120 + 10164 + 850,
    "logistic": 32 * 32 * 10 + 10,
    "mlp": (1024 + 1) * 300 + (300 + 1) * 100 + (100 + 1) * 10,
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", IMAGES)
def test_logits_and_parameter_count(name: str, dtype: type) -> None:
    model = build(name, np.random.default_rng(0), dtype)
    assert sum(p.size for p in model.parameters()) == COUNTS[name]
    assert {p.dtype for p in model.parameters()} == {np.dtype(dtype)}
    for n in (0, 1, 3):
        out = model(Tensor(np.zeros((n, 1, 32, 32), dtype)))
        assert (out.shape, out.dtype) == ((n, 10), dtype)


@pytest.mark.parametrize("name", IMAGES)
def test_overfits_a_few_samples(name: str) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((10, 1, 32, 32)), np.arange(10)
    model = build(name, np.random.default_rng(1), np.float64)
    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9)
    for _ in range(60):
        optimizer.zero_grad()
        loss = cross_entropy(model(Tensor(x)), y)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


def test_the_generator_alone_decides_lenet5s_weights() -> None:
    first, second, third = (build("lenet5", np.random.default_rng(s)).state_dict() for s in (0, 0, 1))
    assert all(np.array_equal(first[k], second[k]) for k in first)
    assert not np.array_equal(first["c1.weight"], third["c1.weight"])


def test_lenet5s_gradient_with_respect_to_the_image() -> None:
    model = LeNet5(np.random.default_rng(0), np.float64)
    rows = np.random.default_rng(1).standard_normal(8)
    image = np.random.default_rng(2).standard_normal((1, 1, 32, 32))
    gradcheck(lambda x: model(_stretch(x, image)), rows)


def _stretch(x: Tensor, image: np.ndarray) -> Tensor:
    """Eight numbers that each scale four rows of the image (1, 1, 32, 32)."""
    return (x.reshape(8, 1) * Tensor(image.reshape(8, 128))).reshape(1, 1, 32, 32)


def test_lenet5s_squashing_function() -> None:
    np.testing.assert_allclose(squash(Tensor([-1.0, 0.0, 1.0, 100.0])).data, [-1, 0, 1, 1.7159], atol=1e-5)


def test_unknown_model() -> None:
    with pytest.raises(
        ValueError, match="unknown model 'vgg'; known: bigram, gru, lenet5, logistic, lstm, mlp"
    ):
        build("vgg", np.random.default_rng(0))


def test_mlp_with_other_sizes() -> None:
    model = MLP(
        np.random.default_rng(0), np.float64, in_features=6, outputs=2, hidden=(5, 4), activation="relu"
    )
    x = np.random.default_rng(1).standard_normal((3, 2, 3))
    wanted, parameters = x.reshape(3, 6), [p.data for p in model.parameters()]
    for i in (0, 2, 4):
        wanted = wanted @ parameters[i].T + parameters[i + 1]
        wanted = wanted if i == 4 else np.maximum(wanted, 0)
    np.testing.assert_allclose(model(Tensor(x)).data, wanted, rtol=1e-12)
    linear = MLP(np.random.default_rng(0), in_features=6, outputs=2, hidden=())
    assert [p.shape for p in linear.parameters()] == [(2, 6), (2,)]
    for options, message in [({"activation": "gelu"}, "unknown activation 'gelu'; known: tanh, relu"),
                             ({"hidden": (3, 0)}, r"hidden sizes must be at least 1, they are \(3, 0\)")]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            MLP(np.random.default_rng(0), **options)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_mlp_keeps_the_variance(activation: str) -> None:
    rng = np.random.default_rng(0)
    model = MLP(rng, in_features=500, outputs=500, hidden=(), activation=activation)
    out = model(Tensor(rng.standard_normal((100, 500)).astype(np.float32))).data
    assert out.var() == pytest.approx(2 if activation == "relu" else 1, rel=0.1)


def test_bigram_learns_how_often_pairs_occur() -> None:
    model = Bigram(np.random.default_rng(0), np.float64, tokens=3)
    x, y = np.array([[0, 0, 0, 0, 1]]), np.array([1, 1, 1, 2, 0])
    optimizer = SGD(model.parameters(), lr=2.0)
    for _ in range(500):
        optimizer.zero_grad()
        cross_entropy(model(Tensor(x)).reshape(5, 3), y).backward()
        optimizer.step()
    probability = np.exp(model.table.data) / np.exp(model.table.data).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probability, [[0, 0.75, 0.25], [1, 0, 0], [1 / 3, 1 / 3, 1 / 3]], atol=0.01)
    assert model(Tensor(np.zeros((0, 4), np.int64))).shape == (0, 4, 3)
