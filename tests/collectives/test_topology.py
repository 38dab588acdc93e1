"""Topologies: routes, names, cuts, faults, placement, and the text they are written as."""

import json

import networkx
import numpy as np
import pytest
from ringleader.collectives.topology import KINDS, place, topology
from ringleader.collectives.topology.dragonfly import dragonfly
from ringleader.collectives.topology.islands import islands
from ringleader.collectives.topology.regular import grid, star, switch

SMALL = [
    "switch:1", "switch:5", "star:1", "star:2", "star:6", "ring:1", "ring:2", "ring:3", "ring:8",
    "mesh:3x4", "mesh:1x5", "mesh:2x3x4", "torus:4x4", "torus:5x2x3", "torus:1x1x1", "torus:2x2", "hypercube:dim=1",
    "hypercube:dim=4", "fat-tree:k=2", "fat-tree:k=4", "fat-tree:k=4,oversubscription=2",
    "fat-tree:k=8,oversubscription=2", "dragonfly:groups=9,routers=4,hosts=2", "dragonfly:groups=5,routers=3,hosts=2",
    "dragonfly:groups=4,routers=1,hosts=3", "dragonfly:groups=1,routers=3,hosts=2",
    "islands:gpus=4,rails=2,islands=3", "islands:gpus=3,rails=3,islands=2", "islands:gpus=8,islands=1",
]  # fmt: skip


def all_pairs(t):
    return np.indices((t.hosts, t.hosts)).reshape(2, -1)


def check_routes(t):
    """Every route starts at its source, is connected, takes no link twice, and ends at its destination."""
    src, dst = all_pairs(t)
    table, ends = t.route(src, dst), t.ends()
    assert table.shape[0] == len(src)
    assert (ends[:, 0] != ends[:, 1]).all()
    assert len(np.unique(ends, axis=0)) == len(ends) == len(t.links)
    for a, b, row in zip(src.tolist(), dst.tolist(), table.tolist()):
        path = [link for link in row if link >= 0]
        assert row[: len(path)] == path  # filled up behind
        here = a
        for link in path:
            tail, head = ends[link].tolist()
            assert tail == here
            here = head
        assert here == b
        assert len(set(path)) == len(path)
        assert bool(path) == (a != b)


@pytest.mark.parametrize("text", SMALL)
def test_routes_lead_from_source_to_destination(text):
    check_routes(topology(text))


@pytest.mark.parametrize("text", SMALL)
def test_a_batch_of_routes_is_each_route_alone(text):
    t = topology(text)
    src, dst = all_pairs(t)
    table = t.route(src, dst)
    for i in range(0, len(src), max(len(src) // 50, 1)):
        alone = t.route(src[i : i + 1], dst[i : i + 1])[0]
        assert [x for x in table[i] if x >= 0] == [x for x in alone if x >= 0]
    assert t.route([], []).shape[0] == 0


def hops(t, a, b):
    return int((t.route([a], [b])[0] >= 0).sum())


def names(t, a, b):
    return [t.link_name(int(link)) for link in t.route([a], [b])[0] if link >= 0]


def test_grid_routes_are_shortest_and_take_the_last_dimension_first():
    t = topology("torus:4x6")
    for a, b in zip(*all_pairs(t)):
        (x, y), (u, v) = divmod(int(a), 6), divmod(int(b), 6)
        assert hops(t, a, b) == min((u - x) % 4, (x - u) % 4) + min((v - y) % 6, (y - v) % 6)
    assert names(t, 0, 7) == ["host 0 -> host 1", "host 1 -> host 7"]
    m = topology("mesh:4x6")
    for a, b in zip(*all_pairs(m)):
        assert hops(m, a, b) == abs(a // 6 - b // 6) + abs(a % 6 - b % 6)


def test_half_way_round_a_ring_goes_upwards():
    assert names(topology("ring:4"), 3, 1) == ["host 3 -> host 0", "host 0 -> host 1"]
    assert names(topology("ring:4"), 1, 3) == ["host 1 -> host 2", "host 2 -> host 3"]


def test_hypercube_routes_correct_the_lowest_bit_first():
    t = topology("hypercube:dim=4")
    for a, b in zip(*all_pairs(t)):
        assert hops(t, a, b) == bin(int(a ^ b)).count("1")
    assert names(t, 0, 0b101) == ["host 0 -> host 1", "host 1 -> host 5"]


def test_a_torus_of_two_has_one_cable():
    assert len(topology("torus:2x2x2").links) == len(topology("hypercube:dim=3").links) == 24
    assert len(topology("ring:2").links) == 2


def test_fat_tree_has_the_sizes_of_the_paper_and_routes_up_and_down():
    t = topology("fat-tree:k=4")
    assert (t.hosts, t.switches) == (16, (("edge", 8), ("aggregation", 8), ("core", 4)))
    assert len(t.links) == 2 * 3 * 16
    assert [hops(t, 0, b) for b in (1, 2, 4)] == [2, 4, 6]
    assert names(t, 0, 15) == [
        "host 0 -> edge 0", "edge 0 -> aggregation 1", "aggregation 1 -> core 3",
        "core 3 -> aggregation 7", "aggregation 7 -> edge 7", "edge 7 -> host 15",
    ]  # fmt: skip


def test_d_mod_k_comes_down_to_a_host_on_one_path():
    t = topology("fat-tree:k=6")
    for d in range(0, t.hosts, 7):
        far = [s for s in range(t.hosts) if s // 9 != d // 9]
        assert len(np.unique(t.route(far, [d] * len(far))[:, 3:], axis=0)) == 1


@pytest.mark.parametrize("shift", [8, 16, 32, 64])
def test_d_mod_k_routes_shifts_between_pods_without_contention(shift):
    """Zahavi (2010): shift permutations meet nowhere."""
    t = topology("fat-tree:k=8")
    s = np.arange(t.hosts)
    table = t.route(s, (s + shift) % t.hosts)
    assert np.bincount(table[table >= 0]).max() == 1


def test_oversubscription_leaves_out_uplinks():
    full, half = topology("fat-tree:k=8"), topology("fat-tree:k=8,oversubscription=2")
    assert full.hosts == half.hosts == 128
    edges = {t: next(c for c in t.cuts() if c.name == "edge switches") for t in (full, half)}
    assert set(edges[full].out) == {4 * 25e9}
    assert set(edges[half].out) == {2 * 25e9}
    pods = {t: next(c for c in t.cuts() if c.name == "pods") for t in (full, half)}
    assert set(pods[full].into) == {16 * 25e9}
    assert set(pods[half].into) == {8 * 25e9}


def test_dragonfly_is_minimal_and_has_one_cable_between_groups():
    t = topology("dragonfly:groups=9,routers=4,hosts=2")
    assert (t.hosts, t.vertices) == (72, 72 + 36)
    group = t.ends()[2 * 72 :] - 72
    group = group // 4
    between, times = np.unique(group[group[:, 0] != group[:, 1]], axis=0, return_counts=True)
    assert len(between) == 9 * 8
    assert set(times) == {1}
    assert max(hops(t, a, b) for a, b in zip(*all_pairs(t))) == 5
    assert hops(t, 0, 1) == 2
    assert hops(t, 0, 2) == 3
    cables = np.bincount(t.ends()[2 * 72 + 36 * 3 :, 0] - 72)
    assert set(cables) == {2}  # every router has its share


def test_islands_take_the_rail_of_the_destination():
    t = topology("islands:gpus=4,rails=2,islands=2")
    assert names(t, 0, 3) == ["host 0 -> island 0", "island 0 -> host 3"]
    assert names(t, 0, 7) == [
        "host 0 -> island 0",
        "island 0 -> rail 1",
        "rail 1 -> island 1",
        "island 1 -> host 7",
    ]
    cuts = {c.name: c for c in t.cuts()}
    assert cuts["hosts"].out.tolist() == [450e9] * 8
    assert cuts["islands"].into.tolist() == [2 * 50e9] * 2


def test_cuts_are_what_links_cross_them():
    cuts = {c.name: c for c in topology("torus:4x6").cuts()}
    assert cuts["hosts"].out.tolist() == [100e9] * 24
    assert cuts["halves of dimension 0"].out.tolist() == [12 * 25e9] * 2
    assert cuts["halves of dimension 1"].into.tolist() == [8 * 25e9] * 2
    mesh = {c.name: c for c in topology("mesh:4x6").cuts()}
    assert mesh["halves of dimension 0"].out.tolist() == [6 * 25e9] * 2
    star = topology("star:5").cuts()[0]
    assert star.out.tolist() == [100e9] + [25e9] * 4


@pytest.mark.parametrize("text", SMALL)
def test_cuts_agree_with_looking_at_every_link(text):
    """No route may leave a set of hosts over links that its capacity does not count."""
    t = topology(text)
    src, dst = all_pairs(t)
    table = t.route(src, dst)
    for cut in t.cuts():
        for part in np.unique(cut.part[cut.part >= 0])[:3]:
            inside = cut.part == part
            leaving = table[inside[src] & ~inside[dst]]
            assert (cut.out[part] > 0) == (len(leaving) > 0) or t.hosts == inside.sum()


@pytest.mark.parametrize("text", SMALL)
def test_vertices_have_names_and_places(text):
    t = topology(text)
    assert t.positions().shape == (t.vertices, 2)
    assert np.isfinite(t.positions()).all()
    assert len(np.unique(t.positions().round(6), axis=0)) == t.vertices
    assert len({t.vertex_name(v) for v in range(t.vertices)}) == t.vertices
    assert t.vertex_name(0) == "host 0"
    with pytest.raises(ValueError, match="no vertex"):
        t.vertex_name(t.vertices)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "file"])
def test_sizes_are_made_to_fit(kind):
    for n in (1, 2, 3, 7, 8, 9, 64, 100):
        t = topology(kind, ranks=n)
        assert t.hosts >= n
        assert topology(t.name, ranks=n).hosts == t.hosts  # the name says it all
    if kind in ("switch", "star", "ring"):
        assert t.hosts == 100


def test_sizes_that_fit_are_the_smallest():
    assert topology("torus", 131_072).name == "torus:64x64x32"
    assert topology("torus", 27).name == "torus:3x3x3"
    assert topology("mesh", 12).name == "mesh:4x3"
    assert topology("fat-tree", 16).name == "fat-tree:k=4"
    assert topology("fat-tree", 17).name == "fat-tree:k=6"
    assert topology("fat-tree:oversubscription=2", 17).name == "fat-tree:k=8,oversubscription=2"
    assert topology("islands:gpus=4", 9).hosts == 12
    assert topology("dragonfly", 72).name == "dragonfly:groups=9,routers=4,hosts=2"


def test_text_gives_sizes_speed_and_delay():
    t = topology("torus:dims=4x4x2,bandwidth=12.5G,latency=500ns")
    assert t.hosts == 32
    assert set(t.links.bandwidth) == {12.5e9}
    assert set(t.links.latency) == {500e-9}
    assert set(topology("switch:4").links.bandwidth) == {25e9}
    assert set(topology("switch:4").links.latency) == {1e-6}
    assert topology("switch:4,bandwidth=1e9,latency=0").links.bandwidth[0] == 1e9
    assert topology("switch:4,latency=2ms").links.latency[0] == 2e-3
    fast = topology("islands:islands=2,inside=900G,between=100M,latency=2us")
    assert set(fast.links.bandwidth) == {900e9, 100e6}


@pytest.mark.parametrize(
    ("text", "ranks", "says"),
    [
        ("tokens", 4, r"unknown topology 'tokens'; known: switch, .*torus"),
        ("", 4, "unknown topology"),
        (
            "torus:sides=4x4",
            None,
            r"unknown key 'sides'; torus has dims, bandwidth, latency, like torus:dims=8x8x8",
        ),
        ("torus:4y4", None, "write them like 4x4"),
        ("torus:0x4", None, "write them like 4x4"),
        ("switch:hosts=many", None, "hosts: 'many' is no whole number"),
        ("switch:4,5", None, "unknown key '5'"),
        ("switch:4,hosts=5", None, "'hosts' is given twice"),
        ("switch:4,bandwidth=25X", None, r"bandwidth: '25X' is no bandwidth; write .* 25G"),
        ("switch:4,bandwidth=0", None, "no bandwidth"),
        ("switch:4,latency=-1us", None, r"latency: '-1us' is no time; .* 1us"),
        ("switch", None, "switch needs its size, like switch:hosts=64"),
        ("ring:4", 5, "has 4 hosts, too few for 5 ranks"),
        ("fat-tree:k=5", None, "k must be even"),
        ("fat-tree:k=8,oversubscription=3", None, "oversubscription a divisor of k/2"),
        ("dragonfly:groups=9", None, "groups, routers and hosts together"),
        ("islands:gpus=4,rails=5,islands=2", None, "rails=4 or fewer"),
        ("islands:bandwidth=1G", 8, "unknown key 'bandwidth'; islands has gpus, rails"),
        ("file", 4, "file needs a path"),
        ("file:nowhere.gml", 4, "there is no graph file 'nowhere.gml'"),
        ("file:cluster.txt", 4, r"graph files end in \.graphml"),
        ("file:two\nlines.gml", 4, r"no graph file 'two\\nlines.gml'"),
        ("switch:hosts=²", None, "no whole number above 0, up to 16,777,216"),
        ("switch:hosts=99999999999999", None, "no whole number above 0, up to 16,777,216"),
        ("switch:hosts=" + "9" * 5000, None, "no whole number above 0, up to 16,777,216"),
        ("hypercube:dim=40", None, "hypercube: 40 dimensions; give 1 to 24"),
        ("hypercube:dim=24", None, "has 16,777,216 hosts and 805,306,368 links; at most"),
        ("torus:99999x99999", None, "has 9,999,800,001 hosts and"),
        ("mesh:99999999x99999999", None, "no dimensions"),
        ("fat-tree:k=999998", None, "at most 16,777,216 and"),
        ("dragonfly:groups=9999,routers=999,hosts=9", None, "at most 16,777,216 and"),
        ("islands:islands=9999,gpus=9999", None, "at most 16,777,216 and"),
        ("star:16777217", None, "no whole number"),
        ("switch:4,latency=1e308s", None, "no time; write it like 1us .*, at most 1e6 s"),
        ("switch:4,bandwidth=1e-320", None, "no bandwidth; .*, from 1 to 1e18"),
        ("switch:4,bandwidth=1e400", None, "no bandwidth"),
        ("switch:4,bandwidth=1_0", None, "no bandwidth"),
        ("switch:4,bandwidth=²", None, "no bandwidth"),
        ("x" * 5000, 4, "unknown topology"),
    ],
)
def test_wrong_text_is_refused_in_one_line(text, ranks, says):
    with pytest.raises(ValueError, match=says) as e:
        topology(text, ranks=ranks)
    assert "\n" not in str(e.value)


def test_placements():
    t = topology("islands:gpus=4,islands=3")
    assert place(t, 5, "block").tolist() == [0, 1, 2, 3, 4]
    assert place(t, 5, "cyclic").tolist() == [0, 4, 8, 1, 5]
    assert place(topology("torus:2x3"), 6, "cyclic").tolist() == [0, 3, 1, 4, 2, 5]
    assert place(topology("fat-tree:k=4"), 5, "cyclic").tolist() == [0, 4, 8, 12, 1]
    assert place(topology("switch:4"), 4, "cyclic").tolist() == [0, 1, 2, 3]
    assert place(t, 3, [5, 0, 11]).tolist() == [5, 0, 11]
    drawn = place(t, 12, "random:7")
    assert sorted(drawn.tolist()) == list(range(12))
    assert drawn.tolist() == place(t, 12, "random:7").tolist()
    assert drawn.tolist() != place(t, 12, "random:8").tolist()
    assert len(set(place(t, 5, "random").tolist())) == 5
    assert place(t, 5).dtype == np.int64


@pytest.mark.parametrize(
    ("n", "placement", "says"),
    [
        (13, "block", "has 12 hosts, too few for 13 ranks"),
        (2, "spread", "unknown placement 'spread'; write block, cyclic"),
        (2, "random:x", "unknown placement"),
        (2, [1], "names 1 hosts for 2 ranks"),
        (2, [1, 12], r"hosts 0 \.\.\. 11, no host 12"),
        (2, [1, -1], "no host -1"),
        (3, [1, 2, 1], "host 1 is given to several ranks"),
        (2, [0.9, 1.9], r"hosts must be whole numbers, got '\[0.9, 1.9\]'"),
        (2, [10**30, 1], "hosts must be whole numbers"),
        (2, [True, False], "hosts must be whole numbers"),
        (2, "random:²", "unknown placement"),
        (2, "random:" + "9" * 5000, "unknown placement"),
        (2, "random:", "unknown placement"),
    ],
)
def test_wrong_placements_are_refused(n, placement, says):
    with pytest.raises(ValueError, match=says):
        place(topology("islands:gpus=4,islands=3"), n, placement)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: switch(4, bandwidth=-1), "links: bandwidth must be from 1 to .*, got -1"),
        (lambda: switch(4, bandwidth=float("nan")), "links: bandwidth must be"),
        (lambda: star(4, latency=float("inf")), r"links: latency must be from 0 to 1e\+06, got inf"),
        (lambda: islands(2, between=0.0), "links: bandwidth must be"),
        (lambda: switch(0), "sizes must be whole numbers above 0"),
        (lambda: switch(4.5), "sizes must be whole numbers above 0"),
        (lambda: grid("torus", (-2, -2), True), "sizes must be whole numbers above 0"),
        (lambda: dragonfly(-1, -2, 3), "sizes must be whole numbers above 0"),
        (lambda: star(1 << 25), "star:33554432 has 33,554,432 hosts and 67,108,864 links; at most"),
    ],
)
def test_wrong_sizes_and_speeds_are_refused_in_python(make, says):
    with pytest.raises(ValueError, match=says) as e:
        make()
    assert "\n" not in str(e.value)


def test_names_in_a_file_stay_in_one_line(tmp_path):
    path = tmp_path / "g.json"
    nodes = [{"id": 0, "label": "a\nb"}, {"id": 1, "label": "ü"}]
    path.write_text(json.dumps({"nodes": nodes, "edges": [{"source": 0, "target": 1}]}), encoding="utf-8")
    assert topology(f"file:{path}").link_name(0) in (r"a\nb -> ü", r"ü -> a\nb")


def test_degraded_links_by_name_number_and_direction():
    t = topology("switch:4")
    both = t.degraded({("host 3", "switch 0"): 0.5})
    assert both.links.bandwidth.tolist() == [25e9] * 3 + [12.5e9] + [25e9] * 3 + [12.5e9]
    assert t.degraded({(3, 4): 0.5}).links.bandwidth.tolist() == both.links.bandwidth.tolist()
    one = t.degraded({"switch 0 -> host 3": 0.25})
    assert one.links.bandwidth.tolist() == [25e9] * 7 + [6.25e9]
    assert set(t.links.bandwidth) == {25e9}  # the original is as it was
    assert one.route([0], [3]).tolist() == t.route([0], [3]).tolist()
    assert "degraded" in one.name
    cut = {c.name: c for c in one.cuts()}["hosts"]
    assert cut.into[3] == 6.25e9
    gone = t.without([("switch 0", "host 1")])
    assert gone.links.bandwidth.tolist() == [25e9, 0, 25e9, 25e9] * 2


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        ({("host 0", "host 1"): 0.5}, "no link between host 0 and host 1"),
        ({("host 9", "switch 0"): 0.5}, r"no vertex 'host 9'; its vertices are 'host 0' \.\.\. 'switch 0'"),
        ({(0, 99): 0.5}, "no vertex 99"),
        ({"host 0": 0.5}, "'host 0' is no link"),
        ({("host 0", "switch 0"): 0}, r"must be from 1e-6 to 1e6; use without\(\)"),
        ({("host 0", "switch 0"): float("nan")}, "must be from 1e-6 to 1e6"),
    ],
)
def test_wrong_faults_are_refused(pairs, says):
    with pytest.raises(ValueError, match=says):
        topology("switch:4").degraded(pairs)


def cluster():
    """Two hosts on each of two switches; the direct cable between these is slow to react."""
    g = networkx.Graph()
    for host, near in (("a", "s"), ("b", "s"), ("c", "t"), ("d", "t")):
        g.add_node(host, host=1)
        g.add_edge(host, near, bandwidth="10G", latency="1us")
    g.add_edge("s", "t", bandwidth=4e9, latency=9e-6)
    g.add_edge("s", "m", latency=2e-6)
    g.add_edge("m", "t", latency=2e-6)
    return g


WRITERS = {
    ".graphml": networkx.write_graphml,
    ".gml": networkx.write_gml,
    ".gexf": networkx.write_gexf,
    ".json": lambda g, path: path.write_text(json.dumps(networkx.node_link_data(g, edges="links"))),
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_graph_files(suffix, tmp_path):
    path = tmp_path / f"my, cluster{suffix}"
    WRITERS[suffix](cluster(), path)
    t = topology(f"file:{path},bandwidth=7G", ranks=4)
    assert (t.hosts, t.vertices, len(t.links)) == (4, 7, 14)
    assert names(t, 0, 1) == ["a -> s", "s -> b"]
    assert names(t, 0, 3) == ["a -> s", "s -> m", "m -> t", "t -> d"]  # 6 us; directly it would be 11
    path = t.route([0], [3])[0]
    assert t.links.bandwidth[path].tolist() == [10e9, 7e9, 7e9, 10e9]
    assert t.links.latency[path].tolist() == pytest.approx([1e-6, 2e-6, 2e-6, 1e-6])
    check_routes(t)
    assert t.positions().shape == (7, 2)
    assert t.without([("s", "t")]).links.bandwidth.min() == 0


@pytest.mark.parametrize("suffix", [".edgelist", ".adjlist"])
def test_plain_lists_make_every_node_a_host(suffix, tmp_path):
    path = tmp_path / f"g{suffix}"
    path.write_text(
        {".edgelist": "0 1 {'bandwidth': 5e9}\n1 2\n2 3\n", ".adjlist": "0 1\n1 2\n2 3\n"}[suffix]
    )
    t = topology(f"file:{path}")
    assert (t.hosts, t.vertices) == (4, 4)
    assert hops(t, 0, 3) == 3
    assert t.links.bandwidth.min() == (5e9 if suffix == ".edgelist" else 25e9)
    check_routes(t)


def test_directed_graphs_keep_their_directions(tmp_path):
    path = tmp_path / "ring.graphml"
    networkx.write_graphml(networkx.cycle_graph(4, create_using=networkx.DiGraph), path)
    t = topology(f"file:{path}")
    assert len(t.links) == 4
    assert hops(t, 1, 0) == 3
    check_routes(t)


def test_links_of_no_latency_still_have_shortest_paths(tmp_path):
    path = tmp_path / "g.adjlist"
    path.write_text("0 1 2 3 4\n1 2 3 4\n2 3 4\n3 4\n4\n")
    t = topology(f"file:{path},latency=0")
    assert max(hops(t, a, b) for a, b in zip(*all_pairs(t))) == 1
    check_routes(t)


ENTITIES = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><graphml>&b;</graphml>'


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("g.gml", "graph [ node", "is no gml graph"),
        ("g.graphml", "<graphml", "is no graphml graph"),
        ("g.graphml", ENTITIES, "is no graphml graph: EntitiesForbidden"),
        ("g.json", "[1, 2]", "is no json graph"),
        ("g.json", '{"nodes": [], "edges": []}', "has no nodes"),
        ("g.edgelist", "0 1 {'bandwidth': 'fast'}\n", "'fast' is no bandwidth"),
        ("g.json", '{"multigraph": true, "nodes": [{"id": 0}, {"id": 1}], "edges": [{"source": 0, "target": 1}]}',
         "several edges between two nodes"),
    ],
)  # fmt: skip
def test_wrong_graph_files_are_refused_in_one_line(name, text, says, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=says) as e:
        topology(f"file:{tmp_path / name}")
    assert "\n" not in str(e.value)


def test_a_graph_in_two_pieces_says_who_is_apart(tmp_path):
    path = tmp_path / "g.adjlist"
    path.write_text("0 1\n2 3\n")
    with pytest.raises(ValueError, match="no path from 0 to 3"):
        topology(f"file:{path}").route([0, 0], [1, 3])
