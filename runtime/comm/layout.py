"""Where a collective's blocks lie in the arrays of a call, on the way in and on the way out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ringleader.runtime.comm.transport import Sizes

Array = NDArray[Any]
Buffers = dict[str, Array]
UNTOLD = 1 << 20  # bytes that an alltoall is chosen for where ranks know their own counts only


@dataclass(frozen=True)
class Layout:
    """The arrays of one call on one rank, checked, nothing copied yet.

    ``agreed``: what all ranks must pass alike, as error messages show it. ``sizes``: see ``place``.
    ``nbytes``: of the collective's larger buffer, the same on all ranks. ``load(writes)``: the 1-d contiguous buffers to run on,
    views where possible; ``writes``: the program writes to the output, so it must not be the user's own
    input. ``result(buffers)``: brings the result home and returns what the caller gets.
    ``gets``: that is the collective's result, not merely the caller's own x.
    """

    agreed: str
    dtype: np.dtype[Any]
    sizes: Sizes
    nbytes: int
    load: Callable[[bool], Buffers]
    result: Callable[[Buffers], Any]
    gets: bool = True


def lay_out(
    collective: str, x: Any, out: Any, root: int, counts: Sequence[int] | None, rank: int, n: int
) -> Layout:
    """Check arrays and counts. TypeError or ValueError says what to pass instead."""
    if collective == "scatter" and x is None and rank != root:
        x = _as_large_as_all(usable(out, "out"), counts, n)
    if not isinstance(x, np.ndarray):
        raise TypeError(f"x must be a numpy array, not {type(x).__name__}")
    if x.dtype.hasobject:
        raise TypeError(f"x has dtype {x.dtype}: Python objects cannot be sent as memory")
    if collective in ("allgather", "gather"):
        return _joined(x, out, counts, rank, n, here=collective == "allgather" or rank == root)
    if collective in ("reduce_scatter", "scatter"):
        return _parted(x, out, counts, rank, n)
    if collective in ("alltoall", "exscan"):
        return _apart(x, out, n if collective == "alltoall" else 1)
    if collective == "scan" and out is None:
        out = np.empty_like(x)
    if collective == "reduce" and rank != root:
        return _lent(x)
    return _in_place(x, out)


def _in_place(x: Array, out: Any) -> Layout:
    """One block, changed in place, or copied to ``out`` first."""
    target = usable(x) if out is None else _like(out, x.shape, x.dtype)

    def load(writes: bool) -> Buffers:
        if out is not None:
            out[...] = x
        return {"output": flat(target)}

    def result(buffers: Buffers) -> Array:
        return bring_home(target, buffers["output"])

    return Layout(f"{x.dtype}{list(x.shape)}", x.dtype, x.size, x.nbytes, load, result)


def _lent(x: Array) -> Layout:
    """One block that is read, and of which others may use a copy as working room; ``x`` is given back."""

    def load(writes: bool) -> Buffers:
        return {"output": x.flatten() if writes else flat(x)}

    return Layout(f"{x.dtype}{list(x.shape)}", x.dtype, x.size, x.nbytes, load, lambda _: x, False)


def _apart(x: Array, out: Any, blocks: int) -> Layout:
    """Input and output of the same shape, apart."""
    if blocks > 1:
        _divides(x, blocks)
    target = x.copy() if out is None else _apart_from(x, _like(out, x.shape, x.dtype))

    def load(writes: bool) -> Buffers:
        return {"input": flat(x), "output": flat(target)}

    def result(buffers: Buffers) -> Array:
        return bring_home(target, buffers["output"])

    return Layout(f"{x.dtype}{list(x.shape)}", x.dtype, x.size // blocks, x.nbytes, load, result)


def exchanged(x: Array, out: Any, sent: Sequence[int], received: Sequence[int], most: int | None) -> Layout:
    """AllToAll of blocks of ``sent[d]`` rows to rank d, ``received[s]`` rows from rank s. ``most``: rows of the
    largest x of all ranks, by which they choose, since every rank's own is another; None: nobody has told."""
    shape = (sum(received), *_rowed(x).shape[1:])
    target = np.empty(shape, x.dtype) if out is None else _apart_from(x, _like(out, shape, x.dtype))
    row = math.prod(shape[1:])
    sizes = (("input", tuple(c * row for c in sent)), ("output", tuple(c * row for c in received)))
    nbytes = UNTOLD if most is None else most * row * x.itemsize

    def load(writes: bool) -> Buffers:
        return {"input": flat(x), "output": flat(target)}

    def result(buffers: Buffers) -> Array:
        return bring_home(target, buffers["output"])

    return Layout(f"{x.dtype}[by counts, {list(shape[1:])}]", x.dtype, sizes, nbytes, load, result)


def _joined(x: Array, out: Any, counts: Sequence[int] | None, rank: int, n: int, here: bool) -> Layout:
    """Blocks of all ranks, joined on axis 0; ``here``: this rank gets them."""
    own_rows = _rowed(x)
    given = [len(own_rows)] * n if counts is None else checked_counts(counts, n)
    if given[rank] != len(own_rows):
        raise ValueError(f"x has {len(own_rows)} rows, but counts[{rank}] is {given[rank]}")
    shape = (sum(given), *own_rows.shape[1:])
    target = _like(out, shape, x.dtype) if here and out is not None else np.empty(shape, x.dtype)
    sizes, own = _sizes(given, shape, counts is None), _span(given, shape, rank)

    def load(writes: bool) -> Buffers:
        whole = flat(target)
        whole[own] = own_rows.reshape(-1)
        return {"output": whole}

    def result(buffers: Buffers) -> Array | None:
        return bring_home(target, buffers["output"]) if here else None

    return Layout(_agreed(x, counts, x.shape, shape), x.dtype, sizes, target.nbytes, load, result)


def _parted(x: Array, out: Any, counts: Sequence[int] | None, rank: int, n: int) -> Layout:
    """A block for every rank, cut on axis 0; this rank gets its own."""
    if counts is None:
        _divides(x, n)
    whole = _rowed(x)
    given = [len(whole) // n] * n if counts is None else checked_counts(counts, n, len(whole))
    shape = (given[rank], *whole.shape[1:])
    target = np.empty(shape, x.dtype) if out is None else _like(out, shape, x.dtype)
    sizes, own = _sizes(given, whole.shape, counts is None), _span(given, whole.shape, rank)

    def load(writes: bool) -> Buffers:
        return {"output": whole.flatten() if writes else flat(whole)}

    def result(buffers: Buffers) -> Array:
        target[...] = buffers["output"][own].reshape(shape)
        return target

    return Layout(_agreed(x, counts, x.shape, whole.shape), x.dtype, sizes, x.nbytes, load, result)


def _agreed(x: Array, counts: Sequence[int] | None, alike: tuple[int, ...], whole: tuple[int, ...]) -> str:
    if counts is None:
        return f"{x.dtype}{list(alike)}"
    return f"{x.dtype}{list(whole)}, counts {list(counts)}"


def _sizes(counts: list[int], shape: tuple[int, ...], equal: bool) -> Sizes:
    row = math.prod(shape[1:])
    return counts[0] * row if equal else (("output", tuple(c * row for c in counts)),)


def _span(counts: list[int], shape: tuple[int, ...], rank: int) -> slice:
    """Elements of ``rank``'s block in the flat buffer."""
    row = math.prod(shape[1:])
    return slice(sum(counts[:rank]) * row, sum(counts[: rank + 1]) * row)


def rows(x: Any) -> int:
    """Length of axis 0; 1 for a scalar array."""
    if not isinstance(x, np.ndarray):
        raise TypeError(f"x must be a numpy array, not {type(x).__name__}")
    return len(_rowed(x))


def _rowed(x: Array) -> Array:
    return x if x.ndim else x.reshape(1)


def checked_counts(counts: Sequence[int], n: int, total: int | None = None) -> list[int]:
    """``counts`` as a list of n integers >= 0 that add up to ``total``, or ValueError."""
    listed = list(counts)
    if len(listed) != n or not all(isinstance(c, (int, np.integer)) and c >= 0 for c in listed):
        raise ValueError(f"counts must be {n} integers >= 0, one for each rank; got {listed}")
    if total is not None and sum(listed) != total:
        raise ValueError(f"counts {listed} add up to {sum(listed)}, but x has {total} rows")
    return [int(c) for c in listed]


def _divides(x: Array, n: int) -> None:
    if (x.shape[0] if x.ndim else 1) % n:
        raise ValueError(f"axis 0 of shape {x.shape} does not divide into {n} blocks; or give counts=")


def _as_large_as_all(out: Array, counts: Sequence[int] | None, n: int) -> Array:
    """Stands for the root's array where a scatter is called without one."""
    rows = (out.shape[0] if out.ndim else 1) * n if counts is None else sum(checked_counts(counts, n))
    return np.empty((rows, *out.shape[1:]), out.dtype)


def usual(x: Any) -> bool:
    """Can memory be taken as it is?"""
    return type(x) is np.ndarray and x.flags.c_contiguous and x.flags.writeable and x.flags.aligned


def usable(x: Any, name: str = "x") -> Array:
    """``x`` if it is an array that can be written. TypeError or ValueError says what to pass instead."""
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name} must be a numpy array (it is written to), not {type(x).__name__}")
    if not x.flags.writeable:
        raise ValueError(f"{name} is read-only; pass a writable array, or a copy of it")
    if x.dtype.hasobject:
        raise TypeError(f"{name} has dtype {x.dtype}: Python objects cannot be sent as memory")
    return x


def _like(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    usable(out, "out")
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(f"out is {out.dtype}{list(out.shape)}, but must be {dtype}{list(shape)}")
    return np.asarray(out)


def _apart_from(x: Array, out: Array) -> Array:
    if np.may_share_memory(x, out):
        raise ValueError("out overlaps x; this collective does not work in place, pass another array")
    return out


def flat(x: Array) -> Array:
    """All elements of ``x`` in C order as a 1-d contiguous array: a view where possible, else a copy."""
    return np.ascontiguousarray(x).reshape(-1)


def bring_home(x: Array, contents: Array) -> Array:
    """Write flat ``contents`` back into ``x`` unless they are a view of it; returns ``x``."""
    if not np.may_share_memory(x, contents):
        x[...] = contents.reshape(x.shape)
    return x
