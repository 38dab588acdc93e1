"""Drawing tokens from a language model, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from ringleader.runtime.autograd import Module, Tensor, no_grad
from ringleader.runtime.autograd.op import Array


@runtime_checkable
class Recurrent(Protocol):
    """A language model that remembers: ``step`` takes tokens (N,) and a state, and gives logits (N, V) and the next
    state. Others are called anew with the last tokens (N, T), and their logits (N, T, V) at the end are taken."""

    def start(self) -> Any: ...

    def step(self, tokens: Array, state: Any) -> tuple[Tensor, Any]: ...


def sample(
    model: Module, prompt: Sequence[int], length: int, generator: np.random.Generator, *, context: int,
    temperature: float = 1.0, top_k: int | None = None,
) -> Iterator[int]:  # fmt: skip
    """``length`` tokens that follow ``prompt``, as they are drawn.

    ``temperature``: logits are divided by it; 0 takes the likeliest. ``top_k``: only among so many likeliest. A model
    without a state sees the last ``context`` tokens. ValueError: an empty prompt, or an option out of range.
    """
    if len(prompt) == 0:
        raise ValueError("prompt must have at least one token")
    for name, value, least in (("length", length, 0), ("temperature", temperature, 0), ("top_k", top_k, 1)):
        if value is not None and not least <= value < np.inf:
            raise ValueError(f"{name} must be at least {least}, it is {value}")
    return _sampled(model, list(prompt), length, generator, context, temperature, top_k)


def _sampled(
    model: Module, tokens: list[int], length: int, generator: np.random.Generator, context: int,
    temperature: float, top_k: int | None,
) -> Iterator[int]:  # fmt: skip
    model.eval()
    following = _with_state(model) if isinstance(model, Recurrent) else _with_window(model, context)
    new = tokens
    for _ in range(length):
        with no_grad():  # not around the yield: who gets the token may want gradients
            logits = following(new)
        new = [choose(logits, generator, temperature, top_k)]
        yield new[0]


def _with_state(model: Recurrent) -> Callable[[list[int]], Array]:
    state = model.start()

    def following(new: list[int]) -> Array:
        nonlocal state
        for token in new:
            logits, state = model.step(np.array([token]), state)
        return logits.data[0]

    return following


def _with_window(model: Module, context: int) -> Callable[[list[int]], Array]:
    seen: list[int] = []

    def following(new: list[int]) -> Array:
        seen.extend(new)
        del seen[:-context]
        return model(Tensor(np.array([seen]))).data[0, -1]

    return following


def choose(logits: Array, generator: np.random.Generator, temperature: float, top_k: int | None) -> int:
    """One of the tokens of logits (V,), with the softmax's probability. ValueError: logits that are no numbers."""
    z = logits.astype(np.float64)
    if not np.isfinite(z).all():
        raise ValueError("the model's logits are not finite: was its training stable?")
    if top_k is not None and top_k < len(z):
        z[np.argsort(-z, kind="stable")[top_k:]] = -np.inf
    if temperature == 0:
        return int(z.argmax())
    z -= z.max()  # before the division, which may overflow
    with np.errstate(over="ignore"):  # -inf is right there
        p = np.exp(z / temperature)
    return int(generator.choice(len(p), p=p / p.sum()))
