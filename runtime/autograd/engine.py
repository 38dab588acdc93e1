"""Reverse mode: from one tensor back to the leaves it was computed from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ringleader.runtime.autograd.op import Array, Function, Shape, ShapeError, array_module

if TYPE_CHECKING:
    from ringleader.runtime.autograd.tensor import Tensor


def backward(root: Tensor, gradient: Array | None, retain_graph: bool) -> None:
    """See Tensor.backward.

    Ops are visited from deep to shallow, so each tensor's gradient is complete when its op's turn comes.
    A leaf is done, and its hooks are called, as soon as the last op that used it has been visited.
    """
    made, uses = _graph(root)
    sums = {id(root): _seed(root, gradient)}
    if root.node is None:
        root.accumulate_grad(sums.pop(id(root)))
    for tensor in sorted(made, key=_depth, reverse=True):
        node = tensor.node
        assert node is not None and node.inputs is not None
        inputs, grads = node.inputs, _gradients(node, sums.pop(id(tensor)))
        if not retain_graph:
            node.free()
        for source, g in zip(inputs, grads):
            if g is None:
                continue
            key = id(source)
            sums[key] = sums[key] + g if key in sums else g
            uses[key] -= 1
            if uses[key] == 0 and source.node is None:
                source.accumulate_grad(sums.pop(key))


def _depth(tensor: Tensor) -> int:
    return tensor.node.depth if tensor.node else 0


def _graph(root: Tensor) -> tuple[list[Tensor], dict[int, int]]:
    """The tensors made by an op on the way from root to the leaves; how often each tensor is used there."""
    if not root.requires_grad:
        raise RuntimeError("backward: this tensor needs no gradient (requires_grad=False, or under no_grad)")
    made: list[Tensor] = []
    uses: dict[int, int] = {}
    seen, todo = {id(root)}, [root]
    while todo:
        tensor = todo.pop()
        if tensor.node is None:
            continue
        if tensor.node.inputs is None:
            raise RuntimeError(f"backward: the graph behind this {tensor.node.name!r} has been freed by an "
                               "earlier backward; give that one retain_graph=True")  # fmt: skip
        made.append(tensor)
        for source, needed in zip(tensor.node.inputs, tensor.node.needs):
            if needed:
                uses[id(source)] = uses.get(id(source), 0) + 1
                if id(source) not in seen:
                    seen.add(id(source))
                    todo.append(source)
    return made, uses


def _seed(root: Tensor, gradient: Array | None) -> Array:
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


def _gradients(node: Function, g: Array) -> list[Array | None]:
    """One gradient per input, in the input's shape and dtype; None where none is needed."""
    assert node.inputs is not None
    grads = node.backward(g)
    grads = grads if isinstance(grads, tuple) else (grads,)
    xp = node.xp
    return [
        _sum_to(xp.asarray(grad, dtype=source.dtype), source.shape) if needed else None
        for source, needed, grad in zip(node.inputs, node.needs, grads)
    ]


def _sum_to(g: Any, shape: Shape) -> Array:
    """The adjoint of broadcasting ``shape`` to ``g.shape``: a sum over the axes that were stretched."""
    if g.shape != shape:
        lead = g.ndim - len(shape)
        stretched = tuple(i for i, size in enumerate(shape, start=lead) if size == 1 and g.shape[i] != 1)
        g = g.sum(axis=(*range(lead), *stretched)).reshape(shape)
    result: Array = g
    return result
