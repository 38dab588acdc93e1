"""Adagrad."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringleader.runtime.autograd.native import KERNELS
from ringleader.runtime.autograd.op import Array, module_of
from ringleader.runtime.autograd.optim.optimizer import Optimizer, Params, Scratch, scratch_for


def update(
    w: Array, g: Array, state: Mapping[str, Array], step: int, *, lr: float, lr_decay: float = 0,
    weight_decay: float = 0, initial_accumulator_value: float = 0, eps: float = 1e-10, scratch: Scratch = None,
) -> None:  # fmt: skip
    """One step of ``w``, in place, by its gradient ``g``. ``state``: sum s, ``initial_accumulator_value`` at first.

    g += weight_decay w;  s += g^2;  w -= lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps), where t is ``step``.
    """
    xp, (a, b) = module_of(w), scratch_for(w, scratch)
    if weight_decay:
        xp.multiply(w, weight_decay, out=a)
        g = xp.add(g, a, out=a)
    s = state["sum"]
    xp.add(s, xp.multiply(g, g, out=b), out=s)
    xp.divide(g, xp.add(xp.sqrt(s, out=b), eps, out=b), out=a)
    xp.subtract(w, xp.multiply(a, lr / (1 + (step - 1) * lr_decay), out=a), out=w)


def kernel(
    w: Array, g: Array, state: Mapping[str, Array], step: int, *, lr: float, lr_decay: float = 0,
    weight_decay: float = 0, initial_accumulator_value: float = 0, eps: float = 1e-10,
) -> None:  # fmt: skip
    lr /= 1 + (step - 1) * lr_decay
    KERNELS.adagrad(w, state["sum"], g, lr=lr, eps=eps, weight_decay=weight_decay)


class Adagrad(Optimizer):
    """Adagrad with the diagonal of the matrix (Duchi et al. 2011): see ``update`` in this file."""

    update, kernel = staticmethod(update), staticmethod(kernel)

    def __init__(
        self, params: Params, lr: float = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
        initial_accumulator_value: float = 0, eps: float = 1e-10,
    ) -> None:  # fmt: skip
        super().__init__(params, lr=lr, lr_decay=lr_decay, weight_decay=weight_decay,
                         initial_accumulator_value=initial_accumulator_value, eps=eps)  # fmt: skip

    def check(self, options: Mapping[str, Any]) -> None:
        self.not_negative(options, *self.defaults)

    def initial(self, options: Mapping[str, Any]) -> dict[str, float]:
        return {"sum": options["initial_accumulator_value"]}
