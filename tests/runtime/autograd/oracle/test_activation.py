"""Activations, softmax, the affine map, embedding and initial values are PyTorch's."""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

import numpy as np
import pytest
from helpers.op_cases.draw import distinct, normal
from ringleader.runtime.autograd import Parameter, init
from ringleader.runtime.autograd import functional as F

torch = pytest.importorskip("torch", reason="PyTorch is the oracle: pip install 'ringleader[oracle]'")
from helpers.torch_oracle import same  # noqa: E402

T = torch.nn.functional
ACTIVATIONS: list[tuple[str, dict[str, Any]]] = [
    ("tanh", {}), ("sigmoid", {}), ("relu", {}), ("relu6", {}), ("leaky_relu", {}),
    ("leaky_relu", {"negative_slope": 0.3}), ("elu", {}), ("elu", {"alpha": 0.7}), ("softplus", {}),
    ("softplus", {"beta": 2.0, "threshold": 3.0}), ("silu", {}), ("gelu", {}), ("gelu", {"approximate": "tanh"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), ACTIVATIONS)
def test_activations(name: str, options: dict[str, Any]) -> None:
    ours, theirs = getattr(F, name), getattr(T, name)
    for x in (distinct(5, 6), np.array([-700.0, -30, 0, 30, 700]), np.array(0.3), np.zeros((0, 2))):
        same(lambda t: ours(t, **options), lambda t: theirs(t, **options), x)


def test_scaled_tanh() -> None:
    for x in (normal(5, 6), np.array([-700.0, 0, 700]), np.zeros((0, 2))):
        same(lambda t: F.scaled_tanh(t, 1.7159, 2 / 3), lambda t: 1.7159 * torch.tanh(2 / 3 * t), x)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_softmax(name: str, dim: int) -> None:
    ours, theirs = getattr(F, name), getattr(T, name)
    for x in (
        normal(3, 4, 2),
        1e4 * normal(2, 3),
        np.array([[0, -np.inf], [1, 2]]),
        normal(3, 1),
        normal(2, 0),
    ):
        same(lambda t: ours(t, dim), lambda t: theirs(t, dim), x)


@pytest.mark.parametrize("lead", [(), (4,), (0,), (2, 3), (2, 1, 3)])
@pytest.mark.parametrize("biased", [False, True])
def test_linear(lead: tuple[int, ...], biased: bool) -> None:
    same(F.linear, T.linear, normal(*lead, 5), normal(3, 5), *([normal(3)] if biased else []))


@pytest.mark.parametrize("padding_idx", [None, 0, 3, -1])
@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (0,), (2, 0)])
def test_embedding(shape: tuple[int, ...], padding_idx: int | None) -> None:
    indices = np.random.default_rng(0).integers(0, 5, shape)
    same(lambda w: F.embedding(indices, w, padding_idx),
         lambda w: T.embedding(torch.tensor(indices), w, padding_idx), normal(5, 3))  # fmt: skip


@pytest.mark.parametrize("shape", [(30, 40), (8, 4, 5), (6, 5, 3, 3)])
@pytest.mark.parametrize(
    ("name", "options"),
    [("uniform_", {"a": -0.3, "b": 2.0}), ("normal_", {"mean": 0.7, "std": 0.2}),
     ("trunc_normal_", {"mean": 1.0, "std": 2.0, "a": -1.0, "b": 2.0}), ("xavier_uniform_", {"gain": 1.3}),
     ("xavier_normal_", {}), ("kaiming_uniform_", {"a": sqrt(5)}), ("kaiming_uniform_", {"mode": "fan_out"}),
     ("kaiming_normal_", {"nonlinearity": "relu"}), ("kaiming_normal_", {"nonlinearity": "tanh", "mode": "fan_out"})],
)  # fmt: skip
def test_initial_values_have_the_same_distribution(
    name: str, options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    """Quantiles of many draws, in units of the spread; their error is about 0.5 / sqrt(draws)."""
    draws = -(-100000 // prod(shape))
    generator = np.random.default_rng(0)
    ours = [getattr(init, name)(Parameter(np.empty(shape)), **options, generator=generator).data.copy()
            for _ in range(draws)]  # fmt: skip
    torch.manual_seed(0)
    theirs = [getattr(torch.nn.init, name)(torch.empty(shape, dtype=torch.float64), **options).numpy()
              for _ in range(draws)]  # fmt: skip
    at = np.linspace(0.02, 0.98, 9)
    mine, other = np.quantile(ours, at), np.quantile(theirs, at)
    assert np.abs(mine - other).max() < 0.05 * np.std(theirs)


@pytest.mark.parametrize("name", ["linear", "tanh", "sigmoid", "relu", "leaky_relu"])
def test_gains(name: str) -> None:
    argument = 0.2 if name == "leaky_relu" else 0.0
    wanted = torch.nn.init.calculate_gain(name, argument)
    assert init.calculate_gain(name, argument) == pytest.approx(wanted, rel=1e-12)
