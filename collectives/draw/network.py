"""What the links of a topology had to carry, on a map of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ringleader.collectives.draw.canvas import (
    BLACK,
    FAINT,
    GREY,
    LETTER,
    LINE,
    VERMILLION,
    Target,
    caption,
    check_suffix,
    new_figure,
    plain,
    save,
    seconds_drawn,
    shortened,
)
from ringleader.collectives.draw.routes import controls, curve, places, refuse_topology, spacing
from ringleader.collectives.simulate import Simulation
from ringleader.collectives.topology import Topology
from ringleader.collectives.topology.base import Floats
from ringleader.collectives.topology.units import bytes_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

PITCH = 0.8  # inches between neighbours where there is room
MOST, LEAST = (12.5, 7.5), (4.0, 2.6)  # inches that the map may take
LEFT, RIGHT, TOP, BOTTOM = 0.3, 1.25, 0.95, 0.5  # inches around it
DISC = 0.62  # diameter of a host, in distances between neighbours
NOTE = "darker and thicker: longer busy; dashed: carries nothing"
WIDEST = 0.34  # inches, likewise
NAME, BOX = (
    8.0,
    0.22,
)  # points of a switch's name, smaller where it would touch something; inches that it is high


def link_load(simulation: Simulation, path: Target = None) -> Figure:
    """The topology with each link as thick and dark as it is busy (its bytes over its bandwidth, in s).

    Each direction has a line of its own, on the right as cars drive, with an arrow head. Hosts bear the number of
    their rank. The busiest link is marked, and named in the caption. ValueError for what is too large to see.
    """
    check_suffix("link_load", path)
    topology = simulation.topology
    refuse_topology("link_load", topology)
    points = places(topology)
    where = f"{bytes_text(simulation.nbytes)} on {shortened(topology.name)}: {seconds_drawn(simulation.total)} in all"
    lines = (caption(simulation.schedule), plain(where), plain(_bottleneck_text(simulation)))
    figure, axes, scale = _map(points, LETTER * max(map(len, lines)))
    width, height = figure.get_size_inches()
    for number, text in enumerate(lines):
        at = 1 - (0.15 + LINE * number) / height
        figure.text(LEFT / width, at, text, fontsize=10 if number else 11, va="top")
    figure.text(LEFT / width, 0.2 / height, NOTE, fontsize=8.5, va="center", color=GREY)
    _links(figure, axes, simulation, points)
    _hosts(axes, simulation, points, scale)
    _switches(axes, topology, points, scale)
    return save(figure, path)


def busy_seconds(simulation: Simulation) -> Floats:
    """[L]: how long each link needs for all its bytes; 0 for one that carries nothing (it may be cut)."""
    carried, speed = simulation.link_bytes, simulation.topology.links.bandwidth
    return np.divide(carried, speed, out=np.zeros(len(speed)), where=carried > 0)


def _bottleneck_text(simulation: Simulation) -> str:
    busy = busy_seconds(simulation)
    if not busy.any():
        return "no link carries anything"
    link, nbytes, share = simulation.bottleneck
    ties = int(np.isclose(busy, busy.max(), rtol=1e-9).sum()) - 1
    also = f", as are {ties} more" if ties else ""
    return (
        f"bottleneck ★ {link}: {bytes_text(nbytes)}, busy {seconds_drawn(float(busy.max()))} "
        f"({share:.0%} of the time){also}"
    )


def _map(points: Floats, least: float) -> tuple[Figure, Axes, float]:
    """Axes of equal scale both ways, in which the vertices are as far apart as the paper allows; inches a unit.

    The figure is at least ``least`` inches wide."""
    near = spacing(points)
    low, high = points.min(axis=0) - near, points.max(axis=0) + near
    wide, tall = high - low
    scale = min(PITCH / near, MOST[0] / wide, MOST[1] / tall)
    width, height = max(wide * scale, LEAST[0], least - RIGHT), max(tall * scale, LEAST[1])
    figure = new_figure(LEFT + width + RIGHT, TOP + height + BOTTOM)
    full_width, full_height = figure.get_size_inches()
    axes = figure.add_axes(
        (LEFT / full_width, BOTTOM / full_height, width / full_width, height / full_height)
    )
    middle, half = (low + high) / 2, np.array([width, height]) / scale / 2
    axes.set_xlim(middle[0] - half[0], middle[0] + half[0])
    axes.set_ylim(middle[1] - half[1], middle[1] + half[1])
    axes.set_axis_off()
    return figure, axes, scale


def _links(figure: Figure, axes: Axes, simulation: Simulation, points: Floats) -> None:
    """Idle links first, the busiest on top, with an arrow head each; and what colours mean."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import Normalize

    ends = simulation.topology.links.ends
    bends = controls(points, ends)
    busy = busy_seconds(simulation)
    paths = [curve(points[a], bend, points[b]) for (a, b), bend in zip(ends.tolist(), bends)]
    idle, used = np.flatnonzero(busy == 0), np.flatnonzero(busy)
    axes.add_collection(
        LineCollection([paths[i] for i in idle], colors=FAINT, linewidths=0.9, linestyles=[(0, (3, 2))], zorder=1, gid="idle"),
        autolim=False,
    )  # fmt: skip
    if not len(used):
        return
    order = used[np.argsort(busy[used], kind="stable")]
    most, colours = float(busy.max()), _colours()
    norm = Normalize(0, most)
    inks = colours(norm(busy[order]))
    widths = 0.8 + 2.6 * busy[order] / most
    worst = int(used[busy[used].argmax()])
    axes.plot(
        *paths[worst].T,
        color=VERMILLION,
        linewidth=7,
        alpha=0.45,
        solid_capstyle="butt",
        zorder=1.5,
        gid="bottleneck",
    )
    axes.add_collection(
        LineCollection([paths[i] for i in order], colors=inks, linewidths=widths, zorder=2, gid="used"),
        autolim=False,
    )
    for i, ink, width in zip(order, inks, widths):
        _head(axes, paths[i], ink, 5 + 1.5 * width)
    _star(axes, paths[worst])
    _scale(figure, norm, colours)


def _colours() -> Colormap:
    """Viridis from busy and dark to idle and light, without its yellow end, which fades on white."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["viridis_r"](np.linspace(0.12, 1, 256)))


def _head(axes: Axes, path: Floats, ink: Any, size: float) -> None:
    """Beyond the middle, so that heads of both directions stand apart."""
    at, way = path[20], path[21] - path[19]
    angle = float(np.degrees(np.arctan2(way[1], way[0]))) - 90
    axes.plot(
        [at[0]], [at[1]], marker=(3, 0, angle), markersize=size, color=ink, markeredgewidth=0, linestyle="none",
        zorder=2.5, gid="head",
    )  # fmt: skip


def _star(axes: Axes, path: Floats) -> None:
    axes.plot(
        [path[14][0]], [path[14][1]], marker="*", markersize=13, color=VERMILLION, markeredgecolor="white",
        markeredgewidth=0.8, linestyle="none", zorder=5, gid="star",
    )  # fmt: skip


def _scale(figure: Figure, norm: Normalize, colours: Colormap) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import EngFormatter, MaxNLocator

    width, height = figure.get_size_inches()
    tall = min(height - TOP - BOTTOM, 3.2)
    middle = BOTTOM + (height - TOP - BOTTOM) / 2
    box = ((width - RIGHT + 0.25) / width, (middle - tall / 2) / height, 0.13 / width, tall / height)
    bar = figure.colorbar(ScalarMappable(norm, colours), cax=figure.add_axes(box))
    bar.locator = MaxNLocator(5)
    bar.formatter = EngFormatter("s")
    bar.update_ticks()
    bar.ax.tick_params(labelsize=8, length=2)
    bar.ax.set_title("link busy", fontsize=8.5, loc="left", pad=6)


def _hosts(axes: Axes, simulation: Simulation, points: Floats, scale: float) -> None:
    """A disc with the rank's number; a small empty one where no rank runs."""
    from matplotlib.patches import Circle

    disc = min(DISC * spacing(points), WIDEST / scale)
    rank_on = {int(host): rank for rank, host in enumerate(simulation.hosts)}
    for host in range(simulation.topology.hosts):
        rank = rank_on.get(host)
        radius = disc / 2 if rank is not None else disc / 4
        ink = GREY if rank is None else BLACK
        axes.add_patch(
            Circle(points[host], radius, facecolor="white", edgecolor=ink, linewidth=1, zorder=3, gid="host")
        )
        if rank is not None:
            size = min(9.0, 72 * 2 * radius * scale * (0.55 if rank < 100 else 0.4))
            x, y = points[host].tolist()
            axes.text(x, y, str(rank), ha="center", va="center_baseline", fontsize=size, zorder=4, gid="rank")


def _switches(axes: Axes, topology: Topology, points: Floats, scale: float) -> None:
    """Boxes with names, which are as large as the vertices beside them allow."""
    radius = min(DISC * spacing(points) * scale, WIDEST) / 2  # of a host, in inches
    hosts = np.arange(len(points)) < topology.hosts
    for vertex in range(topology.hosts, topology.vertices):
        name = plain(shortened(topology.vertex_name(vertex), 18))
        x, y = points[vertex].tolist()
        aside, above = scale * np.abs(points - points[vertex]).T  # inches
        beside = (above < np.where(hosts, radius + BOX / 2, BOX)) & (aside > 0)
        room = np.where(hosts, 2 * (aside - radius), aside)[beside].min(initial=1.6)
        size = max(3.0, min(NAME, 72 * 0.8 * float(room) / (0.62 * len(name))))
        axes.text(
            x, y, name, ha="center", va="center", fontsize=size, zorder=4, gid="switch",
            bbox={"boxstyle": "round,pad=0.3", "facecolor": "#f0f0f0", "edgecolor": GREY, "linewidth": 0.8},
        )  # fmt: skip
