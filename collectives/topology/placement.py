"""Which host each rank runs on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from ringleader.collectives.topology.base import Ints, Topology
from ringleader.collectives.topology.units import quoted, whole

MOST_SEEDS = 1 << 64
Placement = str | Sequence[int] | NDArray[np.int64]


def place(topology: Topology, n: int, placement: Placement = "block") -> Ints:
    """int64 [n]: the host of each rank, no two on one.

    ``block``: rank r on host r. ``cyclic``: dealt out in turn to the groups of hosts that stand together
    (islands, pods, rows; without groups the same as block). ``random`` or ``random:SEED``. Or the hosts.
    """
    if n > topology.hosts:
        raise ValueError(f"{topology.name} has {topology.hosts} hosts, too few for {n} ranks")
    if not isinstance(placement, str):
        return _given(topology, n, placement)
    kind, colon, seed = placement.partition(":")
    if placement == "block":
        return np.arange(n)
    if placement == "cyclic":
        return _dealt(topology.groups())[:n]
    number = whole(seed) if colon else 0
    if kind == "random" and number is not None and number < MOST_SEEDS:
        return np.random.default_rng(number).permutation(topology.hosts)[:n]
    raise ValueError(
        f"unknown placement {quoted(placement)}; write block, cyclic, random, random:SEED, or a list of hosts"
    )


def _dealt(groups: Ints) -> Ints:
    """Hosts in the order: first of every group, second of every group, ..."""
    ordered = np.argsort(groups, kind="stable")
    _, start, size = np.unique(groups[ordered], return_index=True, return_counts=True)
    turn = np.arange(len(groups)) - np.repeat(start, size)
    return ordered[np.lexsort((groups[ordered], turn))]


def _given(topology: Topology, n: int, placement: Sequence[int] | NDArray[np.int64]) -> Ints:
    hosts = np.asarray(placement)
    if hosts.dtype.kind not in "iu":  # numpy would cut floats off
        raise ValueError(f"placement: hosts must be whole numbers, got {quoted(str(placement))}")
    if hosts.shape != (n,):
        raise ValueError(f"placement names {hosts.size} hosts for {n} ranks; give one for each")
    if wrong := hosts[(hosts < 0) | (hosts >= topology.hosts)].tolist():
        raise ValueError(
            f"placement: {topology.name} has hosts 0 ... {topology.hosts - 1}, no host {wrong[0]}"
        )
    chosen, times = np.unique(hosts, return_counts=True)
    if (times > 1).any():
        raise ValueError(
            f"placement: host {chosen[times > 1][0]} is given to several ranks; a host has room for one"
        )
    return hosts.astype(np.int64)
