"""Parameter and Module: what layers and models are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from ringleader.runtime.autograd.base import RemovableHandle
from ringleader.runtime.autograd.op import Array, Memory, array_module, module_of, moved, to_host
from ringleader.runtime.autograd.tensor import Tensor
from ringleader.runtime.autograd.transfer import copied_to

M = TypeVar("M", bound="Module")
PreHook = Callable[["Module", tuple[Any, ...]], None]

PLAIN = (bool, int, float, str, tuple)  # options that a module's repr shows


class Parameter(Tensor):
    """A tensor that a Module finds among its attributes, and that training changes."""

    def __init__(self, data: Any, *, device: str = "cpu") -> None:
        super().__init__(data, requires_grad=True, device=device)


class Module:
    """A layer or model: its parameters, buffers and sub-modules are its attributes; ``forward`` says what it does.

    They are found in the order in which the attributes were set, which is the same on every rank. A
    parameter, buffer or module that is there under several names (tied weights) comes once, by its first.
    """

    training: bool = True
    _pre_hooks: dict[int, PreHook] | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for hook in list(self._pre_hooks.values()) if self._pre_hooks else ():
            hook(self, args)
        return self.forward(*args, **kwargs)

    def register_forward_pre_hook(self, hook: PreHook) -> RemovableHandle:
        """``hook(module, args)`` is called before each forward of this module."""
        if self._pre_hooks is None:
            self._pre_hooks = {}
        key = max(self._pre_hooks, default=0) + 1
        self._pre_hooks[key] = hook
        return RemovableHandle(self._pre_hooks, key)

    # What it is made of

    def named_children(self) -> Iterator[tuple[str, Module]]:
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def children(self) -> Iterator[Module]:
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Dotted names and modules: this one (by the name ""), then those below it, each once."""
        return _once((path.rstrip("."), module) for path, module in self._walk(prefix and f"{prefix}."))

    def modules(self) -> Iterator[Module]:
        return (module for _, module in self.named_modules())

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Dotted names, after ``prefix``, and parameters."""
        return _once(self._every_parameter(prefix))

    def parameters(self) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.named_parameters())

    def num_parameters(self) -> int:
        """How many numbers the parameters hold."""
        return sum(parameter.size for parameter in self.parameters())

    def register_buffer(self, name: str, array: Array | None, persistent: bool = True) -> None:
        """Make ``array`` the attribute ``name``: state that no gradient changes, such as running means.

        ``state_dict`` holds it if ``persistent`` and not None. ValueError: ``name`` is no identifier, or is
        something else already.
        """
        if not name.isidentifier():
            raise ValueError(f"register_buffer: a name must be an identifier, not {name!r}")
        if hasattr(self, name) and name not in self.own_buffers():
            raise ValueError(f"register_buffer: {type(self).__name__} has another attribute {name!r}")
        setattr(self, name, array)
        vars(self).setdefault("_buffers", {})[name] = persistent

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Array]]:
        """Dotted names, after ``prefix``, and arrays."""
        return _once((name, array) for name, array, _ in self._every_buffer(prefix))

    def buffers(self) -> Iterator[Array]:
        return (array for _, array in self.named_buffers())

    def own_buffers(self) -> dict[str, bool]:
        """The names of this module's own buffers; whether they are saved. (Subclasses call no __init__.)"""
        own: dict[str, bool] = vars(self).get("_buffers", {})
        return own

    def _walk(self, prefix: str) -> Iterator[tuple[str, Module]]:
        """All modules, under every name; names end with a dot."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child._walk(f"{prefix}{name}.")

    def _every_parameter(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield prefix + name, value
            elif isinstance(value, Module):
                yield from value._every_parameter(f"{prefix}{name}.")

    def _every_buffer(self, prefix: str = "") -> Iterator[tuple[str, Array, bool]]:
        for path, module in self._walk(prefix):
            for name, persistent in module.own_buffers().items():
                array = getattr(module, name)
                if array is not None:
                    yield path + name, array, persistent

    # State

    def state_dict(self) -> dict[str, Array]:
        """Copies of all parameters and persistent buffers, as arrays of numpy, by name; tied ones once, by their
        first name."""
        return {names[0]: to_host(array.copy()) for names, array, _ in self._state()}

    def _state(self) -> list[tuple[list[str], Array, Parameter | None]]:
        """What a state holds: all names, the array itself, and the parameter if it is one."""
        found: dict[int, tuple[list[str], Array, Parameter | None]] = {}
        for name, parameter in self._every_parameter():
            found.setdefault(id(parameter), ([], parameter.data, parameter))[0].append(name)
        for name, array, persistent in self._every_buffer():
            if persistent:
                found.setdefault(id(array), ([], array, None))[0].append(name)
        return list(found.values())

    def to(self: M, device: str) -> M:
        """Move parameters, their gradients and buffers to ``device``, in place: "cpu", "emulated" or "cuda".

        The parameters stay the same objects, with other arrays: do it before an optimiser has made a step, and
        before DataParallel. ValueError: unknown device, or a gradient that lives in ``grad_storage``.
        RuntimeError: what the device needs is missing.
        """
        array_module(device)
        bound = [name for name, p in self.named_parameters() if p.grad_storage is not None]
        if bound:
            raise ValueError(f"to: gradients of {bound[0]!r} live in storage of others; move the module before "
                             "DataParallel or flatten_parameters")  # fmt: skip
        for parameter in self.parameters():
            parameter.data, parameter.memory = copied_to(parameter.data, device), Memory()
            parameter.grad = None if parameter.grad is None else copied_to(parameter.grad, device)
            parameter.device = device
        there: dict[int, tuple[Array, Array]] = {}  # each buffer, which may have several names, and its copy
        for module in self.modules():
            for name in module.own_buffers():
                array = getattr(module, name)
                if array is not None:
                    setattr(module, name, there.setdefault(id(array), (array, copied_to(array, device)))[1])
        return self

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Copy ``state`` into the parameters and persistent buffers, in their dtype.

        Tied ones may be there under any of their names (PyTorch saves them under all). KeyError names
        missing and unexpected keys, unless not ``strict``: those are left alone then. ValueError names the
        keys whose shapes differ, and arrays that hold no numbers. After an error nothing has been changed.
        """
        wanted = self._state()
        known = {name for names, _, _ in wanted for name in names}
        missing = [names[0] for names, _, _ in wanted if not any(name in state for name in names)]
        unexpected = [name for name in state if name not in known]
        if strict and (missing or unexpected):
            raise KeyError(
                f"state does not fit {type(self).__name__}: missing {missing}, unexpected {unexpected}"
            )
        given = [
            (name, array, parameter) for names, array, parameter in wanted for name in names if name in state
        ]
        wrong = [f"{name}: {why}" for name, array, _ in given if (why := _misfit(state[name], array))]
        if wrong:
            raise ValueError(f"state does not fit {type(self).__name__}: {'; '.join(wrong)}")
        for name, array, parameter in given:
            array[...] = moved(state[name], module_of(array))
            if parameter is not None:
                parameter.mark_changed()

    # Training

    def train(self: M, mode: bool = True) -> M:
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        return self.train(False)

    def apply(self: M, function: Callable[[Module], Any]) -> M:
        """Call ``function`` with every module below this one, then with this one."""
        for module in reversed(list(self.modules())):
            function(module)
        return self

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Whether the parameters need gradients: False freezes them."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self) -> None:
        for parameter in self.parameters():
            parameter.zero_grad()

    # Text

    def extra_repr(self) -> str:
        """What stands in the brackets of ``repr``: the shapes of the own parameters, and plain options."""
        shown = {name: value.shape if isinstance(value, Parameter) else value
                 for name, value in vars(self).items() if name != "training" and not name.startswith("_")}  # fmt: skip
        return ", ".join(f"{name}={value!r}" for name, value in shown.items() if isinstance(value, PLAIN))

    def __repr__(self) -> str:
        own, lines = self.extra_repr(), [f"({name}): {child!r}" for name, child in self.named_children()]
        if not lines:
            return f"{type(self).__name__}({own})"
        body = "\n".join(([own] if own else []) + lines).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {body}\n)"


T = TypeVar("T")


def _once(named: Iterator[tuple[str, T]]) -> Iterator[tuple[str, T]]:
    """Each thing by its first name only."""
    seen: set[int] = set()
    for name, thing in named:
        if id(thing) not in seen:
            seen.add(id(thing))
            yield name, thing


def _misfit(given: Any, array: Array) -> str:
    """Why ``given`` cannot be copied into ``array``; "" if it can."""
    shape, dtype = np.shape(given), getattr(given, "dtype", None) or np.asarray(given).dtype
    if shape != array.shape:
        return f"{shape} given, {array.shape} needed"
    return "" if np.can_cast(dtype, array.dtype, "same_kind") else f"{dtype} given, {array.dtype} needed"


def unused_parameters(module: Module) -> list[str]:
    """Names of the parameters that need a gradient and have none: the backwards since zero_grad missed them.

    A gradient that has storage of its own is zero rather than none, so it does not count as missing.
    """
    return [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
