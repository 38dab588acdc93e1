"""The algorithms, a family a file. Importing this package registers them all."""

from ringleader.collectives.library import (  # noqa: F401
    allgather,
    allreduce,
    alltoall,
    barrier,
    broadcast,
    hierarchical,
    reduce_scatter,
    scan,
)
