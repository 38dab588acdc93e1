"""The MPI library's own collectives, on the buffers of ours: a candidate in every comparison."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import numpy as np
from mpi4py import MPI
from mpi4py.util.dtlib import from_numpy_dtype
from numpy.typing import NDArray
from ringleader.runtime.comm.ops import OPS, Op
from ringleader.runtime.comm.transport import Sizes

Array = NDArray[Any]
PIECE = 1 << 30  # bytes that a call moves at most; MPI counts are 32-bit
_MPI_OPS = {
    "sum": MPI.SUM, "mean": MPI.SUM, "prod": MPI.PROD, "max": MPI.MAX, "min": MPI.MIN,
    "and": MPI.BAND, "or": MPI.BOR, "xor": MPI.BXOR,
}  # fmt: skip


def refuses(collective: str, dtype: np.dtype[Any], op: Op | None, equal: bool) -> str | None:
    """Why MPI's own collective cannot do this; None if it can."""
    if op is None:
        return None
    if op.name not in _MPI_OPS or OPS.get(op.name) != op:
        return f"the MPI library does not know op {op.name!r}; use another algorithm"
    try:
        from_numpy_dtype(dtype)
    except ValueError:
        return f"the MPI library has no datatype for {dtype}; use another algorithm"
    if dtype.kind == "b":
        return "the MPI library does not add booleans; use another algorithm"
    return None


def alike(dtype: np.dtype[Any], op: Op | None) -> bool:
    """Does MPI fold as numpy does, so that a result does not depend on who is the fastest?

    Not always: Open MPI adds 8- and 16-bit integers with saturation on some processors, and the standard does not
    say what the maximum of NaN and a number is, nor knows maxima of complex numbers.
    """
    if op is None:
        return True
    if op.name in ("max", "min"):
        return dtype.kind in "iu"
    return dtype.kind not in "iu" or dtype.itemsize > 2 or op.name in ("and", "or", "xor")


def run(
    comm: MPI.Intracomm, collective: str, buffers: dict[str, Array], op: Op | None, root: int, sizes: Sizes
) -> None:
    """Run it in place on ``buffers`` (see Layout.load), blocking. ``sizes``: of their blocks."""
    output = buffers["output"]
    if collective in ("allreduce", "broadcast", "reduce", "scan", "exscan"):
        for at in _pieces(output):
            _whole(comm, collective, buffers.get("input", output)[at], output[at], op, root)
    elif collective == "barrier":
        comm.Barrier()
    elif collective == "reduce_scatter":
        _reduce_scatter(comm, output, _counts(sizes, "output", comm.size), op)
    else:
        _blocks(comm, collective, buffers, root, sizes)


def _pieces(array: Array) -> Iterator[slice]:
    step = max(1, PIECE // max(1, array.itemsize))
    return (slice(at, at + step) for at in range(0, max(1, array.size), step))


def _whole(comm: MPI.Intracomm, name: str, given: Array, output: Array, op: Op | None, root: int) -> None:
    """Collectives on whole vectors, of which one piece after the other is done."""
    if name == "broadcast":
        comm.Bcast([output.view(np.uint8), MPI.BYTE], root)
        return
    assert op is not None
    mpi_op = _MPI_OPS[op.name]
    if name == "allreduce":
        comm.Allreduce(MPI.IN_PLACE, output, mpi_op)
    elif name == "scan":
        comm.Scan(MPI.IN_PLACE, output, mpi_op)
    elif name == "exscan":
        result = np.empty_like(given)  # what MPI leaves on rank 0 is undefined; ours keeps its buffer
        comm.Exscan(given, result, mpi_op)
        if comm.rank:
            output[...] = result
    elif comm.rank == root:
        comm.Reduce(MPI.IN_PLACE, output, mpi_op, root)
    else:
        comm.Reduce(output, None, mpi_op, root)


def _counts(sizes: Sizes, buffer: str, n: int) -> list[int]:
    """Elements of each block of ``buffer``."""
    return [sizes] * n if isinstance(sizes, int) else list(dict(sizes)[buffer])


def _reduce_scatter(comm: MPI.Intracomm, output: Array, counts: list[int], op: Op | None) -> None:
    """MPI's in-place form leaves the result at the front, ours stands in the rank's own block."""
    assert op is not None
    own = np.empty(counts[comm.rank], output.dtype)
    comm.Reduce_scatter(output, own, counts, _MPI_OPS[op.name])
    start = sum(counts[: comm.rank])
    output[start : start + own.size] = own


def _blocks(comm: MPI.Intracomm, name: str, buffers: dict[str, Array], root: int, sizes: Sizes) -> None:
    """Collectives that move blocks, as bytes."""
    output, me = buffers["output"], comm.rank
    item, n = output.itemsize, comm.size

    def described(buffer: str) -> tuple[Any, list[int], list[int], MPI.Datatype]:
        counts = [c * item for c in _counts(sizes, buffer, n)]
        return buffers[buffer].view(np.uint8), counts, [0, *accumulate(counts)][:-1], MPI.BYTE

    data, counts, starts, kind = described("output")
    own = [data[starts[me] : starts[me] + counts[me]], kind]
    if name == "allgather":
        comm.Allgatherv(MPI.IN_PLACE, described("output"))
    elif name == "alltoall":
        comm.Alltoallv(described("input"), described("output"))
    elif name == "gather":
        comm.Gatherv(MPI.IN_PLACE if me == root else own, described("output") if me == root else None, root)
    else:
        comm.Scatterv(described("output") if me == root else None, MPI.IN_PLACE if me == root else own, root)
