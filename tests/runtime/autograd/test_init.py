"""Initial values: spread, bounds, orthogonality, and that generator and dtype behave."""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt
from typing import Any

import numpy as np
import pytest
from ringleader.runtime.autograd import Parameter, init


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


SPREADS: list[
    tuple[Callable[..., Any], dict[str, Any], float]
] = [  # of a weight (64, 16, 3, 3): standard deviation
    (init.uniform_, {"a": -1, "b": 3}, 4 / sqrt(12)),
    (init.normal_, {"mean": 5, "std": 0.5}, 0.5),
    (init.trunc_normal_, {"std": 0.5, "a": -50, "b": 50}, 0.5),
    (init.xavier_uniform_, {"gain": 2}, 2 * sqrt(2 / (16 * 9 + 64 * 9))),
    (init.xavier_normal_, {}, sqrt(2 / (16 * 9 + 64 * 9))),
    (init.kaiming_uniform_, {"a": sqrt(5)}, sqrt(1 / 3 / (16 * 9))),
    (init.kaiming_uniform_, {"mode": "fan_out", "nonlinearity": "relu"}, sqrt(2 / (64 * 9))),
    (init.kaiming_normal_, {"nonlinearity": "linear"}, sqrt(1 / (16 * 9))),
]


@pytest.mark.parametrize(("fill", "options", "spread"), SPREADS)
def test_spread_and_dtype(fill: Callable[..., Any], options: dict[str, Any], spread: float) -> None:
    parameters = [Parameter(np.empty((64, 16, 3, 3), dtype)) for dtype in (np.float64, np.float32)]
    for parameter in parameters:
        array = parameter.data
        assert fill(parameter, **options, generator=rng()) is parameter
        assert parameter.data is array  # in place
    double, single = (parameter.data for parameter in parameters)
    assert double.std() == pytest.approx(spread, rel=0.03)
    np.testing.assert_array_equal(single, double.astype(np.float32))


def test_constants() -> None:
    parameter = Parameter(np.empty(3, np.float32))
    np.testing.assert_array_equal(init.ones_(parameter).data, [1, 1, 1])
    np.testing.assert_array_equal(init.constant_(parameter, -2).data, [-2, -2, -2])
    np.testing.assert_array_equal(init.zeros_(parameter).data, [0, 0, 0])


def test_truncated_normal_stays_within() -> None:
    data = init.trunc_normal_(Parameter(np.empty(5000)), 1.0, 2.0, -1.0, 2.0, generator=rng()).data
    assert -1 <= data.min() < -0.98 and 1.98 < data.max() <= 2


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3), (4, 2, 3), (0, 2)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    matrix = init.orthogonal_(Parameter(np.empty(shape)), 2.0, generator=rng()).data.reshape(
        shape[0], prod(shape[1:])
    )
    small = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-12)


def test_orthogonal_prefers_no_sign() -> None:
    generator = rng()
    signs = [
        init.orthogonal_(Parameter(np.empty((1, 1))), generator=generator).data.item() for _ in range(200)
    ]
    assert abs(np.mean(signs)) < 0.3  # 4 standard deviations


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 2 axes, the tensor has shape \(3,\)"):
        init.xavier_uniform_(Parameter(np.empty(3)), generator=rng())
    with pytest.raises(ValueError, match="mode must be 'fan_in' or 'fan_out', not 'fan'"):
        init.kaiming_normal_(Parameter(np.empty((2, 2))), mode="fan", generator=rng())
    with pytest.raises(
        ValueError, match="nonlinearity 'gelu' is unknown; known: linear, sigmoid, tanh, relu, leaky"
    ):
        init.calculate_gain("gelu")
