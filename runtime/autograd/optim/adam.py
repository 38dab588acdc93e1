"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ringleader.runtime.autograd.native import KERNELS
from ringleader.runtime.autograd.op import Array, module_of
from ringleader.runtime.autograd.optim.optimizer import Optimizer, Params, Scratch, scratch_for

Betas = tuple[float, float]


def update(
    w: Array, g: Array, state: Mapping[str, Array], step: int, *, lr: float, betas: Betas = (0.9, 0.999),
    eps: float = 1e-8, weight_decay: float = 0, scratch: Scratch = None,
) -> None:  # fmt: skip
    """One step of ``w``, in place, by its gradient ``g``. ``state``: the moments exp_avg m, exp_avg_sq v.

    g += weight_decay w;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;
    w -= lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps), where t is ``step``.
    """
    xp, (a, b) = module_of(w), scratch_for(w, scratch)
    if weight_decay:
        xp.multiply(w, weight_decay, out=a)
        g = xp.add(g, a, out=a)
    m, v = moments(g, state, betas, b)
    xp.divide(xp.sqrt(v, out=b), (1 - betas[1] ** step) ** 0.5, out=b)
    xp.divide(m, xp.add(b, eps, out=b), out=a)
    xp.subtract(w, xp.multiply(a, lr / (1 - betas[0] ** step), out=a), out=w)


def moments(g: Array, state: Mapping[str, Array], betas: Betas, b: Array) -> tuple[Array, Array]:
    """Both moments with ``g`` taken in, as running means; ``b`` is scratch."""
    xp, m, v = module_of(g), state["exp_avg"], state["exp_avg_sq"]
    xp.multiply(m, betas[0], out=m)
    xp.add(m, xp.multiply(g, 1 - betas[0], out=b), out=m)
    xp.multiply(v, betas[1], out=v)
    xp.multiply(xp.multiply(g, g, out=b), 1 - betas[1], out=b)
    xp.add(v, b, out=v)
    return m, v


def update_decoupled(
    w: Array, g: Array, state: Mapping[str, Array], step: int, *, lr: float, betas: Betas = (0.9, 0.999),
    eps: float = 1e-8, weight_decay: float = 0.01, scratch: Scratch = None,
) -> None:  # fmt: skip
    """As ``update``, but the decay is not part of the gradient: w -= lr weight_decay w comes first."""
    if weight_decay:
        w *= 1 - lr * weight_decay
    update(w, g, state, step, lr=lr, betas=betas, eps=eps, scratch=scratch)


def kernel(
    w: Array, g: Array, state: Mapping[str, Array], step: int, *, lr: float, betas: Betas = (0.9, 0.999),
    eps: float = 1e-8, weight_decay: float = 0, decoupled: bool = False,
) -> None:  # fmt: skip
    KERNELS.adam(
        w, state["exp_avg"], state["exp_avg_sq"], g, lr=lr, beta1=betas[0], beta2=betas[1], eps=eps,
        weight_decay=weight_decay, bias1=1 - betas[0] ** step, bias2=1 - betas[1] ** step, decoupled=decoupled,
    )  # fmt: skip


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015), with weight decay added to the gradient: see ``update`` in this file."""

    update, kernel = staticmethod(update), staticmethod(kernel)

    def __init__(
        self, params: Params, lr: float = 1e-3, betas: Betas = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0,
    ) -> None:  # fmt: skip
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def check(self, options: Mapping[str, Any]) -> None:
        self.not_negative(options, "lr", "eps", "weight_decay")
        betas = options["betas"]
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"{type(self).__name__}: betas must be two numbers in [0, 1), they are {betas}")

    def initial(self, options: Mapping[str, Any]) -> dict[str, float]:
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0}


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): see ``update_decoupled`` in this file."""

    update, kernel = staticmethod(update_decoupled), staticmethod(partial(kernel, decoupled=True))

    def __init__(
        self, params: Params, lr: float = 1e-3, betas: Betas = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay)
