"""LAMB, for large batches."""

from __future__ import annotations

from collections.abc import Mapping

from ringleader.runtime.autograd.op import Array, module_of
from ringleader.runtime.autograd.optim.adam import Adam, Betas, moments
from ringleader.runtime.autograd.optim.clip import norm
from ringleader.runtime.autograd.optim.optimizer import Params, Scratch, scratch_for


def update(
    w: Array, g: Array, state: Mapping[str, Array], step: int, *, lr: float, betas: Betas = (0.9, 0.999),
    eps: float = 1e-6, weight_decay: float = 0.01, scratch: Scratch = None,
) -> None:  # fmt: skip
    """One step of one whole tensor ``w``, in place. ``state``: the moments exp_avg m, exp_avg_sq v.

    m and v as Adam's;  u = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay w;
    w -= lr |w| / |u| u, where the ratio is 1 if either norm is 0, and t is ``step``.
    """
    xp, (a, b) = module_of(w), scratch_for(w, scratch)
    m, v = moments(g, state, betas, b)
    xp.divide(xp.sqrt(v, out=b), (1 - betas[1] ** step) ** 0.5, out=b)
    xp.divide(m, xp.add(b, eps, out=b), out=a)
    u = xp.divide(a, 1 - betas[0] ** step, out=a)
    if weight_decay:
        xp.add(u, xp.multiply(w, weight_decay, out=b), out=u)
    of_w, of_u = norm(w), norm(u)
    ratio = of_w / of_u if of_w and of_u else 1.0
    xp.subtract(w, xp.multiply(u, lr * ratio, out=u), out=w)


class LAMB(Adam):
    """LAMB (You et al. 2020, Algorithm 2): see ``update`` in this file.

    The variant: both moments with bias correction, weight decay inside the trust ratio, and no clamp of
    the norms (phi is the identity).
    """

    update, kernel = staticmethod(update), None  # type: ignore[assignment]
    elementwise = False

    def __init__(
        self, params: Params, lr: float = 1e-3, betas: Betas = (0.9, 0.999), eps: float = 1e-6,
        weight_decay: float = 0.01,
    ) -> None:  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay)
