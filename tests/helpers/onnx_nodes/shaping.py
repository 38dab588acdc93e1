"""Elements that change places, and are picked out or replaced."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from ringleader.runtime.autograd import Tensor, apply
from ringleader.runtime.autograd import functional as F

from helpers.onnx_nodes.table import ints, node

node("Concat")(lambda *xs, axis: F.cat(xs, axis))
node("Tile")(lambda x, times: x.tile(ints(times)))
node("Transpose")(lambda x, *, perm=None: x.T if perm is None else x.permute(perm))


@node("Reshape")
def reshape(x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    """0 is the size that was there, unless ``allowzero``."""
    return x.reshape(
        tuple(x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(ints(shape) or ()))
    )


@node("Flatten")
def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    return x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))


@node("Squeeze")
def squeeze(x: Tensor, given: Tensor | None = None, *, axes: Any = None) -> Tensor:
    return x.squeeze(ints(given) if axes is None else tuple(axes))


@node("Unsqueeze")
def unsqueeze(x: Tensor, given: Tensor | None = None, *, axes: Any = None) -> Tensor:
    wanted = (ints(given) or ()) if axes is None else axes
    for axis in sorted(a % (x.ndim + len(wanted)) for a in wanted):
        x = x.unsqueeze(axis)
    return x


@node("Expand")
def expand(x: Tensor, shape: Tensor) -> Tensor:
    return x.broadcast_to(np.broadcast_shapes(x.shape, ints(shape) or ()))


@node("Split")
def split(
    x: Tensor, given: Tensor | None = None, *, axis: int = 0, split: Any = None, num_outputs: int | None = None,
    outputs: int = 0,
) -> tuple[Tensor, ...]:  # fmt: skip
    sizes = ints(given) if split is None else split
    return x.chunk(num_outputs or outputs, axis) if sizes is None else x.split(list(sizes), axis)


@node("Slice")
def slice_(
    x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Tensor:
    along = ints(axes) or range(starts.size)
    index = [slice(None)] * x.ndim
    for axis, start, end, step in zip(
        along, ints(starts) or (), ints(ends) or (), ints(steps) or (1,) * x.ndim
    ):
        stop = None if step < 0 and end < -x.shape[axis] else end  # as far as before the first
        index[axis] = slice(start, stop, step)
    return x[tuple(index)]


@node("Gather")
def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Along the first axis: an embedding, whose rows are flat, and whose indices do not count from the end."""
    if axis or x.shape[0] == 0:
        return x[(slice(None),) * (axis % x.ndim) + (indices,)]
    rows = F.embedding(indices.data % x.shape[0], x.reshape(x.shape[0], prod(x.shape[1:])))
    return rows.reshape(*indices.shape, *x.shape[1:])


@node("GatherElements")
def gather_elements(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    return x.gather(axis, indices)


@node("GatherND")
def gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    batch = np.ix_(*(np.arange(n) for n in x.shape[:batch_dims]))
    lead = indices.ndim - 1
    own = tuple(grid.reshape(grid.shape + (1,) * (lead - batch_dims)) for grid in batch)
    return x[(*own, *(indices.data[..., i] for i in range(indices.shape[-1])))]


@node("ScatterND")
def scatter_nd(x: Tensor, indices: Tensor, updates: Tensor, *, reduction: str = "none") -> Tensor:
    only_setting(reduction)
    return apply("setitem", x, updates, index=tuple(np.moveaxis(indices.data, -1, 0)))


@node("ScatterElements", "Scatter")
def scatter_elements(
    x: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0, reduction: str = "none"
) -> Tensor:
    only_setting(reduction)
    places = list(np.ogrid[tuple(slice(n) for n in indices.shape)])
    places[axis] = indices.data
    return apply("setitem", x, updates, index=tuple(places))


def only_setting(reduction: str) -> None:
    if reduction != "none":
        raise NotImplementedError(f"setitem does not {reduction}")


@node("Compress")
def compress(x: Tensor, condition: Tensor, *, axis: int | None = None) -> Tensor:
    flat = x.flatten() if axis is None else x
    return flat.index_select(axis or 0, np.flatnonzero(condition.data))


@node("Pad")
def pad(
    x: Tensor,
    widths: Tensor,
    value: Tensor | None = None,
    axes: Tensor | None = None,
    *,
    mode: str = "constant",
) -> Tensor:
    """ONNX has all numbers before, then all after; PyTorch pairs, the last axis first."""
    along, numbers = ints(axes) or range(x.ndim), ints(widths) or ()
    pairs = [(0, 0)] * x.ndim
    for axis, before, after in zip(along, numbers[: len(along)], numbers[len(along) :]):
        pairs[axis] = (before, after)
    ours = {"constant": "constant", "edge": "replicate", "reflect": "reflect", "wrap": "circular"}[mode]
    return F.pad(x, [n for pair in pairs[::-1] for n in pair], ours, 0 if value is None else value.item())


@node("Trilu")
def trilu(x: Tensor, diagonal: Tensor | None = None, *, upper: int = 1) -> Tensor:
    k = 0 if diagonal is None else int(diagonal.item())
    return x.triu(k) if upper else x.tril(k)
