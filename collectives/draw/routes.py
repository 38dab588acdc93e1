"""How a topology is laid out on paper: where vertices stand, and how links bend so that each can be seen."""

from __future__ import annotations

import numpy as np
from ringleader.collectives.topology import Topology
from ringleader.collectives.topology.base import Floats, Ints

HOSTS, VERTICES, LINKS = 64, 160, 640  # more cannot be made out
BENDS = (0.0, 0.35, -0.35, 0.6, -0.6, 0.9, -0.9)  # in distances between neighbours; the first that is free
CLEAR = 0.27  # distance that a link keeps from vertices which it only passes, likewise
APART = 0.07  # how far a link bends away from the one that leads back
CLOSE, PUSHES = (
    0.16,
    100,
)  # distance that any two vertices keep, of what each would have if they shared evenly
ALONG = np.linspace(0, 1, 33)


def refuse_topology(what: str, topology: Topology) -> None:
    """ValueError for what no reader could make out."""
    for size, most, name in (
        (topology.hosts, HOSTS, "hosts"),
        (topology.vertices, VERTICES, "hosts and switches"),
        (len(topology.links), LINKS, "links"),
    ):
        if size > most:
            raise ValueError(
                f"{what}: {size} {name} of {topology.name} are too many to see; show a topology of at most {most}"
            )


def places(topology: Topology) -> Floats:
    """[vertices, 2]: as the topology has them, but vertices that stand too close to be read are pushed apart."""
    points = topology.positions()
    least = CLOSE * float(np.sqrt(np.ptp(points, axis=0).prod() / len(points)))
    for _ in range(PUSHES):
        aside = points[:, None] - points
        distance = np.linalg.norm(aside, axis=2)
        np.fill_diagonal(distance, np.inf)
        lacking = np.maximum(least - distance, 0)
        if not lacking.any():
            break
        push = 0.5 * lacking / np.maximum(distance, 1e-9)
        points = points + (push[:, :, None] * aside).sum(axis=1)
    return points


def spacing(points: Floats) -> float:
    """Distance between the two nearest vertices."""
    if len(points) < 2:
        return 1.0
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    nearest = float(distance[~np.eye(len(points), dtype=bool)].min())
    return nearest or 1.0


def controls(points: Floats, ends: Ints) -> Floats:
    """[L, 2]: control points of quadratic Bezier curves along the links.

    A link bends to the right of its direction, as cars drive, so that the one back lies beside it; one that
    would pass through another vertex goes round it.
    """
    near = spacing(points)
    found = np.empty((len(ends), 2))
    for number, (tail, head) in enumerate(ends.tolist()):
        a, b = points[tail], points[head]
        others = np.delete(points, [tail, head], axis=0)
        along = b - a
        length = float(np.hypot(*along)) or 1.0
        right = np.array([along[1], -along[0]]) / length
        for bend in BENDS:
            aside = (bend * near if bend else APART * min(length, 2 * near)) * 2
            control = (a + b) / 2 + aside * right
            path = curve(a, control, b)
            gap = np.linalg.norm(path[:, None] - others, axis=2).min() if len(others) else np.inf
            if gap > CLEAR * near:
                break
        found[number] = control
    return found


def curve(a: Floats, control: Floats, b: Floats) -> Floats:
    """[33, 2]: points of the curve from ``a`` to ``b``."""
    t = ALONG[:, None]
    return (1 - t) ** 2 * a + 2 * t * (1 - t) * control + t**2 * b
