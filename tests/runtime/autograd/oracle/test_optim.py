"""Optimisers, clipping and schedules against PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ringleader.runtime.autograd import (
    LAMB,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    ConstantLR,
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    Parameter,
    StepLR,
    Tensor,
    Warmup,
    checkpoint,
    clip_grad_norm_,
    clip_grad_value_,
    flatten_parameters,
    load,
    save,
)

torch = pytest.importorskip("torch", reason="PyTorch is the oracle: pip install 'ringleader[oracle]'")

SHAPES = [(3, 2), (), (5,), (0,), (4, 3)]


def pair() -> tuple[list[Parameter], list[Any]]:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in SHAPES]
    theirs = [torch.nn.Parameter(torch.from_numpy(np.array(a))) for a in arrays]
    return [Parameter(a) for a in arrays], theirs


def give_gradients(ours: list[Parameter], theirs: list[Any], seed: int) -> None:
    """Random; some are None, not the same ones each time."""
    rng = np.random.default_rng(seed)
    for i, (p, q) in enumerate(zip(ours, theirs)):
        g = rng.standard_normal(p.shape)
        p.zero_grad()
        if p.grad_storage is None and (i + seed) % 5 == 0:
            q.grad = None
        else:
            p.accumulate_grad(np.asarray(g))
            q.grad = torch.from_numpy(np.array(g))


SETTINGS: list[tuple[Any, str, dict[str, Any]]] = [
    (SGD, "SGD", {"lr": 0.1}),
    (SGD, "SGD", {"lr": 0.1, "momentum": 0.9}),
    (SGD, "SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    (SGD, "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    (Adam, "Adam", {}),
    (Adam, "Adam", {"lr": 0.1, "betas": (0.5, 0.7), "eps": 1e-3, "weight_decay": 0.1}),
    (AdamW, "AdamW", {}),
    (AdamW, "AdamW", {"lr": 0.1, "betas": (0.5, 0.7), "eps": 1e-3, "weight_decay": 0.3}),
    (Adagrad, "Adagrad", {}),
    (Adagrad, "Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3}),
]  # fmt: skip


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(("ours", "theirs", "options"), SETTINGS, ids=str)
def test_twenty_steps(ours: Any, theirs: str, options: dict[str, Any], flat: bool) -> None:
    mine, other = pair()
    if flat:
        flatten_parameters(mine)
    one, two = ours(mine, **options), getattr(torch.optim, theirs)(other, **options)
    for number in range(20):
        give_gradients(mine, other, number)
        one.step()
        two.step()
        for p, q in zip(mine, other):
            np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(SGD, "SGD"), (Adam, "Adam"), (AdamW, "AdamW"), (Adagrad, "Adagrad")]
)
def test_defaults_are_the_same(ours: Any, theirs: str) -> None:
    mine, other = pair()
    [options] = ours(mine).param_groups
    [wanted] = getattr(torch.optim, theirs)(other).param_groups
    assert {key: wanted[key] for key in options if key != "params"} == {
        key: value for key, value in options.items() if key != "params"
    }


def test_lamb_is_its_formula_in_pytorch() -> None:
    mine, other = pair()
    optimizer = LAMB(mine, lr=0.1, betas=(0.8, 0.9), eps=1e-5, weight_decay=0.2)
    m, v, t = [torch.zeros_like(q) for q in other], [torch.zeros_like(q) for q in other], [0] * len(other)
    for number in range(20):
        give_gradients(mine, other, number)
        optimizer.step()
        for i, q in enumerate(other):
            if q.grad is None:
                continue
            t[i] += 1
            m[i] = 0.8 * m[i] + 0.2 * q.grad
            v[i] = 0.9 * v[i] + 0.1 * q.grad**2
            u = m[i] / (1 - 0.8 ** t[i]) / ((v[i] / (1 - 0.9 ** t[i])).sqrt() + 1e-5) + 0.2 * q.data
            ratio = q.data.norm() / u.norm() if q.data.norm() > 0 and u.norm() > 0 else 1.0
            q.data -= 0.1 * ratio * u
        for p, q in zip(mine, other):
            np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, float("inf")])
@pytest.mark.parametrize("max_norm", [0.0, 0.5, 1e3])
def test_clip_grad_norm(norm_type: float, max_norm: float) -> None:
    mine, other = pair()
    give_gradients(mine, other, 3)
    mine, other = mine[:3], other[:3]  # PyTorch refuses the largest of no elements
    total = clip_grad_norm_(mine, max_norm, norm_type)
    np.testing.assert_allclose(total, torch.nn.utils.clip_grad_norm_(other, max_norm, norm_type), rtol=1e-12)
    for p, q in zip(mine, other):
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None:
            np.testing.assert_allclose(p.grad, q.grad, rtol=1e-12)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_clip_grad_norm_that_is_not_finite(bad: float) -> None:
    mine, other = Parameter(np.zeros(2)), torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    mine.grad, other.grad = np.array([bad, 1.0]), torch.tensor([bad, 1.0], dtype=torch.float64)
    with np.errstate(invalid="ignore"):
        clip_grad_norm_(mine, 1.0)
    torch.nn.utils.clip_grad_norm_(other, 1.0)
    np.testing.assert_array_equal(mine.grad, other.grad)


def test_clip_grad_value() -> None:
    mine, other = pair()
    give_gradients(mine, other, 3)
    clip_grad_value_(mine, 0.3)
    torch.nn.utils.clip_grad_value_(other, 0.3)
    for p, q in zip(mine, other):
        if p.grad is not None:
            np.testing.assert_array_equal(p.grad, q.grad)


lr = torch.optim.lr_scheduler
SCHEDULES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "constant": (ConstantLR, lr.ConstantLR),
    "constant, options": (lambda o: ConstantLR(o, 0.2, 7), lambda o: lr.ConstantLR(o, 0.2, 7)),
    "linear": (LinearLR, lr.LinearLR),
    "linear, options": (lambda o: LinearLR(o, 0.1, 0.7, 20), lambda o: lr.LinearLR(o, 0.1, 0.7, 20)),
    "step": (lambda o: StepLR(o, 7), lambda o: lr.StepLR(o, 7)),
    "step, gamma": (lambda o: StepLR(o, 4, 0.7), lambda o: lr.StepLR(o, 4, 0.7)),
    "cosine": (lambda o: CosineAnnealingLR(o, 50), lambda o: lr.CosineAnnealingLR(o, 50)),
    "cosine, up again": (lambda o: CosineAnnealingLR(o, 20, 0.01), lambda o: lr.CosineAnnealingLR(o, 20, 0.01)),
    "lambda": (lambda o: LambdaLR(o, lambda t: 0.9**t), lambda o: lr.LambdaLR(o, lambda t: 0.9**t)),
    "warm-up": (
        lambda o: Warmup(CosineAnnealingLR(o, 40), 10),
        lambda o: lr.SequentialLR(
            o, [lr.LinearLR(o, 0.1, 1.0, 9), lr.CosineAnnealingLR(o, 40)], milestones=[10]
        ),
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SCHEDULES)
def test_fifty_steps_of_a_schedule(name: str) -> None:
    ours, theirs = SCHEDULES[name]
    mine, other = pair()
    one = SGD([{"params": mine[:2], "lr": 0.5}, {"params": mine[2:]}], lr=0.1)
    two = torch.optim.SGD([{"params": other[:2], "lr": 0.5}, {"params": other[2:]}], lr=0.1)
    schedule, oracle = ours(one), theirs(two)
    for _ in range(50):
        rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in (one, two)]
        np.testing.assert_allclose(rates[0], rates[1], rtol=1e-10, atol=1e-15)
        one.step()
        two.step()
        schedule.step()
        oracle.step()


def test_checkpoint_gives_the_gradients_of_pytorchs() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((4, 3)), rng.standard_normal((3, 3))
    x, w = Tensor(a, requires_grad=True), Parameter(b)
    tx, tw = (torch.tensor(array, requires_grad=True) for array in (a, b))
    h = checkpoint(lambda h: (h @ w).tanh(), checkpoint(lambda h: (h @ w).tanh(), x))
    (h * h).sum().backward()
    from torch.utils.checkpoint import checkpoint as theirs

    t = tx
    for _ in range(2):
        t = theirs(lambda h: (h @ tw).tanh(), t, use_reentrant=False)
    (t * t).sum().backward()
    np.testing.assert_allclose(x.grad, tx.grad, rtol=1e-12)
    np.testing.assert_allclose(w.grad, tw.grad, rtol=1e-12)


def test_files_go_both_ways(tmp_path: Path) -> None:
    theirs = pytest.importorskip("safetensors.torch")
    tensors = {"a": torch.randn(2, 3), "b": torch.randn(3).to(torch.bfloat16), "c": torch.tensor(3)}
    theirs.save_file(tensors, tmp_path / "theirs")
    save(load(tmp_path / "theirs"), tmp_path / "ours")
    back = theirs.load_file(tmp_path / "ours")
    assert all(
        torch.equal(back[name], tensor) and back[name].dtype == tensor.dtype
        for name, tensor in tensors.items()
    )
