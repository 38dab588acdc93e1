"""Layers take PyTorch's arguments in PyTorch's order, start from the same distribution and have the same state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import ringleader.runtime.autograd as ours
from helpers.op_cases.draw import normal
from ringleader.runtime.autograd import Module

torch = pytest.importorskip("torch", reason="PyTorch is the oracle: pip install 'ringleader[oracle]'")
from helpers.torch_oracle import same  # noqa: E402

DRAWN: list[tuple[str, tuple[Any, ...], tuple[int, ...]]] = [  # name, arguments by position, input
    ("Linear", (3, 4), (2, 5, 3)),
    ("Linear", (3, 4, False), (2, 3)),
    ("Conv1d", (4, 6, 3, 2, 1, 2, 2), (2, 4, 8)),
    ("Conv1d", (1, 2, 2, 1, "same", 1, 1, False), (2, 1, 5)),
    ("Conv2d", (2, 4, (3, 2), 2, (1, 0), (1, 2), 2), (2, 2, 6, 5)),
    ("Conv2d", (2, 2, 3, 1, "valid", 1, 1, False), (1, 2, 4, 4)),
    ("ConvTranspose1d", (4, 2, 3, 2, 1, 1, 2), (2, 4, 3)),
    ("ConvTranspose2d", (2, 4, (3, 2), 3, 1, (2, 0), 2, False, 2), (2, 2, 3, 4)),
    ("ConvTranspose2d", (2, 3, 2), (1, 2, 2, 2)),
]
PLAIN: list[tuple[str, tuple[Any, ...], tuple[int, ...]]] = [
    ("AvgPool1d", (3, 2, 1), (2, 3, 7)), ("AvgPool2d", (2,), (2, 3, 5, 4)), ("AvgPool2d", (3, (1, 2), 1), (1, 1, 5, 4)),
    ("MaxPool1d", (2, 1, 1, 2), (2, 3, 7)), ("MaxPool2d", ((3, 2), None, 1), (1, 2, 6, 5)),
    ("AdaptiveAvgPool2d", (1,), (2, 3, 4, 4)), ("LeakyReLU", (0.3,), (4, 3)), ("ELU", (0.5,), (4, 3)),
    ("Softplus", (2.0, 1.0), (4, 3)), ("SiLU", (), (4, 3)), ("GELU", (), (4, 3)), ("GELU", ("tanh",), (4, 3)),
    ("ReLU6", (), (4, 3)), ("Softmax", (1,), (4, 3)), ("LogSoftmax", (0,), (4, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "shape"), DRAWN)
def test_layers_with_weights(name: str, arguments: tuple[Any, ...], shape: tuple[int, ...]) -> None:
    mine: Module = getattr(ours, name)(*arguments, generator=np.random.default_rng(0), dtype=np.float64)
    other = getattr(torch.nn, name)(*arguments, dtype=torch.float64)
    assert [key for key, _ in mine.named_parameters()] == [key for key, _ in other.named_parameters()]
    for (_, a), (_, b) in zip(mine.named_parameters(), other.named_parameters()):
        wanted = torch.nn.init._calculate_fan_in_and_fan_out(other.weight)[0] ** -0.5
        assert np.abs(a.data).max() <= wanted and b.detach().abs().max() <= wanted
        assert a.size < 20 or np.abs(a.data).max() > 0.8 * wanted
    other.load_state_dict({key: torch.tensor(array) for key, array in mine.state_dict().items()})
    same(mine, other, normal(*shape))


@pytest.mark.parametrize(("name", "arguments", "shape"), PLAIN)
def test_layers_without_weights(name: str, arguments: tuple[Any, ...], shape: tuple[int, ...]) -> None:
    same(getattr(ours, name)(*arguments), getattr(torch.nn, name)(*arguments), normal(*shape))


@pytest.mark.parametrize("padding_idx", [None, 1])
def test_embedding(padding_idx: int | None) -> None:
    mine = ours.Embedding(5, 3, padding_idx, generator=np.random.default_rng(0), dtype=np.float64)
    other = torch.nn.Embedding(5, 3, padding_idx, dtype=torch.float64)
    other.load_state_dict({key: torch.tensor(array) for key, array in mine.state_dict().items()})
    indices = np.array([[0, 1, 1], [4, 0, 2]])
    y = mine(indices)
    y.backward(normal(2, 3, 3))
    other(torch.tensor(indices)).backward(torch.tensor(normal(2, 3, 3)))
    np.testing.assert_array_equal(y.data, mine.weight.data[indices])
    np.testing.assert_allclose(mine.weight.grad, other.weight.grad.numpy(), rtol=1e-14)
