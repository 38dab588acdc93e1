"""Learning rates that change from step to step, each a closed form of the number of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import cos, pi
from typing import Any

from ringleader.runtime.autograd.optim.optimizer import Optimizer


class Schedule:
    """Sets ``lr`` of every group of an optimiser: at once for t = 0, then ``step()`` goes to the next t.

    Call ``step()`` after ``optimizer.step()``, once a step or once an epoch: that is what t counts. The lr
    that a group has when the schedule is made is its base. A subclass says ``lr_at``, or
    ``LambdaLR(optimizer, function)`` takes a function that gives the factor.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.bases: list[float] = [group["lr"] for group in optimizer.param_groups]
        self.t = 0
        self._set()

    def lr_at(self, base: float, t: int) -> float:
        """The learning rate of step ``t`` where the base is ``base``."""
        raise NotImplementedError

    def step(self) -> None:
        self.t += 1
        self._set()

    def get_last_lr(self) -> list[float]:
        """What was set last, for each group."""
        return [float(self.lr_at(base, self.t)) for base in self.bases]

    def _set(self) -> None:
        for group, lr in zip(self.optimizer.param_groups, self.get_last_lr()):
            group["lr"] = lr

    def state_dict(self) -> dict[str, Any]:
        return {"t": self.t, "bases": list(self.bases)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``, and set the learning rates. ValueError: another number of groups."""
        if len(state["bases"]) != len(self.optimizer.param_groups):
            raise ValueError(f"{type(self).__name__}: the state is of {len(state['bases'])} groups, the optimiser "
                             f"has {len(self.optimizer.param_groups)}")  # fmt: skip
        self.t, self.bases = int(state["t"]), [float(base) for base in state["bases"]]
        self._set()

    def _refuse_unless(self, holds: bool, option: str, value: float, allowed: str) -> None:
        if not holds:
            raise ValueError(f"{type(self).__name__}: {option} must be {allowed}, it is {value}")


class LambdaLR(Schedule):
    """base * lr_lambda(t). The function is not part of the state."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float]) -> None:
        self.lr_lambda = lr_lambda
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        return base * self.lr_lambda(t)


class ConstantLR(Schedule):
    """base * factor for the first ``total_iters`` steps, then base."""

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5) -> None:
        self._refuse_unless(0 <= factor <= 1, "factor", factor, "in [0, 1]")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        return base * self.factor if t < self.total_iters else base


class LinearLR(Schedule):
    """From base * start_factor in a line to base * end_factor at step ``total_iters``, and there it stays."""

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5
    ) -> None:
        self._refuse_unless(0 < start_factor <= 1, "start_factor", start_factor, "in (0, 1]")
        self._refuse_unless(0 <= end_factor <= 1, "end_factor", end_factor, "in [0, 1]")
        self._refuse_unless(total_iters >= 1, "total_iters", total_iters, "at least 1")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        share = min(t, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * share)


class StepLR(Schedule):
    """base * gamma^k after k times ``step_size`` steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self._refuse_unless(step_size >= 1, "step_size", step_size, "at least 1")
        self._refuse_unless(gamma >= 0, "gamma", gamma, "at least 0")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        return base * float(self.gamma ** (t // self.step_size))


class CosineAnnealingLR(Schedule):
    """Half a cosine from base to ``eta_min`` at step ``T_max``, and on from there (Loshchilov and Hutter 2017)."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self._refuse_unless(T_max >= 1, "T_max", T_max, "at least 1")
        self._refuse_unless(eta_min >= 0, "eta_min", eta_min, "at least 0")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        return self.eta_min + (base - self.eta_min) * (1 + cos(pi * t / self.T_max)) / 2


class Warmup(Schedule):
    """In a line from base / steps to base in the first ``steps`` steps, then ``after`` from its beginning.

    Gradual warm-up: Goyal et al. 2017, section 2.2. ``Warmup(CosineAnnealingLR(optimizer, 90), 10)`` is
    a hundred steps in all. ``after`` has set the learning rate already, and is not to be stepped by itself.
    """

    def __init__(self, after: Schedule, steps: int) -> None:
        self._refuse_unless(steps >= 0, "steps", steps, "at least 0")
        self.after, self.steps = after, steps
        for group, base in zip(after.optimizer.param_groups, after.bases):
            group["lr"] = base
        super().__init__(after.optimizer)

    def lr_at(self, base: float, t: int) -> float:
        return base * (t + 1) / self.steps if t < self.steps else self.after.lr_at(base, t - self.steps)
