"""Optimisers, learning rate schedules and clipping by name, as autograd has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ringleader.runtime.autograd import (
    LAMB,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    ConstantLR,
    CosineAnnealingLR,
    Module,
    Optimizer,
    StepLR,
    Warmup,
    clip_grad_norm_,
)

if TYPE_CHECKING:
    from ringleader.runtime.training.config import TrainConfig


@dataclass(frozen=True)
class Named:
    """A class of autograd, defaults of TrainConfig that are good for it, and its own options there."""

    cls: Any
    defaults: Mapping[str, Any]
    options: tuple[str, ...] = ()


OPTIMIZERS = {  # all have lr and weight_decay
    "sgd": Named(SGD, {"lr": 0.03}, ("momentum",)),
    "adam": Named(Adam, {"lr": 1e-3}),
    "adamw": Named(AdamW, {"lr": 1e-3, "weight_decay": 0.01}),
    "adagrad": Named(Adagrad, {"lr": 1e-2}),
    "lamb": Named(LAMB, {"lr": 2e-3, "weight_decay": 0.01}),
}
SCHEDULES: dict[str, tuple[str, ...]] = {  # the options of TrainConfig that they alone have
    "constant": (),
    "step": ("step_size", "gamma"),
    "cosine": (),
}


def make_optimizer(model: Module, config: TrainConfig) -> Optimizer:
    """The optimiser that ``config`` names."""
    optimizer: Optimizer = OPTIMIZERS[config.optimizer].cls(model.parameters(), **optimizer_options(config))
    return optimizer


def optimizer_options(config: TrainConfig) -> dict[str, float]:
    """The options of ``config`` that its optimiser takes."""
    return {
        name: getattr(config, name) for name in ("lr", "weight_decay", *OPTIMIZERS[config.optimizer].options)
    }


def make_schedule(optimizer: Optimizer, steps: int, config: TrainConfig) -> Any:
    """What sets the learning rate of each of ``steps`` steps, by a call of ``step()`` after each; None: it is constant.

    It rises for ``warmup`` steps. After them: "constant"; "step", times ``gamma`` every ``step_size`` steps (a third
    of what follows if not given); "cosine", down to 0 at the end.
    """
    if config.schedule == "constant" and not config.warmup:
        return None
    rest = max(1, steps - config.warmup)
    rules: dict[str, tuple[Any, dict[str, Any]]] = {
        "constant": (ConstantLR, {"factor": 1.0}),
        "step": (StepLR, {"step_size": config.step_size or -(-rest // 3), "gamma": config.gamma}),
        "cosine": (CosineAnnealingLR, {"T_max": rest}),
    }
    cls, options = rules[config.schedule]
    after = cls(optimizer, **options)
    return Warmup(after, config.warmup) if config.warmup else after


def clip_gradients(model: Module, norm: float) -> None:
    """Scale all gradients down together, if need be, to that norm; they are reduced already, so all ranks agree."""
    clip_grad_norm_(model.parameters(), norm)
