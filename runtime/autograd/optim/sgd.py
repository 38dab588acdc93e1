"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringleader.runtime.autograd.native import KERNELS
from ringleader.runtime.autograd.op import Array, module_of
from ringleader.runtime.autograd.optim.optimizer import Optimizer, Params, Scratch, scratch_for


def update(
    w: Array, g: Array, state: Mapping[str, Array], step: int, *, lr: float, momentum: float = 0,
    dampening: float = 0, weight_decay: float = 0, nesterov: bool = False, scratch: Scratch = None,
) -> None:  # fmt: skip
    """One step of ``w``, in place, by its gradient ``g``. ``state``: momentum_buffer v, if there is momentum.

    g += weight_decay w;  v = g in step 1, later momentum v + (1 - dampening) g;  then v takes the place of
    g, or with ``nesterov`` g + momentum v does;  w -= lr g.
    """
    xp, (a, b) = module_of(w), scratch_for(w, scratch)
    if weight_decay:
        xp.multiply(w, weight_decay, out=a)
        g = xp.add(g, a, out=a)
    if momentum:
        v = state["momentum_buffer"]
        if step == 1:
            v[...] = g
        else:
            xp.multiply(v, momentum, out=v)
            xp.add(v, xp.multiply(g, 1 - dampening, out=b) if dampening else g, out=v)
        g = xp.add(g, xp.multiply(v, momentum, out=b), out=a) if nesterov else v
    xp.subtract(w, xp.multiply(g, lr, out=a), out=w)


def kernel(
    w: Array, g: Array, state: Mapping[str, Array], step: int, *, lr: float, momentum: float = 0,
    dampening: float = 0, weight_decay: float = 0, nesterov: bool = False,
) -> None:  # fmt: skip
    KERNELS.sgd(
        w, state["momentum_buffer"] if momentum else None, g, lr=lr, momentum=momentum, dampening=dampening,
        weight_decay=weight_decay, nesterov=nesterov, first=step == 1,
    )  # fmt: skip


class SGD(Optimizer):
    """Stochastic gradient descent with momentum and weight decay: see ``update`` in this file.

    Momentum: Polyak 1964, in the form of Sutskever et al. 2013 as in PyTorch. ValueError: ``nesterov``
    without momentum, or with dampening.
    """

    update, kernel = staticmethod(update), staticmethod(kernel)

    def __init__(
        self, params: Params, lr: float = 1e-3, momentum: float = 0, weight_decay: float = 0,
        *, dampening: float = 0, nesterov: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay,
                         nesterov=nesterov)  # fmt: skip

    def check(self, options: Mapping[str, Any]) -> None:
        self.not_negative(options, "lr", "momentum", "weight_decay")
        if not 0 <= options["dampening"] <= 1:
            raise ValueError(f"SGD: dampening must be in [0, 1], it is {options['dampening']}")
        if options["nesterov"] and (not options["momentum"] or options["dampening"]):
            raise ValueError("SGD: nesterov needs momentum above 0 and dampening 0, they are "
                             f"{options['momentum']} and {options['dampening']}")  # fmt: skip

    def initial(self, options: Mapping[str, Any]) -> dict[str, float]:
        return {"momentum_buffer": 0.0} if options["momentum"] else {}
