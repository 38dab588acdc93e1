"""What all optimisers share: groups of options, state, and which arrays are updated by one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from ringleader.runtime.autograd.native import KERNELS, takes, wanted
from ringleader.runtime.autograd.op import LATER, Array, address, array_module, module_of, to_host
from ringleader.runtime.autograd.optim.flat import follows, span
from ringleader.runtime.autograd.tensor import Tensor

Params: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]]
Scratch: TypeAlias = tuple[Array, Array] | None  # two arrays of the shape and dtype of w
Options: TypeAlias = Mapping[str, Any]

BLOCK = 1 << 15  # elements that are updated at a time: all arrays of a rule then stay in the cache


def scratch_for(w: Array, scratch: Scratch) -> tuple[Array, Array]:
    xp = module_of(w)
    return (xp.empty_like(w), xp.empty_like(w)) if scratch is None else scratch


class Kernel(NamedTuple):
    """A rule in one pass over memory: ``step`` is called as ``update``, without scratch, for what it ``takes``."""

    step: Callable[..., None]
    takes: Callable[..., bool]


@dataclass
class Run:
    """Parameters that are updated as one array, because their data and their gradients lie one after the other."""

    members: list[int]
    w: Array
    g: Array | None  # None: that of a single parameter, which gets another array in every step
    state: dict[str, Array]  # as w: flat, if w is
    kernel: Kernel | None  # the rule's, if it takes them


class Optimizer:
    """Holds the parameters; ``step()`` changes them in place by their gradients. None: left alone.

    ``params``: tensors, or groups of them with options of their own, as ``{"params": [...], "lr": 0.1}``.
    ``param_groups`` holds all options and is what schedules change. ValueError: no parameters, one that is
    there twice or is no leaf, an unknown option, or one that makes no sense.

    A subclass has its rule in ``update``, a function of arrays and numbers only, so that a parameter server
    can call it too: ``update(w, g, state, step, **options)`` changes ``w`` and ``state`` in place in update
    number ``step`` (from 1), and needs two arrays like ``w`` as scratch, which it makes if not given. ``kernel`` is
    the same without scratch, in one pass over memory, for arrays that native kernels take; ``update`` says what it does.
    """

    update: ClassVar[Callable[..., None]]
    kernel: ClassVar[Callable[..., None] | None] = None
    elementwise: ClassVar[bool] = True  # whether the rule may be applied to any part of a tensor by itself

    def __init__(self, params: Params, **defaults: Any) -> None:
        self.defaults = defaults
        self.params: list[Tensor] = []
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[int, dict[str, Any]] = {}  # parameter -> its step and arrays
        self._plans: dict[int, tuple[Any, list[Run]]] = {}
        self._scratch: dict[Any, tuple[Array, Array]] = {}
        given: list[Any] = list(params)
        if not given:
            raise ValueError(f"{type(self).__name__}: there are no parameters")
        groups = given if isinstance(given[0], dict) else [{"params": given}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """One more group; options it does not name are the optimiser's."""
        name, given = type(self).__name__, group["params"]
        params = [given] if isinstance(given, Tensor) else list(given)
        unknown = group.keys() - self.defaults.keys() - {"params"}
        if unknown:
            raise ValueError(f"{name}: unknown options {sorted(unknown)}; known: {', '.join(self.defaults)}")
        if not params:
            raise ValueError(f"{name}: there are no parameters")
        if not all(parameter.is_leaf for parameter in params):
            raise ValueError(f"{name}: a parameter must be a leaf, not the result of an op")
        everyone = [id(parameter) for parameter in self.params + params]
        if len(set(everyone)) < len(everyone):
            raise ValueError(f"{name}: a parameter is there twice")
        options = {key: group.get(key, default) for key, default in self.defaults.items()}
        self.check(options)
        self.param_groups.append({"params": params, **options})
        self.params += params

    def use(self, params: Sequence[Tensor]) -> None:
        """Update these from now on, each in the place and with the state of the one that was there before."""
        self.params, at = list(params), 0
        for group in self.param_groups:
            count = len(group["params"])
            group["params"] = self.params[at : at + count]
            at += count

    def check(self, options: Options) -> None:
        """ValueError names the option that makes no sense."""

    def not_negative(self, options: Options, *names: str) -> None:
        for name in names:
            if not options[name] >= 0:
                raise ValueError(f"{type(self).__name__}: {name} must not be negative, it is {options[name]}")

    def initial(self, options: Options) -> dict[str, float]:
        """The arrays of the rule's state for one parameter, and what they are filled with before step 1."""
        return {}

    # Steps

    def zero_grad(self) -> None:
        for parameter in self.params:
            parameter.zero_grad()

    def step(self) -> None:
        for number, options in enumerate(self._options()):
            for run in self._runs(number, options):
                step = self.state[run.members[0]]["step"] + 1
                self._update(run, step, options)
                for i in run.members:
                    self.state[i]["step"] = step
                    self.params[i].mark_changed()

    def _update(self, run: Run, step: int, options: Options) -> None:
        """One step of one run: by one call of the kernel, or of the rule in pieces."""
        g, kernel = run.g, run.kernel
        if g is None:
            g = self.params[run.members[0]].grad
            assert g is not None  # or there would be no such run
            g = g.reshape(run.w.shape)
            kernel = kernel if kernel is not None and kernel.takes(run.w, g) else None
        if kernel is not None:
            kernel.step(run.w, g, run.state, step, **options)
            return
        for w, part, state, scratch in self._pieces(run, g):
            type(self).update(w, part, state, step, **options, scratch=scratch)

    def _options(self) -> list[dict[str, Any]]:
        """Each group's, without its parameters."""
        return [{key: group[key] for key in self.defaults} for group in self.param_groups]

    def _pieces(self, run: Run, g: Array) -> Iterator[tuple[Array, Array, dict[str, Array], Scratch]]:
        """The run in pieces that fit into the cache; in one, if it must stay whole."""
        if not self.elementwise or run.w.ndim != 1:
            yield run.w, g, run.state, self._scratch_of(run.w)
            return
        for at in range(0, run.w.size, BLOCK):
            part = slice(at, at + BLOCK)
            state = {name: array[part] for name, array in run.state.items()}
            yield run.w[part], g[part], state, self._scratch_of(run.w[part])

    def _scratch_of(self, w: Array) -> tuple[Array, Array]:
        """The same memory for all that are no larger than what was there."""
        key = (type(w), w.dtype)
        if key not in self._scratch or self._scratch[key][0].size < w.size:
            xp = module_of(w)
            self._scratch[key] = (xp.empty_like(w, shape=w.size), xp.empty_like(w, shape=w.size))
        a, b = self._scratch[key]
        return a[: w.size].reshape(w.shape), b[: w.size].reshape(w.shape)

    # Which parameters are updated together

    def _runs(self, number: int, options: Options) -> list[Run]:
        """All parameters of a group that have gradients; the same as last time if the arrays are the same."""
        start = sum(len(group["params"]) for group in self.param_groups[:number])
        live = [i for i, parameter in enumerate(self.param_groups[number]["params"], start)
                if parameter.grad is not None]  # fmt: skip
        names = self.initial(options)
        arrays = [array for i in live for array in self._arrays(i)]
        key, runs = self._plans.get(number, (None, []))
        if key and key[0] == names and len(key[1]) == len(arrays) and all(map(is_, key[1], arrays)):
            return runs
        for i in live:
            self._prepare(i, names)
        runs = [self._run(members, list(names)) for members in self._neighbours(live)]
        self._plans[number] = ((names, arrays), runs)
        return runs

    def _arrays(self, i: int) -> tuple[Array, Array | None]:
        """Data and gradient, as far as they stay the same from step to step."""
        parameter = self.params[i]
        return parameter.data, None if parameter.grad_storage is None else parameter.grad

    def _prepare(self, i: int, names: Mapping[str, float]) -> None:
        data, state = self.params[i].data, self.state.setdefault(i, {"step": 0})
        for name, value in names.items():
            if name not in state:
                state[name] = array_module(self.params[i].device).full(data.shape, value, data.dtype)

    def _neighbours(self, live: list[int]) -> list[list[int]]:
        """``live`` in lists of parameters that may be updated as one array."""
        flat = [i for i in live if self.elementwise and self.params[i].grad_storage is not None]
        members: list[list[int]] = [[i] for i in live if i not in set(flat)]
        before: int | None = None
        for i in sorted(flat, key=lambda i: address(self.params[i].data)):
            if before is not None and self._adjacent(before, i):
                members[-1].append(i)
            else:
                members.append([i])
            before = i
        return members

    def _adjacent(self, i: int, j: int) -> bool:
        one, two = self.params[i], self.params[j]
        same_step: bool = self.state[i]["step"] == self.state[j]["step"]
        return same_step and follows(one.data, two.data) and follows(one.grad, two.grad)

    def _run(self, members: list[int], names: list[str]) -> Run:
        """Updated as one: their state moves into flat arrays, of which each keeps its view."""
        data, gradients = zip(*map(self._arrays, members))
        known = [g for g in gradients if g is not None]
        if not (self.elementwise and all(array.flags.c_contiguous for array in (*data, *known))):
            [i] = members
            return Run(members, data[0], None, {name: self.state[i][name] for name in names}, None)
        state = {}
        for name in names:
            if len(members) > 1:
                self._join_state(members, name)
            state[name] = span([self.state[i][name] for i in members])
        w, g = span(data), span(known) if known else None
        kernel = self._kernel(self.params[members[0]].device)
        fitting = kernel is not None and kernel.takes(w, *state.values(), *([] if g is None else [g]))
        return Run(members, w, g, state, kernel if fitting else None)

    def _kernel(self, device: str) -> Kernel | None:
        """The rule's there."""
        if device == "cpu":
            native = type(self).kernel if KERNELS is not None else None
            return None if native is None else Kernel(native, takes)
        if device not in LATER or not wanted():
            return None
        from ringleader.runtime.autograd.optim import cuda

        step = cuda.KERNELS.get(type(self).update)
        return None if step is None else Kernel(step, cuda.takes)

    def _join_state(self, members: list[int], name: str) -> None:
        states = [self.state[i][name].reshape(-1) for i in members]
        flat, at = module_of(states[0]).concatenate(states), 0
        for i in members:
            shape, size = self.params[i].shape, self.params[i].size
            self.state[i][name] = flat[at : at + size].reshape(shape)
            at += size

    # State

    def state_dict(self) -> dict[str, Any]:
        """As PyTorch's: {"state": {number of the parameter: {"step": ..., name: copy of the array, of numpy}},
        "param_groups": [options, with the numbers of its parameters as "params"]}."""
        state = {i: {key: to_host(value.copy()) if key != "step" else value for key, value in of.items()}
                 for i, of in sorted(self.state.items())}  # fmt: skip
        groups, at = [], 0
        for group, options in zip(self.param_groups, self._options()):
            groups.append({**options, "params": list(range(at, at + len(group["params"])))})
            at += len(group["params"])
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``, which is copied, options included: the next steps are the same bit for bit.

        ValueError: other groups or shapes than this optimiser's, or options that make no sense; nothing has
        been changed then.
        """
        name, groups = type(self).__name__, state["param_groups"]
        sizes, wanted = ([len(g["params"]) for g in each] for each in (groups, self.param_groups))
        if sizes != wanted:
            raise ValueError(f"{name}: the state has groups of {sizes} parameters, the optimiser of {wanted}")
        for group in groups:
            if group.keys() != self.defaults.keys() | {"params"}:
                raise ValueError(f"{name}: the state has options {', '.join(group)}; {name} has "
                                 f"{', '.join(self.defaults)}")  # fmt: skip
            self.check(group)
        loaded = {int(i): self._loaded(int(i), of) for i, of in state["state"].items()}
        self.state, self._plans = loaded, {}
        for mine, given in zip(self.param_groups, groups):
            mine.update({key: given[key] for key in self.defaults})

    def _loaded(self, i: int, given: Mapping[str, Any]) -> dict[str, Any]:
        if not 0 <= i < len(self.params):
            raise ValueError(
                f"{type(self).__name__}: the state has a parameter {i}; there are {len(self.params)}"
            )
        parameter, arrays = self.params[i], {key: value for key, value in given.items() if key != "step"}
        for key, value in arrays.items():
            if np.shape(value) != parameter.shape:
                raise ValueError(f"{type(self).__name__}: {key} of parameter {i} has shape {np.shape(value)}, not "
                                 f"{parameter.shape}")  # fmt: skip
        xp = array_module(parameter.device)
        return {"step": int(given["step"])} | {
            key: xp.array(to_host(value), dtype=parameter.dtype, order="C") for key, value in arrays.items()
        }
