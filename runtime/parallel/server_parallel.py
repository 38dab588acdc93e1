"""Data parallelism over a parameter server: workers push gradients while backward runs, and pull what forward needs next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ringleader.runtime.autograd import Module, Optimizer, Parameter, Tensor, clip_grad_norm_
from ringleader.runtime.autograd.op import array_module, module_of, moved, to_host
from ringleader.runtime.autograd.optim.flat import lay_out
from ringleader.runtime.comm.leader import Handle, ParameterServer, Part


class OptimizerRule:
    """A server's rule: an optimiser of autograd for each part, with its state where the part is.

    ``OptimizerRule(SGD, lr=0.1, momentum=0.9)``. A push's ``lr`` replaces the learning rate for that update.
    """

    def __init__(self, cls: type[Optimizer], **options: Any) -> None:
        self.make: Callable[[list[Tensor]], Optimizer] = lambda params: cls(params, **options)
        self.whole = not cls.elementwise

    def slot(self, part: Part, w: NDArray[Any]) -> OptimizerSlot:
        return OptimizerSlot(self.make, w)


class OptimizerSlot:
    """One part, as the only parameter of an optimiser."""

    in_place = True

    def __init__(self, make: Callable[[list[Tensor]], Optimizer], w: NDArray[Any]) -> None:
        self.parameter = Parameter(w)
        self.optimizer = make([self.parameter])

    @property
    def w(self) -> NDArray[Any]:
        w: NDArray[Any] = self.parameter.data
        return w

    @w.setter
    def w(self, w: NDArray[Any]) -> None:
        self.parameter.data = w

    def update(self, g: NDArray[Any], lr: float | None) -> None:
        if lr is not None:
            self.optimizer.param_groups[0]["lr"] = lr
        self.parameter.grad = g
        self.optimizer.step()

    def state(self) -> dict[str, NDArray[Any]]:
        return {name: np.asarray(value) for name, value in self.optimizer.state.get(0, {}).items()}

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        whole = self.optimizer.state_dict()
        self.optimizer.load_state_dict({**whole, "state": {0: dict(state)} if state else {}})


class ServerParallel:
    """A model whose parameters are on ``server``: on its workers, what DataParallel is over AllReduce.

        rule = OptimizerRule(SGD, lr=0.1)
        server = ParameterServer(world, servers=2, mode="ssp", rule=rule, reduction="sum")
        if server.is_worker:
            parallel = ServerParallel(model, server)    # all workers start with the first one's weights
            parallel.zero_grad()
            loss = cross_entropy(parallel(x), y, reduction="sum") / global_batch
            parallel.backward(loss)                     # pushes each gradient as soon as it is there
            parallel.step()                             # pulls; the next forward waits for what it needs
            parallel.wait()                             # before the parameters are used otherwise
        server.close()

    A module's parameters are waited for just before its forward runs, in the order of the first forward, which is
    also their priority; those of a module whose forward is never called, before the model's. ``clip``: gradients are
    pushed after the backward, this worker's all scaled down to at most that norm. The gradient of a parameter that a
    step has not used is zero. ValueError: no parameters.
    """

    def __init__(self, model: Module, server: ParameterServer, clip: float | None = None) -> None:
        self.model, self.server, self.clip = model, server, clip
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise ValueError(f"ServerParallel: {type(model).__name__} has no parameters that need a gradient")
        self.lr: float | None = None  # for the updates of the next pushes; None: the rule's own
        self._gradients = self._lay_out()
        self._waiting: set[str] = set()  # parameters whose gradient this backward has yet to bring
        self._pushes: list[Handle] = []
        self._pulls: dict[str, Handle] = {}
        self._order: dict[str, int] = {}  # of use in the first forward
        self._hooks = [
            p.register_post_accumulate_grad_hook(self._ready(name)) for name, p in self.parameters.items()
        ]
        names = {id(p): name for name, p in self.parameters.items()}
        for module in model.modules():
            own = [names[id(p)] for p in vars(module).values() if isinstance(p, Parameter) and id(p) in names]
            if own:
                self._hooks.append(module.register_forward_pre_hook(self._before(own)))
        self._hooks.append(model.register_forward_pre_hook(self._before_all))
        server.init({name: np.ascontiguousarray(to_host(p.data)) for name, p in self.parameters.items()})
        self.pull()
        self.wait()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.model(*args, **kwargs)

    def _lay_out(self) -> dict[str, NDArray[Any]]:
        """Host memory for each gradient, which servers of this node can read where it lies, if there is such."""
        by_dtype: dict[np.dtype[Any], list[str]] = {}
        for name, parameter in self.parameters.items():
            by_dtype.setdefault(parameter.dtype, []).append(name)
        found = {}
        for dtype, names in by_dtype.items():
            parameters = [self.parameters[name] for name in names]
            flat, at = self.server.world.empty(sum(p.size for p in parameters), dtype), 0
            if array_module(parameters[0].device) is np:
                lay_out(parameters, None, flat)
            for name, p in zip(names, parameters):
                found[name] = flat[at : at + p.size].reshape(p.shape)
                at += p.size
        return found

    # Gradients

    def _ready(self, name: str) -> Callable[[Tensor], None]:
        def ready(_: Tensor) -> None:
            if name not in self._waiting:
                raise RuntimeError(
                    f"ServerParallel: gradient of {name!r} came without zero_grad() before this backward"
                )
            self._waiting.remove(name)
            if self.clip is None:
                self._push(name)

        return ready

    def _push(self, name: str) -> None:
        parameter, gradient = self.parameters[name], self._gradients[name]
        if parameter.grad is not gradient:  # a GPU's
            gradient[...] = to_host(parameter.grad)
        self._pushes.append(self.server.push(name, gradient, self._order.get(name, 0), self.lr))

    def zero_grad(self) -> None:
        """No parameter has a gradient then. Waits until those of the last step have been taken."""
        for handle in self._pushes:
            handle.wait()
        self._pushes.clear()
        self._waiting = set(self.parameters)
        for parameter in self.parameters.values():
            parameter.grad = None

    def backward(self, loss: Tensor) -> None:
        """loss.backward(), and push what it has not brought, or ``clip`` held back."""
        loss.backward()
        unused = [name for name in self.parameters if name in self._waiting]
        for name in unused:
            self.parameters[name].zero_grad()
            if self.parameters[name].grad is None:
                self.parameters[name].grad = module_of(self.parameters[name].data).zeros_like(
                    self.parameters[name].data
                )
        if self.clip is not None:
            clip_grad_norm_(self.parameters.values(), self.clip)
        for name in unused if self.clip is None else self.parameters:
            self._push(name)
        self._waiting.clear()

    def step(self) -> None:
        """The iteration is over: start to pull the parameters for the next. Does not wait for them."""
        self.server.clock()
        self.pull()

    # Parameters

    def pull(self) -> None:
        """Start to pull all parameters, in the order in which they will be needed."""
        for name in sorted(self.parameters, key=lambda name: self._order.get(name, 0)):
            data = self.parameters[name].data
            out = data if isinstance(data, np.ndarray) and data.flags.c_contiguous else None
            self._pulls[name] = self.server.pull(name, out, self._order.get(name, 0))

    def _arrived(self, name: str) -> None:
        """Wait for this parameter."""
        if name in self._pulls:
            fresh, parameter = self._pulls.pop(name).wait(), self.parameters[name]
            if fresh is not parameter.data:
                parameter.data[...] = moved(fresh, module_of(parameter.data))
            parameter.mark_changed()

    def _before(self, names: list[str]) -> Callable[[Module, tuple[Any, ...]], None]:
        def before(_: Module, _args: tuple[Any, ...]) -> None:
            for name in names:
                self._order.setdefault(name, len(self._order))
                self._arrived(name)

        return before

    def _before_all(self, _: Module, _args: tuple[Any, ...]) -> None:
        """Nobody else waits for those that the first forward has not met."""
        if self._order:
            for name in self.parameters.keys() - self._order.keys():
                self._arrived(name)

    def wait(self) -> None:
        """Return when all parameters have come."""
        for name in list(self._pulls):
            self._arrived(name)

    def close(self) -> None:
        """Wait for all that is under way, and give the parameters back: no hooks, and gradients of their own."""
        self.wait()
        self.zero_grad()
        for hook in self._hooks:
            hook.remove()
        for parameter in self.parameters.values():
            parameter.grad_storage = None
            parameter.grad = None
