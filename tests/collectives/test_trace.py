"""Simulated runs as Chrome traces: what "Trace Event Format" asks for, and what the simulation says."""

import json
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
from ringleader.collectives import (
    COLLECTIVES,
    algorithms,
    build,
    copy,
    export_trace,
    fragment,
    lower,
    simulate,
)
from ringleader.collectives import topology as network

MODELS = ("rounds", "loggp")
NBYTES = 48_000
EPSILON = 2e-6  # microseconds: what rounding to picoseconds may move
KINDS = ("send", "recv", "reduce", "wait")
RUNS = [
    ("allreduce", "ring", 4, {}),
    ("allreduce", "double-tree", 7, {}),
    ("allreduce", "one-shot", 5, {"slow": {2: 3.0}}),
    ("allgather", "direct", 6, {"placement": "random:3"}),
    ("alltoall", "bruck", 8, {"jitter": 0.5, "seed": 4}),
    ("reduce_scatter", "pairwise", 3, {"jitter": 2.0, "slow": {0: 5.0}}),
    ("broadcast", "chain", 5, {"overhead": 0.0}),
    ("reduce", "binomial", 6, {"gamma": 0.0}),
    ("scan", "distance-doubling", 6, {}),
    ("barrier", "dissemination", 5, {}),
]


def simulated(collective, name, n, model, **options):
    nbytes = 0 if collective == "barrier" else NBYTES
    return simulate(
        build(collective, name, n), nbytes, network("switch", n), model=model, record=True, **options
    )


def traced(simulation):
    """The trace by phase: X (what lasts), s and f (ends of arrows), M (names)."""
    trace = json.loads(
        export_trace(simulation), parse_constant=lambda text: pytest.fail(f"{text} is no JSON")
    )
    phases = defaultdict(list)
    for event in trace["traceEvents"]:
        phases[event["ph"]].append(event)
    assert set(phases) <= set("XsfM")
    return phases


def track(event):
    return event["pid"], event["tid"]


def cases():
    return [pytest.param(*run, model, id=f"{run[0]}-{run[1]}-{model}") for run in RUNS for model in MODELS]


@pytest.fixture(scope="module")
def traces():
    """Each run is simulated once."""
    known = {}

    def get(collective, name, n, options, model):
        key = collective, name, model
        if key not in known:
            simulation = simulated(collective, name, n, model, **options)
            known[key] = simulation, traced(simulation)
        return known[key]

    return get


@pytest.mark.parametrize(("collective", "name", "n", "options", "model"), cases())
def test_what_lasts_is_a_slice_on_a_track_of_its_own(traces, collective, name, n, options, model):
    simulation, trace = traces(collective, name, n, options, model)
    assert len(trace["X"]) == len(simulation.events)
    by_track = defaultdict(list)
    for x in trace["X"]:
        assert x["ts"] >= 0
        assert x["dur"] >= 0
        assert x["name"]
        assert all(isinstance(x[key], int) and x[key] > 0 for key in ("pid", "tid"))
        by_track[track(x)].append((x["ts"], x["ts"] + x["dur"]))
    for slices in by_track.values():
        slices.sort()
        assert all(end <= start + EPSILON for (_, end), (start, _) in pairwise(slices))
    end = max(x["ts"] + x["dur"] for x in trace["X"])
    assert end == pytest.approx(simulation.total * 1e6, abs=EPSILON)


@pytest.mark.parametrize(("collective", "name", "n", "options", "model"), cases())
def test_slices_say_what_the_events_say(traces, collective, name, n, options, model):
    simulation, trace = traces(collective, name, n, options, model)
    shown = Counter(
        (
            x["pid"] - 1,
            x["cat"],
            round(x["ts"], 3),
            x["args"].get("peer", -1),
            x["args"]["bytes"],
            x["args"]["round"],
        )
        for x in trace["X"]
    )
    assert shown == Counter(
        (e.rank, e.kind, round(round(e.start * 1e6, 6), 3), e.peer, e.nbytes, e.round)
        for e in simulation.events
    )
    for x in trace["X"]:
        assert x["cat"] in KINDS
        assert 0 <= x["args"]["round"] < len(simulation.schedule)
        assert "peer" not in x["args"] or x["name"].endswith(f" {x['args']['peer']}")


@pytest.mark.parametrize(("collective", "name", "n", "options", "model"), cases())
def test_sends_are_the_messages(traces, collective, name, n, options, model):
    """Of the programs of all ranks: as many, and as many bytes between any two."""
    simulation, trace = traces(collective, name, n, options, model)
    schedule = simulation.schedule
    slot = simulation.nbytes / max(schedule.size("input"), schedule.size("output"))
    messages = Counter()
    for program in map(lower, [schedule] * n, range(n)):
        for i in program.instructions:
            if i.kind == "send":
                messages[program.rank, i.peer, i.round, sum(c.width for c in i.src) * slot] += 1
    sends = Counter(
        (x["pid"] - 1, x["args"]["peer"], x["args"]["round"], x["args"]["bytes"])
        for x in trace["X"]
        if x["cat"] == "send"
    )
    recvs = Counter(
        (x["args"]["peer"], x["pid"] - 1, x["args"]["bytes"]) for x in trace["X"] if x["cat"] == "recv"
    )
    assert sends == messages
    assert recvs == Counter((a, b, nbytes) for a, b, _, nbytes in messages.elements())
    assert messages.total() == len(trace["s"])


@pytest.mark.parametrize(("collective", "name", "n", "options", "model"), cases())
def test_arrows_lead_from_sends_to_their_receives(traces, collective, name, n, options, model):
    _, trace = traces(collective, name, n, options, model)
    slices = defaultdict(list)  # several at one time if they take none
    for x in trace["X"]:
        slices[(*track(x), x["ts"])].append(x)
    starts, ends = ({a["id"]: a for a in trace[phase]} for phase in "sf")
    assert starts.keys() == ends.keys()
    assert len(starts) == len(trace["s"]) == len(trace["f"])
    for number, s in starts.items():
        f = ends[number]
        send, recv = (slices[(*track(end), end["ts"])].pop(0) for end in (s, f))
        assert (send["cat"], recv["cat"]) == ("send", "recv")
        assert (send["pid"] - 1, recv["pid"] - 1) == (recv["args"]["peer"], send["args"]["peer"])
        assert send["args"]["bytes"] == recv["args"]["bytes"]
        assert (
            send["args"]["round"] <= recv["args"]["round"]
        )  # where it is taken, and LogGOPS may take it late
        assert model == "loggp" or send["args"]["round"] == recv["args"]["round"]
        assert s["ts"] <= f["ts"] + EPSILON
        assert (s["name"], s["cat"], f["bp"]) == (f["name"], f["cat"], "e")
    left = [x for some in slices.values() for x in some]
    assert not any(x["cat"] in ("send", "recv") for x in left)


@pytest.mark.parametrize(("collective", "name", "n", "options", "model"), cases())
def test_ranks_and_tracks_have_names(traces, collective, name, n, options, model):
    simulation, trace = traces(collective, name, n, options, model)
    ranks = {m["pid"]: m["args"]["name"] for m in trace["M"] if m["name"] == "process_name"}
    assert ranks == {1 + r: f"rank {r} on host {simulation.hosts[r]}" for r in range(n)}
    tracks = {track(m): m["args"]["name"] for m in trace["M"] if m["name"] == "thread_name"}
    assert tracks.keys() == {track(x) for x in trace["X"]}
    assert all(tracks[track(x)].split()[0] == x["cat"] for x in trace["X"])
    assert len(set(tracks.items())) == len({(pid, text) for (pid, _), text in tracks.items()})
    order = {m["pid"]: m["args"]["sort_index"] for m in trace["M"] if m["name"] == "process_sort_index"}
    assert order == {1 + r: r for r in range(n)}


@pytest.mark.parametrize("model", MODELS)
def test_every_algorithm_can_be_shown(model):
    for collective in COLLECTIVES:
        for name in algorithms(collective):
            simulation = simulated(collective, name, 6, model)
            trace = traced(simulation)
            assert sum(x["cat"] == "send" for x in trace["X"]) == len(trace["s"]) == len(trace["f"])
            assert len({m["pid"] for m in trace["M"]}) == 6


@pytest.mark.parametrize("model", MODELS)
def test_idle_ranks_are_named(model):
    schedule = fragment(4, 1, [copy(0, 1)])
    trace = traced(simulate(schedule, 100, network("switch", 4), model=model, record=True))
    names = [m["args"]["name"] for m in trace["M"] if m["name"] == "process_name"]
    assert names == [f"rank {r} on host {r}" for r in range(4)]


@pytest.mark.parametrize("model", MODELS)
def test_the_same_run_is_the_same_text(tmp_path, model):
    path = tmp_path / "run.json"
    texts = {
        export_trace(simulated("allreduce", "swing", 8, model, jitter=0.3, seed=7), path) for _ in range(2)
    }
    assert texts == {path.read_text(encoding="utf-8")}


def test_the_summary_is_there():
    simulation = simulated("allreduce", "ring", 4, "rounds")
    trace = json.loads(export_trace(simulation))
    assert trace["displayTimeUnit"] in ("ms", "ns")
    assert trace["otherData"] == json.loads(json.dumps(simulation.as_dict()))
    assert isinstance(trace["otherData"]["seconds"], float)


def test_fractions_of_bytes_and_huge_times():
    schedule = build("allreduce", "ring", 3)
    tiny = simulate(schedule, 1, network("switch", 3), record=True)
    assert {x["args"]["bytes"] for x in traced(tiny)["X"]} == {1 / 3}
    huge = simulate(schedule, 1e18, network("switch", 3), record=True)
    trace = traced(huge)
    assert max(x["ts"] + x["dur"] for x in trace["X"]) == pytest.approx(huge.total * 1e6)
    assert np.isfinite([x["dur"] for x in trace["X"]]).all()


@pytest.mark.parametrize("record", [False, True])
def test_nothing_to_show(record):
    """Not recorded, or nothing to do for one rank."""
    simulation = simulate(
        build("allreduce", "ring", 1 if record else 3), 9, network("switch", 3), record=record
    )
    with pytest.raises(ValueError) as error:
        export_trace(simulation)
    assert str(error.value) == "export_trace: the simulation has no events; simulate with record=True"
