"""Activation recomputation: memory for time (Chen et al., "Training deep nets with sublinear memory cost", 2016)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from ringleader.runtime.autograd.mode import enable_grad, is_grad_enabled
from ringleader.runtime.autograd.module import Module
from ringleader.runtime.autograd.op import Array, Function, Shape, op
from ringleader.runtime.autograd.tensor import Tensor, apply


def checkpoint(
    function: Callable[..., Tensor], *inputs: Any, generators: Iterable[np.random.Generator] = ()
) -> Tensor:
    """``function(*inputs)``, one tensor, of which only the inputs are kept: backward runs ``function`` again.

    Values and gradients are those of the plain call, also for parameters that ``function`` uses without
    being given them: these are found in the first run and count as inputs of this one op. So a parameter
    that several checkpoints use, or that is used outside too, gets its whole gradient at once, and its hooks
    are called once, when it is complete.

    The second run draws the same random numbers as the first if their generators are known: those that are
    attributes of modules, where ``function`` is a Module or a method of one, and ``generators``. Buffers of
    such modules (running means) are changed by the first run alone. Tensors made by other ops should be
    inputs: the graph behind one that ``function`` only closes over is walked again in backward.
    TypeError: the result is no tensor. RuntimeError, in backward: the second run was another one.
    """
    if not is_grad_enabled():
        return function(*inputs)
    owner = getattr(function, "__self__", function)
    modules = list(owner.modules()) if isinstance(owner, Module) else []
    segment = Segment(function, inputs, State(modules, generators))
    out, used = segment.run()
    leaves = _leaves(out)
    if not leaves:
        return out
    reached = {id(leaf) for leaf in leaves}
    given = [x if id(u) in reached else Tensor(x, device=x.device)
             for x, u in zip(segment.inputs, used) if isinstance(x, Tensor)]  # fmt: skip
    inside = [leaf for leaf in leaves if all(leaf is not u for u in used)]
    result = apply("checkpoint", *given, *inside, recompute=Recompute(segment, inside, out.data))
    if result.node and out.node:  # backward comes here before it frees what made a tensor that is closed over
        result.node.depth = max(result.node.depth, out.node.depth)
    return result


class State:
    """What a function changes beside its result: random generators, and buffers of modules."""

    def __init__(self, modules: list[Module], generators: Iterable[np.random.Generator]) -> None:
        self.modules = modules
        found = [v for m in modules for v in vars(m).values() if isinstance(v, np.random.Generator)]
        self.generators = list({id(generator): generator for generator in [*found, *generators]}.values())
        self.before = self._drawn()

    def _drawn(self) -> list[Any]:
        return [generator.bit_generator.state for generator in self.generators]

    @contextmanager
    def again(self) -> Iterator[None]:
        """Generators as they were before the first run; afterwards, they and the buffers are as they are now."""
        drawn = self._drawn()
        buffers = [
            (module, name, array := getattr(module, name), None if array is None else array.copy())
            for module in self.modules for name in module.own_buffers()
        ]  # fmt: skip
        self._set(self.before)
        try:
            yield
        finally:
            self._set(drawn)
            for module, name, array, values in buffers:
                setattr(module, name, array)
                if array is not None:
                    array[...] = values

    def _set(self, states: list[Any]) -> None:
        for generator, state in zip(self.generators, states):
            generator.bit_generator.state = state


@dataclass
class Segment:
    """A function with its inputs."""

    function: Callable[..., Tensor]
    inputs: tuple[Any, ...]
    state: State

    def run(self) -> tuple[Tensor, list[Any]]:
        """The result, recorded, and the leaves that took the place of the tensors among the inputs."""
        used = [
            Tensor(x, x.requires_grad, device=x.device) if isinstance(x, Tensor) else x for x in self.inputs
        ]
        with enable_grad():
            out = self.function(*used)
        if not isinstance(out, Tensor):
            raise TypeError(f"checkpoint: the function must return a tensor, not {type(out).__name__}")
        return out, used


@dataclass
class Recompute:
    """What the op needs to go from a function's inputs to their gradients."""

    segment: Segment
    inside: list[Tensor]  # leaves that the function uses, beside its inputs
    output: Array | None  # of the first run, until the op has taken it

    def shape(self, *_: Shape) -> Shape:
        assert self.output is not None
        shape: Shape = self.output.shape
        return shape

    def forward(self, *_: Array) -> Array:
        output, self.output = self.output, None
        return output

    def backward(self, g: Array) -> list[Array | None]:
        with _put_aside(self.inside), self.segment.state.again():
            out, used = self.segment.run()
            out.backward(
                g, retain_graph=True
            )  # of what the function closes over; its own graph goes with out
            return [t.grad for t in (*(u for u in used if isinstance(u, Tensor)), *self.inside)]


@contextmanager
def _put_aside(leaves: list[Tensor]) -> Iterator[None]:
    """Leaves without gradients, their storage and hooks for a while, so that a backward inside another gives just
    its part, in memory of its own."""
    before = [(leaf, leaf.grad, leaf._grad_storage, leaf._hooks) for leaf in leaves]
    for leaf in leaves:
        leaf.grad, leaf._grad_storage, leaf._hooks = None, None, {}
    try:
        yield
    finally:
        for leaf, grad, storage, hooks in before:
            leaf.grad, leaf._grad_storage, leaf._hooks = grad, storage, hooks


@op("checkpoint")
@dataclass
class Checkpoint(Function):
    """A function of tensors as one op. ``recompute``: has this op's own three methods."""

    recompute: Any

    def shape(self, *shapes: Shape) -> Shape:
        shape: Shape = self.recompute.shape(*shapes)
        return shape

    def forward(self, *arrays: Array) -> Array:
        self.arrays = arrays  # they must not change until the second run
        return self.recompute.forward(*arrays)

    def backward(self, g: Array) -> tuple[Array | None, ...]:
        grads = tuple(self.recompute.backward(g))
        if any(grad is None for grad, needed in zip(grads, self.needs) if needed):
            raise RuntimeError("checkpoint: the function did not use the same tensors in its second run")
        return grads


def _leaves(out: Tensor) -> list[Tensor]:
    """The leaves that need a gradient behind ``out``, in the order in which a walk from there meets them."""
    found: dict[int, Tensor] = {}
    seen: set[int] = set()
    todo: list[Any] = [out.node or out] if out.requires_grad else []
    while todo:
        place = todo.pop()
        if id(place) in seen:
            continue
        seen.add(id(place))
        if isinstance(place, Tensor):
            found[id(place)] = place
        else:
            todo += [source for source in place.sources if source is not None]
    return list(found.values())
