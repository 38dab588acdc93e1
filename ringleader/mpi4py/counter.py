"""Which collectives ran on our programs, and which were passed on to MPI's own, and why those."""

from __future__ import annotations

from collections import Counter

routed: Counter[str] = Counter()  # calls by method name, as Allreduce or Iallreduce
passed: Counter[str] = Counter()

_W = "every block has its own datatype and byte offset; no schedule of ours moves such blocks"
_NEIGHBOURS = "neighbourhood collectives follow a topology's edges; no schedule of ours has them"
_PERSISTENT = "persistent requests are started and restarted inside MPI; our handles are not"

# The collectives that are passed on, always. tests/ringleader/mpi4py holds the counter to this list.
PASSED_ON = {
    "Alltoallw": _W,
    "Ialltoallw": _W,
    **{
        f"{kind}{name}": _NEIGHBOURS
        for name in ("allgather", "allgatherv", "alltoall", "alltoallv", "alltoallw")
        for kind in ("Neighbor_", "Ineighbor_")
    },
    "neighbor_allgather": _NEIGHBOURS,
    "neighbor_alltoall": _NEIGHBOURS,
    **{
        f"{name}_init": _PERSISTENT
        for name in (
            "Barrier", "Bcast", "Gather", "Gatherv", "Scatter", "Scatterv", "Allgather", "Allgatherv", "Alltoall",
            "Alltoallv", "Alltoallw", "Reduce", "Allreduce", "Reduce_scatter", "Reduce_scatter_block", "Scan",
            "Exscan", "Neighbor_allgather", "Neighbor_allgatherv", "Neighbor_alltoall", "Neighbor_alltoallv",
            "Neighbor_alltoallw",
        )
    },
}  # fmt: skip

# Calls of routed collectives that are passed on all the same.
PASSED_ON_IF = {
    "a reduction of a derived datatype with an operation of your own": (
        "the function must find the datatype's own layout in memory, gaps and all"
    ),
    "a collective of an intercommunicator": "our schedules are for one group of ranks",
    "a call on a plain mpi4py communicator, as MPI.Comm(comm) makes": "it is mpi4py's own object",
}
