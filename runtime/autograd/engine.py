"""Reverse mode: from one tensor back to the leaves it was computed from."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from ringleader.runtime.autograd.apply import outdated
from ringleader.runtime.autograd.op import Array, Function, Shape, ShapeError, array_module

if TYPE_CHECKING:
    from ringleader.runtime.autograd.base import TensorBase


def backward(root: TensorBase, gradient: Array | None, retain_graph: bool) -> None:
    """See TensorBase.backward.

    Ops are visited from deep to shallow, so each tensor's gradient is complete when its op's turn comes.
    A leaf is done, and its hooks are called, as soon as the last op that used it has been visited.
    """
    if not root.requires_grad:
        raise RuntimeError("backward: this tensor needs no gradient (requires_grad=False, or under no_grad)")
    if root.known < root.memory.rewrites:
        raise outdated("backward", root)
    seed = _seed(root, gradient)
    if root.node is None:
        root.accumulate_grad(seed)
        return
    nodes, uses = _graph(root.node)
    sums: dict[int, Array] = {id(root.node): seed}  # by id of the op or leaf: its gradient so far
    own: set[int] = set()  # those of them that are sums, in memory that nobody else has
    for node in sorted(nodes, key=attrgetter("depth"), reverse=True):
        if node.watched:
            _check_watched(node)  # again: a hook may have changed something
        sources, shapes, dtypes, xp = node.sources, node.input_shapes, node.input_dtypes, node.xp
        assert sources is not None
        grads = node.backward(sums.pop(id(node)))
        if not retain_graph:
            node.free()
        for source, shape, dtype, g in zip(
            sources, shapes, dtypes, grads if type(grads) is tuple else (grads,)
        ):
            if source is None:
                continue
            g = xp.asarray(g, dtype)
            if g.shape != shape:
                g = _sum_to(g, shape)
            key = id(source)
            if key not in sums:
                sums[key] = g
            elif key in own:
                sums[key] += g
            else:
                sums[key] = sums[key] + g
                own.add(key)
            if key in uses:
                uses[key] -= 1
                if uses[key] == 0:
                    source.accumulate_grad(sums.pop(key))  # type: ignore[union-attr]  # only leaves have uses


def _graph(root: Function) -> tuple[list[Function], dict[int, int]]:
    """The ops on the way from root to the leaves; how often each leaf is used, by its id."""
    nodes, seen = [root], {id(root)}
    uses: dict[int, int] = {}
    for node in nodes:  # there come more
        if node.sources is None:
            raise RuntimeError(f"backward: the graph behind this {node.name!r} has been freed by an "
                               "earlier backward; give that one retain_graph=True")  # fmt: skip
        if node.watched:
            _check_watched(node)
        for source in node.sources:
            key = id(source)
            if source is None or key in seen:
                continue
            if isinstance(source, Function):
                seen.add(key)
                nodes.append(source)
            else:
                uses[key] = uses.get(key, 0) + 1
    return nodes, uses


def _check_watched(node: Function) -> None:
    for which, name, memory, changes in node.watched:
        if memory.changes != changes:
            what = "output"
            if which < len(node.input_shapes):
                what = f"input {which}{f' {name!r}' if name else ''} of shape {node.input_shapes[which]}"
            raise RuntimeError(
                f"backward: {node.name!r} needs its {what} as it was, but that has been changed in place "
                f"({memory.changes - changes} times) since: call backward before the change, or change a clone()"
            )


def _seed(root: TensorBase, gradient: Array | None) -> Array:
    xp = array_module(root.device)
    if gradient is None:
        if root.size != 1:
            raise RuntimeError(f"backward: a tensor of shape {root.shape} needs gradient= of that shape; "
                               "only a single element does without")  # fmt: skip
        gradient = xp.ones(root.shape, root.dtype)
    seed: Array = xp.asarray(gradient, dtype=root.dtype)
    if seed.shape != root.shape:
        raise ShapeError(f"backward: gradient of shape {seed.shape} for a tensor of shape {root.shape}")
    return seed


def _sum_to(g: Any, shape: Shape) -> Array:
    """The adjoint of broadcasting ``shape`` to ``g.shape``: a sum over the axes that were stretched."""
    lead = g.ndim - len(shape)
    stretched = tuple(i for i, size in enumerate(shape, start=lead) if size == 1 and g.shape[i] != 1)
    result: Array = g.sum(axis=(*range(lead), *stretched)).reshape(shape)
    return result
