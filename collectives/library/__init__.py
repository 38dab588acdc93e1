"""The algorithms, a family a file. Importing this package registers them all."""

from ringleader.collectives.library import (  # noqa: F401
    allgather,
    allreduce,
    alltoall,
    barrier,
    bine,
    broadcast,
    circulant,
    double_tree,
    gather,
    generalised,
    hierarchical,
    leader,
    pat,
    reduce,
    reduce_scatter,
    scan,
    swing,
    swing_torus,
    torus,
)
