"""Mixed precision on the CPU: masters, scaling, skipping, states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ringleader.runtime.autograd import (
    SGD,
    Adam,
    Linear,
    MixedPrecision,
    Module,
    Parameter,
    Sequential,
    Tanh,
    Tensor,
    clip_grad_norm_,
    cross_entropy,
    flatten_parameters,
)


def network() -> Sequential:
    rng = np.random.default_rng(0)
    return Sequential(Linear(4, 8, generator=rng), Tanh(), Linear(8, 3, generator=rng))


def batch(dtype: Any) -> tuple[Tensor, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 32)
    x = rng.standard_normal((32, 4)) * 0.1
    x[np.arange(32), labels] += 1
    return Tensor(x.astype(dtype)), labels


def train(mixed: MixedPrecision, model: Module, count: int) -> list[float]:
    x, labels = batch(mixed.dtype)
    losses = []
    for _ in range(count):
        mixed.zero_grad()
        loss = cross_entropy(model(x), labels)
        losses.append(float(loss.item()))
        mixed.scale(loss).backward()
        mixed.step()
    return losses


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits_learn_what_float32_learns(dtype: str) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    plain, model = network(), network()
    optimizer, mixed = (
        Adam(plain.parameters(), 0.05),
        MixedPrecision(model, Adam(model.parameters(), 0.05), dtype),
    )
    assert all(p.dtype == dtype for p in model.parameters())
    assert all(p.dtype == np.float32 for p in mixed.optimizer.params)
    losses = train(mixed, model, 60)
    x, labels = batch(np.float32)
    for _ in range(60):
        optimizer.zero_grad()
        loss = cross_entropy(plain(x), labels)
        loss.backward()
        optimizer.step()
    assert losses[0] > 0.9 and losses[-1] < 0.1
    assert losses[-1] == pytest.approx(loss.item(), abs=0.02)
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.dtype == dtype
        np.testing.assert_array_equal(p.data, mixed.masters[name].data.astype(dtype))


class One(Module):
    def __init__(self, value: float) -> None:
        self.w = Parameter(np.array([value], np.float32))


def test_small_updates_and_small_gradients_survive() -> None:
    """1 + 2^-12 is 1 in float16, and 2^-26 is 0."""
    model = One(1.0)
    mixed = MixedPrecision(model, SGD(model.parameters(), lr=1.0), "float16")
    for _ in range(4):
        mixed.zero_grad()
        mixed.scale((model.w * Tensor(np.float16(2.0**-12))).sum()).backward()
        assert mixed.step()
    assert mixed.masters["w"].data[0] == 1 - 2.0**-10 and model.w.data[0] == np.float16(1 - 2.0**-10)
    mixed.zero_grad()
    mixed.scale((model.w * Tensor(np.float16(2.0**-13)) * Tensor(np.float16(2.0**-13))).sum()).backward()
    mixed.unscale()
    assert mixed.masters["w"].grad == pytest.approx(2.0**-26)


def test_a_step_that_is_not_finite_is_skipped_and_the_scale_goes_down_and_up_again() -> None:
    model = One(1.0)
    mixed = MixedPrecision(model, SGD(model.parameters(), lr=1.0, momentum=0.9), "float16", growth_interval=2)
    assert mixed.current_scale == 2.0**15  # what float16 has of 2^16
    for value, stepped, scale in ((np.inf, False, 14), (np.nan, False, 13), (1, True, 13), (0, True, 14), (0, True, 14),
                                  (np.inf, False, 13), (0, True, 13), (0, True, 14)):  # fmt: skip
        mixed.zero_grad()
        model.w.grad = np.array([value], np.float16)
        before = mixed.masters["w"].data.copy()
        assert mixed.step() is stepped
        assert mixed.current_scale == 2.0**scale
        if not stepped:
            np.testing.assert_array_equal(mixed.masters["w"].data, before)
    for _ in range(12):
        model.w.grad = np.zeros(1, np.float16)
        mixed.step()
    assert mixed.current_scale == 2.0**15


def test_clipping_comes_between_unscale_and_step() -> None:
    model = One(0.0)
    mixed = MixedPrecision(model, SGD(model.parameters(), lr=1.0), "float16")
    mixed.scale((model.w * Tensor(np.float16(0.5))).sum()).backward()
    mixed.unscale()
    assert clip_grad_norm_(mixed.masters.values(), 0.25) == 0.5
    mixed.step()
    assert model.w.data[0] == pytest.approx(-0.25, abs=1e-3)


def test_parameters_without_a_gradient_are_left_alone() -> None:
    model = network()
    mixed = MixedPrecision(model, SGD(model.parameters(), 0.1, weight_decay=0.1), "float16")
    before = {name: p.data.copy() for name, p in model.named_parameters()}
    assert mixed.step()
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(p.data, before[name])


def test_a_state_goes_on_bit_for_bit() -> None:
    def start() -> tuple[Sequential, MixedPrecision]:
        model = network()
        return model, MixedPrecision(model, Adam(model.parameters(), 0.05), "float16", growth_interval=3)

    model, mixed = start()
    train(mixed, model, 5)
    saved, optimizer = mixed.state_dict(), mixed.optimizer.state_dict()
    wanted = train(mixed, model, 5)
    other, going_on = start()
    going_on.load_state_dict(saved)
    going_on.optimizer.load_state_dict(optimizer)
    assert train(going_on, other, 5) == wanted
    assert going_on.state_dict()["scale"] == mixed.current_scale
    with pytest.raises(ValueError, match="not this model's"):
        going_on.load_state_dict({**saved, "masters": {}})


def test_bfloat16_keeps_float32_masters() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    model = One(1.0)
    mixed = MixedPrecision(model, SGD(model.parameters(), lr=2.0**-9))
    assert model.w.dtype == ml_dtypes.bfloat16 and mixed.current_scale == 2.0**16
    for _ in range(2):
        mixed.zero_grad()
        mixed.scale((model.w * Tensor(np.ones(1, ml_dtypes.bfloat16))).sum()).backward()
        assert mixed.step()
    assert mixed.masters["w"].data[0] == 1 - 2.0**-8 and float(model.w.data[0]) == 1 - 2.0**-8


def test_what_does_not_fit_is_refused() -> None:
    model = network()
    optimizer = SGD(model.parameters())
    for options, message in (
        ({"dtype": "float8"}, "dtype must be bfloat16 or float16, it is float8"),
        ({"init_scale": 0}, "init_scale must be above 0"),
        ({"growth_factor": 0.5}, "growth_factor must be at least 1"),
        ({"backoff_factor": 1}, r"backoff_factor must be in \(0, 1\)"),
        ({"growth_interval": 0}, "growth_interval must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            MixedPrecision(model, optimizer, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not the model's"):
        MixedPrecision(network(), optimizer, "float16")
    flatten_parameters(model)
    with pytest.raises(ValueError, match=r"0\.weight must be float32 and without grad_storage"):
        MixedPrecision(model, optimizer, "float16")
