"""Any other topology, from a graph file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from ringleader.collectives.topology.base import (
    BANDWIDTH,
    LATENCY,
    NO_LINK,
    Floats,
    Links32,
    Topology,
    links,
    pairs,
)
from ringleader.collectives.topology.units import bytes_per_second, escaped, seconds

SUFFIXES = (".graphml", ".gml", ".gexf", ".json", ".edgelist", ".adjlist")


@dataclass(frozen=True, eq=False)
class Graph(Topology):
    """Vertices and links as the file has them; vertices are called by their labels there, or by
    their identifiers.

    Routes are shortest paths by latency, found with Dijkstra's algorithm for one source host at a time when it
    is first asked for, and kept in a table.
    """

    names: tuple[str, ...] = ()
    _into: dict[int, Links32] = field(
        default_factory=dict
    )  # by source: the link into each vertex of its tree

    def vertex_name(self, vertex: int) -> str:
        if not 0 <= vertex < len(self.names):
            raise ValueError(f"{self.name} has vertices 0 ... {len(self.names) - 1}, no vertex {vertex}")
        return self.names[vertex]

    def _network(self) -> Any:
        import networkx

        network = networkx.DiGraph()
        network.add_nodes_from(range(self.vertices))
        for i, (tail, head) in enumerate(self.links.ends.tolist()):
            network.add_edge(tail, head, link=i, latency=float(self.links.latency[i]))
        return network

    def _tabulate(self, sources: list[int]) -> None:
        import networkx

        network = self._network()
        for source in sources:
            before, _ = networkx.dijkstra_predecessor_and_distance(network, source, weight="latency")
            tree = np.full(self.vertices, NO_LINK, dtype=np.int32)
            for vertex, predecessors in before.items():
                if predecessors:
                    tree[vertex] = network.edges[predecessors[0], vertex]["link"]
            self._into[source] = tree

    def route(self, src: ArrayLike, dst: ArrayLike) -> Links32:
        s, d = pairs(src, dst)
        sources, row = np.unique(s, return_inverse=True)
        if missing := [i for i in sources.tolist() if i not in self._into]:
            self._tabulate(missing)
        into = (
            np.stack([self._into[i] for i in sources.tolist()])
            if len(sources)
            else np.empty((0, 0), np.int32)
        )
        columns: list[NDArray[np.int32]] = []
        here, going = d.copy(), np.flatnonzero(s != d)
        while len(going):
            link = into[row[going], here[going]]
            if (link == NO_LINK).any():
                lost = going[link == NO_LINK][0]
                raise ValueError(
                    f"{self.name} has no path from {self.names[s[lost]]} to {self.names[d[lost]]}"
                )
            column = np.full(len(s), NO_LINK, dtype=np.int32)
            column[going] = link
            columns.append(column)
            here[going] = self.links.ends[link, 0]
            going = going[here[going] != s[going]]
        return _backwards(columns, len(s))

    def positions(self) -> Floats:
        """Laid out by force (Fruchterman and Reingold 1991), the same every time."""
        import networkx

        placed = networkx.spring_layout(self._network().to_undirected(), seed=0)
        return np.array([placed[v] for v in range(self.vertices)], dtype=np.float64).reshape(-1, 2)


def _backwards(columns: list[NDArray[np.int32]], count: int) -> Links32:
    """Routes found from their last link on, turned round and filled up behind."""
    if not columns:
        return np.empty((count, 0), dtype=np.int32)
    table = np.stack(columns[::-1], axis=1)
    return np.take_along_axis(table, np.argsort(table == NO_LINK, axis=1, kind="stable"), axis=1)


def graph_file(path: str, bandwidth: float = BANDWIDTH, latency: float = LATENCY) -> Topology:
    """A graph in one of networkx's formats, by suffix.

    Nodes whose attribute ``host`` is true (or 1) are hosts, or all of them if there is no such node. Edges
    may have ``bandwidth`` (B/s) and ``latency`` (s), as numbers or like "25G" and "1us". Edges of an
    undirected graph are links both ways.
    """
    network = _read(Path(path))
    if network.is_multigraph():
        raise ValueError(
            f"{path!r} has several edges between two nodes; merge them into one of their total bandwidth"
        )
    network.remove_edges_from([(v, v) for v in network if network.has_edge(v, v)])
    hosts = [
        v for v, data in network.nodes(data=True) if str(data.get("host", "")).lower() in ("true", "1", "1.0")
    ]
    hosts = hosts or list(network)
    if not hosts:
        raise ValueError(f"{path!r} has no nodes")
    chosen = set(hosts)
    nodes = hosts + [v for v in network if v not in chosen]
    number = {v: i for i, v in enumerate(nodes)}
    rows = [
        (
            number[a],
            number[b],
            _value(data, "bandwidth", bandwidth, path),
            _value(data, "latency", latency, path),
        )
        for a, b, data in network.to_directed().edges(data=True)
    ]
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    switches = (("switch", len(nodes) - len(hosts)),)
    wires = links(table[:, :2].astype(np.int64), table[:, 2], table[:, 3])
    labels = tuple(escaped(str(network.nodes[v].get("label", v))) for v in nodes)
    names = labels if len(set(labels)) == len(labels) else tuple(escaped(str(v)) for v in nodes)
    return Graph(f"file:{escaped(path)}", len(hosts), wires, switches, names)


def _value(data: dict[str, Any], key: str, default: float, path: str) -> float:
    if key not in data:
        return default
    read = bytes_per_second if key == "bandwidth" else seconds
    try:
        return read(str(data[key]))
    except ValueError as e:
        raise ValueError(f"{path!r}: {e}") from None


def _read(path: Path) -> Any:
    """The graph in the file; ValueError in one line whatever is wrong with it."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{str(path)!r}: graph files end in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ValueError(f"there is no graph file {str(path)!r}")
    try:
        import networkx

        if path.suffix == ".json":
            data = json.loads(path.read_text(encoding="utf-8"))
            edges = "links" if "links" in data else "edges"
            return networkx.node_link_graph(data, multigraph=False, edges=edges)
        if path.suffix in (".graphml", ".gexf"):
            from defusedxml.ElementTree import parse

            parse(path)  # refuses entity bombs, before a parser that knows no such thing sees the file
        if path.suffix == ".gml":
            return networkx.read_gml(path, label=None)
        return getattr(networkx, "read_" + path.suffix[1:])(path)
    except ImportError as e:
        raise ValueError(
            f"graph files need {e.name}; install it, or choose a topology that needs no file"
        ) from None
    except Exception as e:
        raise ValueError(
            f"{str(path)!r} is no {path.suffix[1:]} graph: {' '.join(str(e).split()) or type(e).__name__}"
        ) from None
