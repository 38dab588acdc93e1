"""Mixed precision: parameters and gradients in 16 bits, master weights in 32 (Micikevicius et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ringleader.runtime.autograd.module import Module, Parameter
from ringleader.runtime.autograd.op import module_of, moved, to_host
from ringleader.runtime.autograd.optim import Optimizer
from ringleader.runtime.autograd.state import bfloat16
from ringleader.runtime.autograd.tensor import Tensor


class MixedPrecision:
    """Turns a float32 model to 16 bits; the optimiser goes on with float32 masters, by unscaled gradients.

        mixed = MixedPrecision(model, Adam(model.parameters()), "float16")
        mixed.zero_grad()
        mixed.scale(loss_of(model, x)).backward()   # x and the loss are float16 too
        mixed.step()

    Gradients that are too small for 16 bits survive because the loss is multiplied by a scale. Where it makes
    one inf or nan, that step is skipped and the scale multiplied by ``backoff_factor``; after
    ``growth_interval`` good steps in a row it is multiplied by ``growth_factor``, but never goes past the
    largest power of two that the dtype has (float16: 2^15, also for ``init_scale``). To clip gradients, call
    ``unscale()`` first and clip those of ``mixed.masters``. Make this before DataParallel, which needs the
    final dtype; its gradients are the same on all ranks, so all skip the same steps.

    Buffers stay as they are. ValueError: another dtype, a parameter that is not float32 or has
    ``grad_storage``, an optimiser of other parameters, an option that makes no sense. ImportError: bfloat16
    without ml_dtypes.
    """

    def __init__(
        self, model: Module, optimizer: Optimizer, dtype: str = "bfloat16", init_scale: float = 2.0**16,
        growth_factor: float = 2.0, backoff_factor: float = 0.5, growth_interval: int = 2000,
    ) -> None:  # fmt: skip
        if dtype not in ("bfloat16", "float16"):
            raise ValueError(f"MixedPrecision: dtype must be bfloat16 or float16, it is {dtype}")
        for option, value, holds, allowed in (
            ("init_scale", init_scale, init_scale > 0, "above 0"),
            ("growth_factor", growth_factor, growth_factor >= 1, "at least 1"),
            ("backoff_factor", backoff_factor, 0 < backoff_factor < 1, "in (0, 1)"),
            ("growth_interval", growth_interval, growth_interval >= 1, "at least 1"),
        ):
            if not holds:
                raise ValueError(f"MixedPrecision: {option} must be {allowed}, it is {value}")
        self.dtype = bfloat16() if dtype == "bfloat16" else np.dtype(np.float16)
        self.optimizer, self.parameters = optimizer, dict(model.named_parameters())
        self._refuse_what_does_not_fit()
        self.largest = 2.0**127 if dtype == "bfloat16" else 2.0**15
        self.current_scale, self.good_steps = min(float(init_scale), self.largest), 0
        self.growth_factor, self.backoff_factor, self.growth_interval = (
            growth_factor,
            backoff_factor,
            growth_interval,
        )
        self.masters = {name: Parameter(p.data, device=p.device) for name, p in self.parameters.items()}
        by_id = {id(p): self.masters[name] for name, p in self.parameters.items()}
        optimizer.use([by_id[id(p)] for p in optimizer.params])
        for parameter in self.parameters.values():
            parameter.data, parameter.grad = parameter.data.astype(self.dtype), None
        self._unscaled = False

    def _refuse_what_does_not_fit(self) -> None:
        for name, p in self.parameters.items():
            if p.dtype != np.float32 or p.grad_storage is not None:
                raise ValueError(f"MixedPrecision: {name} must be float32 and without grad_storage (wrap the model "
                                 f"before others do); it is {p.dtype}")  # fmt: skip
        known = {id(p) for p in self.parameters.values()}
        if not all(id(p) in known for p in self.optimizer.params):
            raise ValueError("MixedPrecision: the optimiser has parameters that are not the model's")

    def zero_grad(self) -> None:
        for tensor in (*self.parameters.values(), *self.masters.values()):
            tensor.zero_grad()
        self._unscaled = False

    def scale(self, loss: Tensor) -> Tensor:
        """``loss`` times the scale. In float16 its value may be inf, which its gradient does not mind."""
        with np.errstate(over="ignore"):
            return loss * Tensor(np.asarray(self.current_scale, loss.dtype), device=loss.device)

    def unscale(self) -> None:
        """Give the masters the model's gradients, in float32 and without the scale; ``step`` does it if need be."""
        for name, parameter in self.parameters.items():
            master = self.masters[name]
            master.zero_grad()
            if parameter.grad is not None:
                g = parameter.grad.astype(np.float32)
                g *= 1 / self.current_scale
                master.grad = g
        self._unscaled = True

    def step(self) -> bool:
        """The optimiser's step, then the model's weights from the masters. False: skipped, not all was finite."""
        if not self._unscaled:
            self.unscale()
        self._unscaled = False
        grads = [m.grad for m in self.masters.values() if m.grad is not None]
        finite = all(module_of(g).isfinite(g).all() for g in grads)
        if not finite:
            self.current_scale, self.good_steps = self.current_scale * self.backoff_factor, 0
            return False
        self.optimizer.step()
        self._round()
        self.good_steps += 1
        if self.good_steps == self.growth_interval:
            self.current_scale, self.good_steps = (
                min(self.current_scale * self.growth_factor, self.largest),
                0,
            )
        return True

    def _round(self) -> None:
        for name, parameter in self.parameters.items():
            parameter.data[...] = self.masters[name].data
            parameter.mark_changed()

    def state_dict(self) -> dict[str, Any]:
        """The masters and the scale; the optimiser has a state of its own."""
        masters = {name: to_host(master.data.copy()) for name, master in self.masters.items()}
        return {"scale": self.current_scale, "good_steps": self.good_steps, "masters": masters}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``, bit for bit. ValueError: masters of other names or shapes; nothing has changed then."""
        shapes = {name: np.shape(array) for name, array in state["masters"].items()}
        if shapes != {name: master.shape for name, master in self.masters.items()}:
            raise ValueError(f"MixedPrecision: the state has masters {shapes}, which are not this model's")
        self.current_scale, self.good_steps = float(state["scale"]), int(state["good_steps"])
        for name, master in self.masters.items():
            master.data[...] = moved(state["masters"][name], module_of(master.data))
        self._round()
