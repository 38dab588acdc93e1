"""Pictures: what is drawn is what the schedule, the verifier and the simulator say; and it can be read."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from ringleader.collectives import Round, algorithms, build, copy, fragment, verify
from ringleader.collectives.draw import curves, link_load, ownership, space_time
from ringleader.collectives.draw.canvas import seconds_drawn
from ringleader.collectives.draw.contents import COMPLETE, EMPTY, OTHER, PARTIAL, History, spans
from ringleader.collectives.draw.panels import PANELS
from ringleader.collectives.draw.routes import controls, curve, places, spacing
from ringleader.collectives.simulate import LogGP, simulate
from ringleader.collectives.topology import topology
from ringleader.collectives.topology.units import bytes_text

SCHEDULES = [
    ("allreduce", "ring"), ("allreduce", "recursive-doubling"), ("broadcast", "circulant"), ("alltoall", "bruck"),
]  # fmt: skip
WHERE = [
    "switch",
    "ring",
    "torus",
    "fat-tree:k=4",
    "islands:gpus=4",
    "hypercube",
    "star",
    "dragonfly:groups=5,routers=2,hosts=2",
]
SMALLEST = 3.9  # points
UNEQUAL = [
    {"algorithm": "a", "n": n, "nbytes": b, "seconds": b * n * 1e-9} for n in (4, 8) for b in (64, 4096)
]


def timed(collective, name, n, model="rounds", nbytes=1 << 20, where="switch", **given):
    return simulate(
        build(collective, name, n), nbytes, topology(where, ranks=n), model=model, record=True, **given
    )


def rows(n=8):
    where = topology("switch", ranks=n)
    built = {f"allreduce/{a}": build("allreduce", a, n) for a in algorithms("allreduce")}
    return [
        {"algorithm": name, "n": n, "nbytes": b, "seconds": simulate(schedule, b, where).total}
        for name, schedule in built.items()
        for b in (1 << 10, 1 << 16, 1 << 22)
    ]


def named(figure, gid):
    return figure.findobj(lambda artist: artist.get_gid() == gid)


def said(figure):
    return [t.get_text() for t in figure.findobj(Text)]


def readable(figure):
    """Every text drawn stays inside the figure and off all others, and is not too small."""
    drawn, draw = [], Text.draw

    def noted(text, renderer):
        if text.get_visible() and text.get_text().strip():
            assert text.get_fontsize() >= SMALLEST
            drawn.append((text.get_text(), text.get_window_extent(renderer)))
        draw(text, renderer)

    Text.draw = noted
    try:
        FigureCanvasAgg(figure).draw()
    finally:
        Text.draw = draw
    names = [text for text, _ in drawn]
    left, low, right, high = np.array([box.extents for _, box in drawn]).T
    width, height = figure.bbox.size
    assert [
        names[k] for k in np.flatnonzero((left < 0) | (low < 0) | (right > width) | (high > height))
    ] == []
    for k, name in enumerate(names):
        across = np.minimum(right[k], right[:k]) - np.maximum(left[k], left[:k])
        upwards = np.minimum(high[k], high[:k]) - np.maximum(low[k], low[:k])
        assert [(name, names[other]) for other in np.flatnonzero((across > 1) & (upwards > 1))] == []


@pytest.mark.parametrize("n", [8, 16])
@pytest.mark.parametrize(("collective", "name"), SCHEDULES)
def test_texts_do_not_touch(collective, name, n):
    readable(space_time(build(collective, name, n)))
    readable(ownership(build(collective, name, n)))
    for model in ("rounds", "loggp"):
        readable(space_time(timed(collective, name, n, model)))


@pytest.mark.parametrize("n", [8, 16])
@pytest.mark.parametrize("where", WHERE)
def test_texts_on_maps_do_not_touch(where, n):
    readable(link_load(timed("allreduce", "ring", n, where=where)))


@pytest.mark.parametrize("n", [8, 16])
def test_texts_of_curves_do_not_touch(n):
    readable(curves(rows(n)))
    readable(
        curves([{**r, "n": 2**k} for k in range(1, 11) for r in rows(n) if r["nbytes"] == 1024], x="ranks")
    )
    readable(curves([{"algorithm": f"name {k}", "n": 2, "nbytes": 8, "seconds": k + 1} for k in range(60)]))


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_same_picture_is_the_same_file(tmp_path, suffix):
    pictures = [
        lambda path: space_time(build("allreduce", "ring", 4), path),
        lambda path: space_time(timed("allreduce", "ring", 4), path),
        lambda path: ownership(build("alltoall", "bruck", 4), path),
        lambda path: link_load(timed("allreduce", "ring", 4), path),
        lambda path: curves([r for r in UNEQUAL if r["n"] == 4], path),
    ]
    for number, draw in enumerate(pictures):
        paths = [tmp_path / f"{number}{again}{suffix}" for again in "ab"]
        for path in paths:
            draw(path)
        first, second = (path.read_bytes() for path in paths)
        assert first == second
        assert first.lstrip()[:5] == b"<?xml" if suffix == ".svg" else first[1:4] == b"PNG"


def test_matplotlib_comes_with_the_first_picture():
    script = "import sys, ringleader.collectives.draw as d; assert 'matplotlib' not in sys.modules; print(len(d.__all__))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("5", "")


# Space and time


@pytest.mark.parametrize("n", [2, 8, 13])
@pytest.mark.parametrize(("collective", "name"), SCHEDULES)
def test_an_arrow_for_every_message(collective, name, n):
    schedule = build(collective, name, n)
    sent = [
        (number, src, dst)
        for number, groups in enumerate(schedule.expand())
        for g in groups
        for src, dst in set(zip(g.src.tolist(), g.dst.tolist()))
    ]
    figure = space_time(schedule)
    arrows = named(figure, "message")
    assert len(arrows) == sum(src != dst for _, src, dst in sent)
    assert len(named(figure, "local")) == sum(src == dst for _, src, dst in sent)
    drawn = sorted((int(a[0]), a[1], b[1]) for a, b in (arrow._posA_posB for arrow in arrows))
    assert drawn == sorted((k, src, dst) for k, src, dst in sent if src != dst)


def test_folds_are_dashed_and_copies_are_not():
    figure = space_time(build("allreduce", "ring", 4))
    dashed = [arrow.get_linestyle() != "solid" for arrow in named(figure, "message")]
    assert dashed == [True] * 12 + [False] * 12
    assert "message, copied" in said(figure)
    assert "message, folded into what is there" in said(figure)
    assert "message, folded into what is there" not in said(space_time(build("broadcast", "binomial", 4)))


@pytest.mark.parametrize("model", ["rounds", "loggp"])
def test_a_simulated_arrow_from_send_to_receive(model):
    simulation = timed("allreduce", "ring", 5, model)
    figure = space_time(simulation)
    ends = sorted((a, b) for a, b in (arrow._posA_posB for arrow in named(figure, "message")))
    sends = sorted((e.start, e.rank) for e in simulation.events if e.kind == "send")
    receives = sorted((e.end, e.rank) for e in simulation.events if e.kind == "recv")
    assert len(ends) == 8 * 5
    assert sorted(a for a, _ in ends) == sends
    assert sorted(b for _, b in ends) == receives
    assert all((a[1] + 1) % 5 == b[1] and a[0] < b[0] for a, b in ends)
    assert any(f"{seconds_drawn(simulation.total)} in all" in text for text in said(figure))
    assert figure.axes[0].get_xlim()[1] == simulation.total


@pytest.mark.parametrize(
    ("model", "kinds"), [("rounds", ["wait", "reduce"]), ("loggp", ["wait", "reduce", "send", "recv"])]
)
def test_folds_and_waits_are_bars(model, kinds):
    simulation = timed("reduce", "binomial", 6, model)
    figure = space_time(simulation)
    for kind in kinds:
        (bars,) = named(figure, kind)
        want = sorted((e.start, e.end, e.rank) for e in simulation.events if e.kind == kind)
        boxes = (path.get_extents() for path in bars.get_paths())
        assert np.allclose(sorted((b.x0, b.x1, (b.y0 + b.y1) / 2) for b in boxes), want)
    assert {"waits", "folds"} <= set(said(figure))


def test_a_rendezvous_is_drawn_too():
    figure = space_time(timed("allreduce", "ring", 4, "loggp", loggp=LogGP(S=1)))
    assert len(named(figure, "message")) == 24


# Contents


def numbers(figure):
    """[state][cell]: the numbers written, in the order of ranks and columns."""
    return [
        [t.get_text() for t in axes.texts if t.get_gid() == "number"]
        for axes in figure.axes
        if axes.get_title()
    ]


@pytest.mark.parametrize(
    ("collective", "name", "n"), [("allreduce", "recursive-doubling", 6), ("scan", "distance-doubling", 5)]
)
def test_numbers_count_the_contributions_that_the_verifier_found(collective, name, n):
    schedule = build(collective, name, n)
    history = History("test", schedule)
    states = numbers(ownership(schedule))
    assert len(states) == len(schedule) + 1
    for number, state in enumerate(states):
        held = history.states[number].ravel().tolist()
        assert state == [str(len(leaves(history, e))) for e in held]


def leaves(history, expression):
    if expression < history.leaves:
        return {expression}
    left, right = history.operands[expression - history.leaves]
    return leaves(history, left) | leaves(history, right)


def test_numbers_name_the_origin_where_nothing_is_folded():
    states = numbers(ownership(build("allgather", "ring", 4)))
    assert states[-1] == ["0", "1", "2", "3"] * 4


def test_at_the_end_all_that_is_promised_is_framed():
    for collective, name, promised in (
        ("allreduce", "ring", 16),
        ("reduce_scatter", "ring", 4),
        ("alltoall", "bruck", 16),
    ):
        schedule = build(collective, name, 4)
        figure = ownership(schedule)
        framed = [c for c in figure.axes[len(numbers(figure)) - 1].collections if c.get_gid() == "complete"]
        assert sum(len(c.get_paths()) for c in framed) == promised


def test_a_cell_is_judged_by_what_it_is_for():
    history = History("test", build("reduce_scatter", "ring", 3))
    kinds = [
        [history.judge(r, c, int(e))[0] for c, e in enumerate(row)]
        for r, row in enumerate(history.states[-1])
    ]
    assert [kinds[r][r] for r in range(3)] == [COMPLETE] * 3
    assert {kinds[r][c] for r in range(3) for c in range(3) if r != c} <= {PARTIAL, OTHER}
    exscan = History("test", build("exscan", "linear", 3))
    assert (
        exscan.judge(0, 0, int(exscan.states[0][0, 0]))[0] == COMPLETE
    )  # rank 0's output is to stay as it is
    assert exscan.judge(1, 0, int(exscan.states[0][1, 0]))[0] == EMPTY


def test_long_schedules_show_some_states_and_say_so():
    figure = ownership(build("allreduce", "ring", 16))
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert len(titles) == PANELS
    assert (titles[0], titles[-1]) == ("start", "after round 29")
    assert any("12 of 31 states shown" in text for text in said(figure))


def test_a_wrong_schedule_is_drawn_up_to_its_fault_and_named():
    ring = build("allreduce", "ring", 4)
    conflict = copy([0, 1], [2, 2], slot=[3, 3])
    wrong = replace(ring, rounds=(*ring.rounds[:1], conflict, *ring.rounds[1:]))
    history = History("test", wrong)
    assert (len(history.rounds), len(history.states)) == (4, 5)
    assert np.array_equal(history.states[3], history.states[4])
    figure = ownership(wrong)
    assert str(verify(wrong)).split(": ", 1)[1] in said(figure)
    readable(ownership(replace(build("allreduce", "ring", 16), rounds=())))  # with a long fault


def test_spans():
    assert spans([6, 0, 1, 2, 3, 2]) == "0–3, 6"


# Links


def test_every_link_is_drawn_and_the_bottleneck_is_marked():
    simulation = timed("allreduce", "ring", 8, where="islands:gpus=4,islands=2")
    figure = link_load(simulation)
    (used,), (idle,) = named(figure, "used"), named(figure, "idle")
    carried = int(np.count_nonzero(simulation.link_bytes))
    assert len(used.get_segments()) == carried == len(named(figure, "head"))
    assert len(idle.get_segments()) == len(simulation.topology.links) - carried
    thickness = used.get_linewidths()
    assert list(thickness) == sorted(thickness)
    assert max(thickness) > 2 * min(thickness)  # the islands' own links have little to do
    link = [simulation.topology.link_name(k) for k in range(len(simulation.topology.links))].index(
        simulation.bottleneck.link
    )
    tail, head = simulation.topology.positions()[simulation.topology.links.ends[link]]
    (marked,) = named(figure, "bottleneck")
    assert np.allclose(marked.get_xydata()[[0, -1]], [tail, head])
    assert len(named(figure, "star")) == 1
    (line,) = [text for text in said(figure) if text.startswith("bottleneck")]
    nbytes = bytes_text(simulation.bottleneck.nbytes)
    assert (
        f"★ {simulation.bottleneck.link}: {nbytes}, busy {seconds_drawn(simulation.bottleneck.nbytes / 50e9)}"
        in line
    )


def test_the_scale_has_units_and_reaches_the_busiest_link():
    simulation = timed("allreduce", "ring", 4)
    figure = link_load(simulation)
    bar = figure.axes[-1]
    assert bar.get_title(loc="left") == "link busy"
    assert np.isclose(bar.get_ylim()[1], simulation.link_bytes.max() / 25e9)
    FigureCanvasAgg(figure).draw()
    assert all(t.get_text().endswith("s") for t in bar.get_yticklabels())


def test_hosts_bear_their_ranks_and_switches_their_names():
    schedule = build("allreduce", "ring", 4)
    simulation = simulate(schedule, 4096, topology("switch:6"), placement=[5, 3, 0, 1])
    figure = link_load(simulation)
    places = {t.get_text(): t.get_position() for t in named(figure, "rank")}
    points = simulation.topology.positions()
    assert all(np.allclose(places[str(rank)], points[host]) for rank, host in enumerate([5, 3, 0, 1]))
    assert len(places) == 4
    assert len(named(figure, "host")) == 6
    assert [t.get_text() for t in named(figure, "switch")] == ["switch 0"]


def test_both_directions_of_a_cable_are_apart():
    where = topology("torus:4x4")
    points, ends = where.positions(), where.links.ends
    bends = controls(points, ends)
    middles = {(a, b): curve(points[a], bend, points[b])[16] for (a, b), bend in zip(ends.tolist(), bends)}
    assert all(np.linalg.norm(middle - middles[b, a]) > 0.1 for (a, b), middle in middles.items())


def test_links_go_round_vertices_on_their_way():
    where = topology("torus:4x4")
    points, ends = where.positions(), where.links.ends
    for (a, b), bend in zip(ends.tolist(), controls(points, ends)):
        path = curve(points[a], bend, points[b])
        others = np.delete(points, [a, b], axis=0)
        assert np.linalg.norm(path[:, None] - others, axis=2).min() > 0.25 * spacing(points)


@pytest.mark.parametrize(
    "where", [*WHERE, "torus:8x8", "fat-tree:k=6", "islands:gpus=8,islands=8", "switch:64"]
)
def test_vertices_stay_where_the_topology_has_them_unless_too_close(where):
    kind = topology(where, ranks=16)
    close = where.startswith("dragonfly")
    assert np.array_equal(places(kind), kind.positions()) != close
    assert not close or spacing(places(kind)) > 1.4 * spacing(kind.positions())


def test_nothing_carried_is_no_bottleneck():
    figure = link_load(timed("allreduce", "ring", 1, where="switch"))
    assert "no link carries anything" in said(figure)
    assert named(figure, "star") == []


# Curves


def test_a_line_for_every_algorithm():
    table = [r for r in UNEQUAL if r["n"] == 4] + [{"algorithm": "b", "n": 4, "nbytes": 64, "seconds": 1e-3}]
    figure = curves(table)
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["a", "b"]
    assert lines[0].get_xydata().tolist() == [[64, 64 * 4e-9], [4096, 4096 * 4e-9]]
    assert figure.axes[0].get_xlabel() == "bytes of a rank's larger buffer"
    assert "4 ranks" in said(figure)
    by_ranks = curves([r for r in UNEQUAL if r["nbytes"] == 64], x="ranks")
    assert by_ranks.axes[0].get_lines()[0].get_xdata().tolist() == [4, 8]
    assert "64 B" in said(by_ranks)


def test_lines_are_told_apart_without_colour():
    looks = [
        (str(line.get_linestyle()), str(line._unscaled_dash_pattern), line.get_marker())
        for line in curves(rows()).axes[0].get_lines()
    ]
    assert len(set(looks)) == len(looks) == len(algorithms("allreduce"))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (2e-9, "2 ns"), (1.2345678e-6, "1.235 µs"), (0.99999e-3, "1 ms"), (90, "90 s")]
)  # fmt: skip
def test_seconds(seconds, text):
    assert seconds_drawn(seconds) == text


def test_bytes():
    assert [bytes_text(b) for b in (0, 1023, 1536, 1 << 20)] == ["0 B", "1023 B", "1.5 KiB", "1 MiB"]


# What is refused, and what names may hold


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda: space_time(build("allreduce", "ring", 65)), "space_time: 65 ranks are too many to see"),
        (lambda: space_time(build("allreduce", "ring", 64)), "space_time: 8064 messages cannot be told apart"),
        (lambda: space_time(build("allreduce", "ring", 4), "x.pdf"), "space_time: cannot write 'x.pdf'; use .svg or .png"),
        (lambda: space_time(simulate(build("allreduce", "ring", 4), 8, topology("ring:4"))), "simulate with record=True"),
        (lambda: ownership(build("alltoall", "bruck", 64)), "ownership: 8192 cells"),
        (lambda: ownership(fragment(2, 1, [])), "ownership: a fragment promises nothing"),
        (lambda: link_load(timed("allreduce", "ring", 4, where="ring:65")), "link_load: 65 hosts of ring:65 are too many"),
        (lambda: link_load(timed("allreduce", "ring", 4), "x.html"), "link_load: cannot write 'x.html'"),
        (lambda: curves(UNEQUAL), "curves: one picture is of one n, got [4, 8]"),
        (lambda: curves([]), "got no rows"),
        (lambda: curves(UNEQUAL[:1] * 2), "a is given twice at nbytes=64"),
        (lambda: curves([{**UNEQUAL[0], "seconds": 0.0}]), "logarithmic axes can only show what is above 0"),
        (lambda: curves(UNEQUAL, x="rank"), "curves: no axis 'rank'"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_refused_in_one_line(draw, said):
    with pytest.raises(ValueError) as refusal:
        draw()
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_names_are_only_text(tmp_path):
    ring = replace(build("allreduce", "ring", 3), name="$\\frac{1}$\n</svg> " + "x" * 90)
    for draw in (space_time, ownership):
        figure = draw(ring, tmp_path / "x.svg")
        assert any("\\$?</svg> x" in text or "</svg>" in text for text in said(figure))
        readable(figure)
    readable(link_load(simulate(ring, 8, topology("ring:3")), tmp_path / "x.svg"))
    odd = curves([{"algorithm": "$x", "n": 2, "nbytes": 8, "seconds": 1}], tmp_path / "x.svg")
    readable(odd)


def test_a_schedule_without_rounds_is_drawn():
    alone = build("allreduce", "ring", 1)
    for draw in (space_time, ownership):
        readable(draw(alone))
    readable(space_time(replace(build("barrier", "dissemination", 2), rounds=(Round(()),))))
    readable(space_time(timed("allreduce", "ring", 1)))
