"""Drawing from language models, with a state and without."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ringleader.runtime.autograd import Module, Tensor, is_grad_enabled
from ringleader.runtime.training import sample
from ringleader.runtime.training.sample import choose

SUCCESSOR = np.log(np.eye(5)[[1, 2, 3, 4, 0]] * 0.96 + 0.01)  # token i is followed by i + 1, mostly


class Windowed(Module):
    """Logits by the last token; notes which tokens it saw."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def forward(self, x: Tensor) -> Tensor:
        assert not is_grad_enabled() and not self.training
        self.seen.append(x.data[0].tolist())
        return Tensor(SUCCESSOR[x.data])


class Stateful(Module):
    """The same by way of a state: the sum of all tokens."""

    def start(self) -> int:
        return 0

    def step(self, tokens: Any, state: int) -> tuple[Tensor, int]:
        state += int(tokens[0])
        return Tensor(SUCCESSOR[[state % 5]]), state


def draw(model: Module, prompt: list[int], length: int, seed: int = 0, **options: Any) -> list[int]:
    return list(sample(model, prompt, length, np.random.default_rng(seed), context=3, **options))


def test_the_likeliest_at_temperature_0() -> None:
    model = Windowed()
    assert draw(model, [0, 1], 5, temperature=0) == [2, 3, 4, 0, 1]
    assert model.seen == [[0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 0]]
    assert draw(Stateful(), [1, 2], 3, temperature=0) == [4, 3, 1]  # sums 3, 7, 10


def test_a_seed_is_a_text() -> None:
    assert draw(Windowed(), [0], 50, 1, temperature=2.0) == draw(Windowed(), [0], 50, 1, temperature=2.0)
    assert draw(Windowed(), [0], 50, 1, temperature=2.0) != draw(Windowed(), [0], 50, 2, temperature=2.0)
    assert draw(Windowed(), [0], 0) == []


@pytest.mark.parametrize(("temperature", "top_k", "wanted"), [
    (1.0, None, [0.1, 0.2, 0.7]), (0.5, None, [0.01 / 0.54, 0.04 / 0.54, 0.49 / 0.54]),
    (1.0, 2, [0, 2 / 9, 7 / 9]), (1.0, 9, [0.1, 0.2, 0.7]), (5.0, 1, [0, 0, 1]), (0, None, [0, 0, 1]),
    (1e-310, None, [0, 0, 1]), (1e300, None, [1 / 3, 1 / 3, 1 / 3]),
])  # fmt: skip
def test_tokens_come_as_often_as_they_should(
    temperature: float, top_k: int | None, wanted: list[float]
) -> None:
    rng, logits = np.random.default_rng(0), np.log(np.array([0.1, 0.2, 0.7], np.float32)) + 50
    drawn = [choose(logits, rng, temperature, top_k) for _ in range(3000)]
    np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 3000, wanted, atol=0.03)


@pytest.mark.parametrize(("options", "message"), [
    ({"prompt": []}, "at least one token"), ({"length": -1}, "length must be at least 0, it is -1"),
    ({"temperature": -0.1}, "temperature must be at least 0"), ({"temperature": float("nan")}, "temperature"),
    ({"top_k": 0}, "top_k must be at least 1, it is 0"),
])  # fmt: skip
def test_what_sample_refuses(options: dict[str, Any], message: str) -> None:
    """At once, and not at the first token."""
    arguments = {"prompt": [0], "length": 3, "context": 3, **options}
    with pytest.raises(ValueError, match=message):
        sample(Windowed(), generator=np.random.default_rng(0), **arguments)


def test_logits_that_are_no_numbers() -> None:
    with pytest.raises(ValueError, match="not finite"):
        choose(np.array([1.0, np.nan]), np.random.default_rng(0), 1.0, None)
